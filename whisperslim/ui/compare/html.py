"""A comparison of two models, or three, on one recording: as HTML, and as files to pass on.

The files are a page that needs nothing else, and JSON.
"""

import base64
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from whisperslim.errors import UsageError
from whisperslim.jobs.run.disk import write_text_told
from whisperslim.speech.scoring.normalizer import for_language
from whisperslim.speech.scoring.wer import WordDifference, word_differences
from whisperslim.ui.compare.record import SAME, Compared, HeardSide
from whisperslim.ui.parts.markup import Cell, note, number, table, text, words
from whisperslim.ui.parts.quantities import duration, megabytes, millions, percent
from whisperslim.ui.parts.theme import COMPARE_SHEET, STYLE_SHEET, font_faces


def bars(sides: Sequence[HeardSide]) -> str:
    """One bar a side for the time it took and one for its size; the longest fills the width."""
    return (
        '<div class="ws-card ws-figures ws-bars">'
        + _measure("Time to the whole text", sides, lambda side: side.seconds, duration)
        + _measure("Size on disk", sides, lambda side: side.bytes_on_disk, megabytes)
        + "</div>"
    )


def _measure(
    title: str,
    sides: Sequence[HeardSide],
    get: Callable[[HeardSide], float],
    show: Callable[[float], str],
) -> str:
    most = max(get(side) for side in sides)
    rows = "".join(
        f'<span>{text(side.role)}</span><div class="ws-bar" aria-hidden="true">'
        f'<i class="ws-bar-{text(side.role)}" style="width:{_width(get(side), most)}%"></i></div>'
        f"<b>{text(show(get(side)))}</b>"
        for side in sides
    )
    return f'<section><h3>{text(title)}</h3><div class="ws-bar-rows">{rows}</div></section>'


def _width(value: float, most: float) -> str:
    share = value / most if most > 0 else 0.0
    return f"{100 * min(1.0, max(0.0, share)):.1f}"


