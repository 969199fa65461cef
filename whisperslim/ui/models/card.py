"""One model as a line of the list and as a card, and how far a fetch is, as HTML."""

from collections.abc import Sequence

from whisperslim.engines import registry
from whisperslim.jobs.models.fetching import Fetching
from whisperslim.jobs.models.inventory import ModelEntry, SetScore
from whisperslim.text.languages import listed
from whisperslim.ui.parts.charts import short_source
from whisperslim.ui.parts.markup import bar, empty, note, pill, text
from whisperslim.ui.parts.quantities import megabytes, percent

NOTHING = empty(
    "No models here yet",
    "Try it, on Compress, makes the first one. Or fetch one by its name, below.",
)
READING = empty("Reading the models…", "Their sizes and scores are read from this computer's disk.")
NONE_CHOSEN = empty("No model chosen", "Choose one from the list.")
_NOT_SCORED = "not scored"


def model_label(entry: ModelEntry) -> str:
    """One line for the list of models."""
    if entry.problem:
        return f"{entry.name} · {entry.kind} · cannot be used: {entry.problem}"[:300]
    facts = (entry.kind, megabytes(entry.bytes), runs_in(entry), listed(entry.languages))
    score = f"WER {percent(entry.scores[-1].wer)}" if entry.scores else ""
    return " · ".join(filter(None, (entry.name, *facts, score)))


def runs_in(entry: ModelEntry) -> str:
    """Engine and precision in words; empty when they are not known."""
    return f"{registry.title(entry.engine)} {entry.precision}".strip() if entry.engine else ""


def model_card(entry: ModelEntry) -> str:
    """All that is known of a model without opening it."""
    tone = "bad" if entry.problem else "plain"
    head = f'<div class="ws-run-head"><h3>{text(entry.name)}</h3>{pill(entry.kind, tone)}</div>' + (
        note(f"It cannot be used: {entry.problem}", "bad") if entry.problem else ""
    )
    rows = [
        ("Size on disk", megabytes(entry.bytes) if entry.bytes else "unknown"),
        ("Runs in", runs_in(entry) or "unknown"),
        ("Languages", listed(entry.languages) or "not said"),
        ("Word error rate", _scores(entry.scores)),
        ("Made from", entry.made_from or "unknown"),
        ("Folder", str(entry.path)),
    ]
    facts = "".join(f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in rows)
    return f'<div class="ws-card">{head}<dl class="ws-terms">{facts}</dl></div>'


def _scores(scores: Sequence[SetScore]) -> str:
    said = (
        f"{percent(score.wer)} on {short_source(score.data)} "
        f"(n = {score.n}, normalizer {score.normalizer})"
        for score in scores
    )
    return "; ".join(said) or _NOT_SCORED


def fetch_html(fetching: Fetching, here: str) -> str:
    """How far the latest fetch is; `here` is what can be had without a network."""
    if not fetching.name:
        return ""
    last = fetching.said.splitlines()[-1] if fetching.said else "gets ready"
    if fetching.running:
        share = fetching.share or 0.0
        return bar(share, f"Fetching {fetching.name}") + note(f"{fetching.name}: {last}", "busy")
    if fetching.failed:
        why = fetching.said[fetching.said.index("error:") :].removeprefix("error:").strip()
        return note(f"{fetching.name} was not fetched: {why}\n{here}", "bad")
    return note(f"{fetching.name} is here: {last}", "good")
