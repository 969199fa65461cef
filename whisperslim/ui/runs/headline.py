"""The result of a finished run at a glance: size, speed, error rate, and the verdict."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import read_json, typed
from whisperslim.core.disk.weight_files import weights_bytes
from whisperslim.engines import registry
from whisperslim.engines.export.record import is_export, read_export
from whisperslim.errors import DataError, ExportError, SourceError
from whisperslim.jobs.run.folder import RunDir
from whisperslim.ui.parts.charts import short_source
from whisperslim.ui.parts.markup import note, text
from whisperslim.ui.parts.quantities import duration, megabytes, percent

_DAMAGED = (
    OSError, ValueError, KeyError, TypeError, IndexError, StopIteration, DataError, SourceError,
)  # fmt: skip
Tile = tuple[str, str]
"""A large figure and its label."""


def headline_html(run: RunDir) -> str:
    """Figures and verdict of a finished run; empty when it has no scores."""
    path = run.eval_path("difference")
    if not path.is_file():
        return ""
    exports = tuple(str(folder) for folder in exports_of(run))
    return _headline(str(run.path), path.stat().st_mtime_ns, exports)


def exports_of(run: RunDir) -> list[Path]:
    """Folders of the run's exports that are complete."""
    found = sorted((run.path / "export").glob("*"))
    return [each for each in found if not each.name.startswith(".") and is_export(each)]


@lru_cache(maxsize=64)
def _headline(path: str, written: int, exports: tuple[str, ...]) -> str:
    """`written` and `exports` decide when it must be made again."""
    run = RunDir(Path(path))
    try:
        tiles = [*_size(run, exports), *_speed(run), *_errors(run)]
        lines = _verdicts(run)
    except _DAMAGED as error:
        return note(f"The scores in this run's folder are damaged: {error}", "bad")
    shown = "".join(f"<div><b>{text(big)}</b><span>{text(of)}</span></div>" for big, of in tiles)
    return f'<div class="ws-tiles ws-gains" aria-label="Result">{shown}</div>{lines}'


def _size(run: RunDir, exports: tuple[str, ...]) -> list[Tile]:
    """The smallest form of the model, compared with the dense weights."""
    forms = {"PyTorch": weights_bytes(run.slim_path)}
    for folder in exports:
        try:
            record = read_export(Path(folder))
        except ExportError:  # half written, or of another version
            continue
        precision = "fp32" if record.quantize == registry.FULL else record.quantize
        forms[f"{registry.title(record.engine)} {precision}"] = record.weights_bytes
    form = min(forms, key=lambda name: forms[name])
    dense = _dense_bytes(run)
    if dense is None:
        return [(megabytes(forms[form]), f"on disk, {form}")]
    change = f"{megabytes(dense)} → {megabytes(forms[form])} on disk, {form}"
    smaller = 1 - forms[form] / dense
    return [(f"{percent(abs(smaller), 0)} {'smaller' if smaller >= 0 else 'larger'}", change)]


def _dense_bytes(run: RunDir) -> int | None:
    from whisperslim.core.fetch.sources import resolve
    from whisperslim.jobs.scoring.origin import made_from

    try:
        return weights_bytes(resolve(made_from(str(run.slim_path)), offline=True).path)
    except SourceError:  # it is no longer on this machine
        return None


def _speed(run: RunDir) -> list[Tile]:
    from whisperslim.speech.scoring.verdict import faster

    dense, slim = (_seconds(run, label) for label in ("dense", "slim"))
    said = f"{duration(dense)} → {duration(slim)} to score the test clips in PyTorch"
    return [(faster(dense, slim), said)]


def _seconds(run: RunDir, label: str) -> float:
    sets = typed(_read(run, label)["sets"], dict)
    return sum(float(typed(found["seconds"], float)) for found in sets.values())


def _errors(run: RunDir) -> list[Tile]:
    found = []
    for data, ways in typed(_read(run, "difference"), dict).items():
        judged = list(typed(ways, dict).values())[-1]  # the language's own normalizer is the last
        dense, slim = (float(typed(judged[name], float)) for name in ("wer_a", "wer_b"))
        low, high = (float(typed(judged["interval"][name], float)) for name in ("low", "high"))
        points = f"{100 * low:.1f} to {100 * high:.1f} points"
        said = f"WER, from {percent(dense)} dense; slim minus dense {points} (95 % interval)"
        found.append((percent(slim), f"{said}, on {short_source(str(data))}"))
    return found


def _verdicts(run: RunDir) -> str:
    # Imported late: it loads the normalizer's libraries.
    from whisperslim.jobs.scoring.run_verdict import run_verdicts

    shown = ""
    for verdict in run_verdicts(run).values():
        tone = "good" if verdict.winner else "wait"
        notes = "".join(f'<p class="ws-small">{text(line)}</p>' for line in verdict.notes)
        shown += f'<div class="ws-part">{note(verdict.sentence, tone)}{notes}</div>'
    return shown


def _read(run: RunDir, label: str) -> Any:
    return read_json(run.eval_path(label), run.path)
