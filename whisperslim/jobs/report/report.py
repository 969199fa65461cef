"""A run's report: one self-contained HTML file.

It is made from the run's folder only, at any time. A part whose file does not exist yet is left
out; one whose file is damaged says so.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.untrusted import MOST_JSON_BYTES, read_json, read_plain
from whisperslim.errors import DataError
from whisperslim.jobs.report.html import (
    document,
    facts,
    kept_bars,
    line_chart,
    paragraph,
    section,
    side_by_side,
    table,
    text,
)
from whisperslim.jobs.run.data_record import read_data
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.run.room import megabytes
from whisperslim.jobs.run.view import RunView, Series, fold
from whisperslim.jobs.scoring.run_verdict import language_of, run_verdicts, texts_by_key
from whisperslim.speech.scoring.verdict import judge_sides
from whisperslim.version import __version__

_EXAMPLES = 10
_LICENSES = (
    "The slim weights derive from the model the run began with, so its license and the terms of "
    "the training data still apply. OpenAI's own Whisper weights are under the MIT license. "
    "The demo corpus in assets/demo_hi is synthetic speech under Apache-2.0, as WhisperSlim is. "
    "Licenses of other data and models are not known here."
)
_DAMAGED = (
    KeyError, TypeError, ValueError, AttributeError, IndexError, OSError, ArithmeticError,
    StopIteration, DataError,
)  # fmt: skip


def write_report(run: RunDir, path: Path) -> None:
    """Write a run's report to `path`. Raises `RunError` when that cannot be written to."""
    with disk_errors(path.parent):
        write_text_atomically(path, report(run))
        path.chmod(0o644)  # a file to pass on, so readable by others


def report(run: RunDir) -> str:
    """The report as HTML, without scripts and without anything to fetch."""
    view = fold(RunView(), read_events(run.events_path)[0])
    parts: dict[str, Callable[[], str]] = {
        "Result": lambda: _result(run, view),
        "Training": lambda: _training(view),
        "Units kept": lambda: _kept(run),
        "Scores": lambda: _scores(run),
        "Examples": lambda: _examples(run),
        "Data": lambda: _data(run),
        "Stages": lambda: _stages(view),
        "Notices": lambda: _notices(view),
        "Environment": lambda: _environment(run),
        "Recipe": lambda: f"<pre>{text(_text(run.path / 'recipe.yaml'))}</pre>",
        "Licenses": lambda: paragraph(_LICENSES),
    }
    body = "".join(section(title, _whole(make)) for title, make in parts.items())
    return document(f"{run.name}: report of a run", _head(run, view) + body)


def _whole(make: Callable[[], str]) -> str:
    try:
        return make()
    except FileNotFoundError:
        return ""  # the run has not got to it
    except _DAMAGED as error:
        return paragraph(f"This part of the run's folder is damaged: {error!r}")


def _head(run: RunDir, view: RunView) -> str:
    written = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    said = f"Report of a run, {run.status()}. Written {written} by WhisperSlim {__version__}."
    failed = paragraph(f"It failed: {view.error}") if view.error else ""
    return f"<header><h1>{text(run.name)}</h1>{paragraph(said, dim=True)}{failed}</header>"


def _result(run: RunDir, view: RunView) -> str:
    shown = []
    if view.plan is not None:
        shown += [("removed", _percent(view.plan.removed)), ("zeroed", _percent(view.plan.zeroed))]
    weights = run.slim_path / "model.safetensors"
    if weights.is_file():
        shown.append(("slim weights", megabytes(weights.stat().st_size)))
    for label in ("dense", "slim"):
        score = view.latest(label)
        if score is not None and score.wer is not None:
            shown.append((f"WER {label}", _percent(score.wer)))
    note = (
        "Shares are of the prunable weights before this run: the matrices of attention and "
        "feed-forward."
    )
    return facts(shown) + (paragraph(note, dim=True) if view.plan else "") + _verdicts(run)


def _verdicts(run: RunDir) -> str:
    shown = ""
    for data, verdict in run_verdicts(run).items():
        shown += paragraph(f"On {_short(data)}: {verdict.sentence}")
        shown += "".join(paragraph(note, dim=True) for note in verdict.notes)
    return shown


def _training(view: RunView) -> str:
    starts = _starts(view)
    losses: dict[str, list[tuple[float, float]]] = {}
    for name, series in view.losses.items():
        stage, _, term = name.partition("/")
        points = [(starts[stage] + x, y) for x, y in _points(series)]
        losses.setdefault(term, []).extend(points)
    errors: dict[str, list[tuple[float, float]]] = {}
    for scores in view.evaluations.values():
        points = [
            (float(starts[s.stage] + s.step), 100 * s.wer)
            for s in scores
            if s.wer is not None and s.stage in starts
        ]
        name = f"{scores[-1].label}, {_short(scores[-1].data)}"
        errors.setdefault(name, []).extend(points)
    begun = [f"{stage} from step {start}" for stage, start in starts.items() if start]
    then = f" ({', '.join(begun)})" if begun else ""
    # One picture per term: their sizes differ by orders of magnitude.
    drawn = [
        line_chart(f"{term} over the steps{then}", {term: p}, "") for term, p in losses.items()
    ]
    drawn.append(line_chart(f"Word error rate while training{then}", errors, "%"))
    return side_by_side(drawn)