class Difference(Protocol):
    """One step of a word alignment, as `speech.scoring.wer.WordDifference`."""

    @property
    def kind(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def hypothesis(self) -> str: ...


def marked_words(differences: Iterable[Difference]) -> str:
    """The hypothesis with what is inserted, deleted and replaced marked.

    Marks differ in shape as in colour. Words are marked whole: splitting one would tear a vowel
    sign from its letter.
    """
    return " ".join(_marked(difference) for difference in differences)


def marks_legend() -> str:
    """What the marks mean."""
    return (
        '<div class="ws-marked ws-marks-legend"><ins>inserted</ins> <del>left out</del> '
        "<mark><s>expected</s> → written</mark></div>"
    )


def _marked(step: Difference) -> str:
    expected, written = text(step.reference), text(step.hypothesis)
    if step.kind == "equal":
        return f"<span>{written}</span>"
    if step.kind == "insert":
        return f'<ins title="inserted">{written}</ins>'
    if step.kind == "delete":
        return f'<del title="left out">{expected}</del>'
    return f'<mark title="replaced"><s>{expected}</s> → {written}</mark>'


# A difference smaller than this is noise of the clock.
_SAME = 0.02
_NOTES_JOINED_BY = "; "  # by `engines.windowed`, whose module brings torch
_VOTE_FIRST = (
    "A and B are hidden. Listen, read, vote below: then you see which model is which, and the "
    "figures."
)


def comparison_html(compared: Compared, sound: bytes = b"") -> str:
    """Recording, transcripts with their differences, and the figures of all under them.

    Of hidden sides, nothing is in it that tells which is which. `sound` is a FLAC file.
    """
    if compared.hidden:
        return _hidden(compared, sound)
    cards = "".join(_side(compared, side) for side in compared.sides)
    return (
        f"{_head(compared, sound)}{_sides(cards, len(compared.sides))}{marks_legend()}"
        f"{note(compared.fairness)}{bars(compared.sides)}"
        f'<div class="ws-card ws-figures">{_figures(compared)}</div>'
    )


def _hidden(compared: Compared, sound: bytes) -> str:
    first, second = (compared.side(role) for role in compared.blind)
    against = ("the reference", compared.reference) if compared.reference else ("A", first.text)
    shared = _shared_note(first, second)
    cards = ""
    for letter, side in (("A", first), ("B", second)):
        baseline = None if letter == "A" and not compared.reference else against
        shown = replace(side, note=shared)
        cards += _card(letter, "", "", shown, baseline, compared.language)
    return f"{_player(sound)}{note(_VOTE_FIRST, 'busy')}{_sides(cards, 2)}{marks_legend()}"


def _shared_note(first: HeardSide, second: HeardSide) -> str:
    """What both notes say. What only one says, such as a bound reached, may tell which it is."""
    ours, theirs = (side.note.split(_NOTES_JOINED_BY) for side in (first, second))
    return _NOTES_JOINED_BY.join(said for said in ours if said in theirs)


def _head(compared: Compared, sound: bytes) -> str:
    """The recording, who heard it right and what was voted."""
    lines = [_verdict(compared)] if compared.reference else []
    if compared.vote is not None:
        kind = "Blind vote" if compared.blind else "Vote"
        same = compared.vote == SAME
        lines.append(f"{kind}: {'both the same' if same else compared.vote + ' heard it better'}.")
    if compared.blind:
        first, second = compared.blind
        lines.append(f"A was {first}, B was {second}.")
    return _player(sound) + (note("\n".join(lines), "good") if lines else "")


def _verdict(compared: Compared) -> str:
    counts = {side.role: _errors(compared, side.text) for side in compared.sides}
    fewest = min(wrong for wrong, _ in counts.values())
    best = [role for role, (wrong, _) in counts.items() if wrong == fewest]
    told = ", ".join(
        f"{role} {wrong} word {'error' if wrong == 1 else 'errors'}"
        for role, (wrong, _) in counts.items()
    )
    spoken = next(iter(counts.values()))[1]
    who = "All alike" if len(best) == len(counts) else " and ".join(best)
    return f"Who heard it right? {who}: {told}, of {spoken} words spoken."


def _errors(compared: Compared, written: str) -> tuple[int, int]:
    """Word errors against the reference, and its words."""
    steps = _steps(compared.reference or "", written, compared.language)
    wrong = sum(step.kind != "equal" for step in steps)
    return wrong, sum(step.kind != "insert" for step in steps)


def _side(compared: Compared, side: HeardSide) -> str:
    against = None
    if compared.reference:
        against = ("the reference", compared.reference)
    elif side.role != "dense":
        against = ("the dense transcript", compared.side("dense").text)
    ran = f"{side.runs_in}, {side.hears_in}"
    return _card(side.role, side.model, ran, side, against, compared.language)


def _card(
    title: str,
    name: str,
    ran: str,
    side: HeardSide,
    against: tuple[str, str] | None,
    language: str,
) -> str:
    said = text(side.text) if side.text.strip() else "<em>nothing recognised</em>"
    parts = [f'<div class="ws-run-head"><h3>{text(title)}</h3><span>{text(name)}</span></div>']
    if ran:
        parts.append(f'<p class="ws-small">{text(ran)}</p>')
    parts.append(f'<p class="ws-transcript" lang="{text(language)}">{said}</p>')
    if against is not None:
        marked = marked_words(_steps(against[1], side.text, language))
        parts.append(
            f'<p class="ws-small">Against {text(against[0])}, after normaliser '
            f"{text(for_language(language).name)}</p>"
            f'<p class="ws-marked" lang="{text(language)}">{marked}</p>'
        )
    if side.note:
        parts.append(note(side.note, "wait"))
    return f'<section class="ws-card">{"".join(parts)}</section>'


def _steps(expected: str, written: str, language: str) -> tuple[WordDifference, ...]:
    return word_differences(expected, written, for_language(language))


def _sides(cards: str, count: int) -> str:
    return f'<div class="ws-sides ws-sides-{count}">{cards}</div>'


def _player(sound: bytes) -> str:
    """The recording inside the page itself: no file need be opened to requests."""
    if not sound:
        return ""
    data = base64.b64encode(sound).decode()
    return (
        '<audio class="ws-player" controls preload="metadata" aria-label="The recording" '
        f'src="data:audio/flac;base64,{data}"></audio>'
    )


def _figures(compared: Compared) -> str:
    rows = [*_score_rows(compared.sides), *_cost_rows(compared.sides)]
    many = "both models" if len(compared.sides) == 2 else "all models"
    fed = "the same features" if compared.shared_features else "features of their own"
    seconds = duration(compared.audio_seconds)
    caption = f"One recording of {seconds}, {many} on {fed}, one after the other"
    roles = [side.role for side in compared.sides]
    headers = ("", *roles, *(f"{role} : dense" for role in roles[1:]))
    notes = f'<p class="ws-small">Peak memory: {text(compared.memory_note)}.</p>'
    return table(headers, rows, caption=caption) + notes


def _score_rows(sides: tuple[HeardSide, ...]) -> list[list[Cell]]:
    rows = []
    # The last normaliser is the language's own: it comes first here.
    for name in reversed(list(sides[0].scores)):
        for index, rate in enumerate(("WER", "CER")):
            values = [side.scores[name][index] if name in side.scores else None for side in sides]
            cells = [number(percent(value), strong=index == 0) for value in values]
            blanks = [number("") for _ in sides[1:]]
            rows.append([words(f"{rate}, {name}", strong=True), *cells, *blanks])
    return rows


def _cost_rows(sides: tuple[HeardSide, ...]) -> list[list[Cell]]:
    measured: list[tuple[str, Callable[[HeardSide], float], Callable[[float], str]]] = [
        ("time", lambda side: side.seconds, duration),
        ("real-time factor", lambda side: side.rtf, lambda value: f"{value:.3f}"),
        ("size on disk", lambda side: side.bytes_on_disk, megabytes),
        ("parameters", lambda side: side.parameters, millions),
        ("peak memory", lambda side: side.peak_memory_bytes, megabytes),
        ("tokens written", lambda side: side.tokens, str),
    ]
    return [
        [
            words(name, strong=True),
            *(number(show(get(side))) for side in sides),
            *(number(_ratio(get(sides[0]), get(side))) for side in sides[1:]),
        ]
        for name, get, show in measured
    ]


def _ratio(dense: float, other: float) -> str:
    if not dense:
        return "–"
    ratio = other / dense
    return "same" if abs(ratio - 1) < _SAME else f"{ratio:.2f} ×"


# The app's own names for what its style sheets leave to Gradio's theme.
_BASE = """
:root { --body-text-color: #1e293b; --body-text-color-subdued: #475569;
  --block-background-fill: #fff; --radius-lg: 8px; --radius-md: 6px; }
body { font: 400 16px/1.5 "Noto Sans Devanagari", system-ui, sans-serif; margin: 0 auto;
  max-width: 1080px; padding: 1rem; color: var(--body-text-color); background: #f8fafc; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
@media print { body { background: #fff; padding: 0; } audio { display: none; }
  .ws-card { break-inside: avoid; } }
"""


def comparison_page(compared: Compared, sound: bytes) -> str:
    """A whole HTML page with fonts, styles and the recording inside; it asks for nothing else.

    Raises `UsageError` while the sides are hidden: the page would tell which is which.
    """
    _check_shown(compared)
    styles = "\n".join(sheet.read_text("utf-8") for sheet in (STYLE_SHEET, COMPARE_SHEET))
    made = compared.made.replace("T", " ").replace("+00:00", " UTC")
    lead = f"{made}; {compared.side('slim').model} against {compared.side('dense').model}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'; font-src data:; media-src data:\">"
        f"<title>WhisperSlim comparison</title><style>{font_faces()}{styles}{_BASE}</style></head>"
        f'<body><h1>WhisperSlim comparison</h1><p class="ws-lead">{text(lead)}</p>'
        f"{comparison_html(compared, sound)}</body></html>"
    )


def write_page(compared: Compared, sound: bytes, folder: Path) -> Path:
    """The page as a file in `folder`.

    Raises `UsageError` while the sides are hidden, `RunError` when the disk does not take it.
    """
    return _written(folder / f"comparison-{compared.key}.html", comparison_page(compared, sound))


def write_record(compared: Compared, folder: Path) -> Path:
    """The comparison as JSON in `folder`. Raises as `write_page` does."""
    _check_shown(compared)
    record = json.dumps(compared.to_record(), ensure_ascii=False, indent=1)
    return _written(folder / f"comparison-{compared.key}.json", record + "\n")


def _check_shown(compared: Compared) -> None:
    if compared.hidden:
        raise UsageError("vote first; the file would tell which side is which")


def _written(path: Path, content: str) -> Path:
    write_text_told(path, content)
    return path