def _starts(view: RunView) -> dict[str, int]:
    """Stage -> steps done by the stages before it."""
    lengths: dict[str, int] = {}
    for name, series in view.losses.items():
        stage = name.partition("/")[0]
        lengths[stage] = max(lengths.get(stage, 0), series.steps[-1])
    starts, total = {}, 0
    for stage, length in lengths.items():
        starts[stage] = total
        total += length
    return starts


def _points(series: Series) -> list[tuple[float, float]]:
    return list(zip(map(float, series.steps), series.values, strict=True))


def _kept(run: RunDir) -> str:
    groups, keep = _read(run.path / "groups.json"), _read(run.plan_path)["keep"]
    rows = [
        (str(group["key"]).replace(".", " ").replace("_", "-"), len(keep[group["key"]]),
         int(group["count"]))
        for group in groups
    ]  # fmt: skip
    words = (
        "Units of each group that are left: attention heads and feed-forward units, or components "
        "of matrices."
    )
    return paragraph(words, dim=True) + kept_bars(rows)


def _scores(run: RunDir) -> str:
    rows: list[list[object]] = []
    warnings: dict[str, str] = {}
    every = sorted(run.eval_path("any").parent.glob("*.json"))
    for path in (each for each in every if each.stem != "difference"):
        record = _read(path)
        for found in record.get("sets", {}).values():
            for name, score in found["scores"].items():
                rows.append(_score_row(str(record.get("label", path.stem)), found, name, score))
                warnings[name] = score["warning"]
    headers = ("model", "set", "normalizer", "window", "clips", "WER", "95 % interval", "CER")
    shown = [f"{name}: {warning}." for name, warning in warnings.items() if warning]
    return table(headers, rows, numbers=4) + "".join(paragraph(line, dim=True) for line in shown)


def _score_row(
    label: str, found: Mapping[str, Any], name: str, score: Mapping[str, Any]
) -> list[object]:
    low, high = score["wer_interval_95"] or (None, None)
    return [
        label,
        _short(str(found["data"])),
        f"{name} ({score['version']})",
        found["window"],
        found["n"],
        _percent(score["wer"]),
        f"{_percent(low)} to {_percent(high)}",
        _percent(score["cer"]),
    ]


def _examples(run: RunDir) -> str:
    texts = {role: texts_by_key(run, role) for role in ("dense", "slim")}
    language = language_of(run) if texts["slim"] else ""
    rows = []
    for key, (reference, heard) in list(texts["slim"].items())[:_EXAMPLES]:
        dense = texts["dense"].get(key, ("", ""))[1]
        notes = judge_sides({"dense": dense, "slim": heard}, reference, language).notes
        rows.append((reference, dense or "–", heard, " ".join(notes)))
    return table(("reference", "dense", "slim", "to know"), rows)


def _data(run: RunDir) -> str:
    record = read_data(run.path)
    found, chosen = record["report"], record["chosen"]
    said = (
        f"{found['clips']} clips, {float(found['seconds']) / 60:.1f} minutes, "
        f"{found['speakers']} speakers. Trained on {len(chosen['train'])} clips, dev set of "
        f"{len(chosen['dev'])}, test sets of {record['test_clips']}."
    )
    counts = [(kind.replace("_", " "), n) for kind, n in found.get("counts", {}).items() if n]
    return paragraph(said) + table(("what was found", "clips"), counts, numbers=1)


def _stages(view: RunView) -> str:
    rows = [
        (s.name, s.status, "–" if s.seconds is None else f"{s.seconds:,.1f}") for s in view.stages
    ]
    return table(("stage", "status", "seconds"), rows, numbers=1)


def _notices(view: RunView) -> str:
    items = "".join(f"<li>{text(notice)}</li>" for notice in view.notices)
    return f"<ul>{items}</ul>" if items else ""


def _environment(run: RunDir) -> str:
    record = _read(run.environment_path)
    latest = dict(record["attempts"][-1])
    packages = latest.pop("packages", {})
    shown = {**latest, "attempts": len(record["attempts"])}
    shown |= {name: record[name] for name in ("device", "weights_sha256") if name in record}
    rows = [(name.replace("_", " "), value) for name, value in shown.items() if value is not None]
    lists = [(n, fact["clips"], fact["sha256"]) for n, fact in record.get("data", {}).items()]
    return (
        table(("what", "value"), rows)
        + table(("package", "version"), list(packages.items()))
        + table(("data", "clips", "sha256 of the list"), lists)
    )


def _text(path: Path) -> str:
    return read_plain(path, MOST_JSON_BYTES).decode("utf-8")


def _read(path: Path) -> Any:
    return read_json(path)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _short(source: str) -> str:
    path, mark, split = source.partition("#")
    return path.rstrip("/").rpartition("/")[2] + mark + split
