"""What models are on this computer: slim models of runs, exports, and what was fetched.

Read from small files alone: records, configurations and the heads of weight files. What cannot be
opened is listed with the reason.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from whisperslim import boxed
from whisperslim.core.disk.untrusted import read_json, typed
from whisperslim.core.disk.weight_files import read_head, weight_files
from whisperslim.core.fetch.model_folder import RECORD, open_fetched
from whisperslim.core.store.record import read_record
from whisperslim.core.tokens.known import known_languages
from whisperslim.engines import registry
from whisperslim.engines.export.record import is_export, read_export
from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.run.folder import RunDir, list_runs
from whisperslim.machine.places import cache_root

SLIM, EXPORT, DOWNLOAD, BUILT_IN = "slim model", "export", "download", "built in"
SUPPORTED = (
    "hubert", "parakeet_ctc", "wav2vec2", "wav2vec2-conformer", "whisper", "whisper_ctc",
)  # fmt: skip
"""Types that some family is registered for. The register itself loads torch."""
_PRECISIONS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16", "F64": "fp64"}
_MOST_BYTES, _MOST_VALUES = 16_000_000, 1_000_000  # of a score or a configuration; our choice
_DAMAGED = (OSError, ValueError, KeyError, TypeError, IndexError, WhisperSlimError)


@dataclass(frozen=True)
class SetScore:
    """A model's error rate on one set, by the language's own normalizer.

    `wer` is a fraction, or None where no word was spoken.
    """

    data: str
    n: int
    normalizer: str
    wer: float | None


@dataclass(frozen=True)
class ModelEntry:
    """One model, as it is listed.

    Attributes:
        name: What people call it; unique among those of a kind.
        kind: Where it comes from, such as `SLIM`, `EXPORT` or `DOWNLOAD`.
        path: Its folder.
        bytes: Of all files in it.
        engine, precision: What it runs in, by the name in the register; empty when unknown.
        languages: Codes it was tuned for or trimmed to; of others, those it has tokens of.
        made_from: In words; empty when that is not known.
        scores: Of its run's own evaluation; empty when it was not scored.
        problem: Why it cannot be used, as a sentence; empty when nothing speaks against it.
        run: Name of the run that it belongs to, or empty.
        written: When the folder last changed, seconds since 1970.
    """

    name: str
    kind: str
    path: Path
    bytes: int = 0
    engine: str = ""
    precision: str = ""
    languages: tuple[str, ...] = ()
    made_from: str = ""
    scores: tuple[SetScore, ...] = ()
    problem: str = ""
    run: str = ""
    written: float = 0.0

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "path": str(self.path)}


Source = Callable[[Path], Iterable[ModelEntry]]
"""Lists the models of one place, given the folder of all runs."""


def slim_models(runs: Path) -> Iterator[ModelEntry]:
    """The slim model of every run that has one, newest run first."""
    for run in list_runs(runs):
        if run.slim_path.is_dir():
            entry = ModelEntry(run.name, SLIM, run.slim_path, run=run.name)
            yield _read(entry, _slim, run)


def exports(runs: Path) -> Iterator[ModelEntry]:
    """Exports of runs, and those of dense models that the app made to compare with."""
    for run in list_runs(runs):
        for folder in _folders(run.path / "export"):
            entry = ModelEntry(f"{run.name}/{folder.name}", EXPORT, folder, run=run.name)
            yield _read(entry, _export, run)
    for folder in _folders(cache_root() / "engines"):
        yield _read(ModelEntry(folder.name, EXPORT, folder), _export)


def downloads(runs: Path) -> Iterator[ModelEntry]:
    """Models that were fetched into the cache, or put there by hand."""
    for folder in _folders(cache_root() / "models"):
        name = folder.name.replace("--", "/", 1)
        yield _read(ModelEntry(name, DOWNLOAD, folder), _download)


def boxed_models(runs: Path) -> Iterator[ModelEntry]:
    """Models that come with the project, where their files are here."""
    for each in boxed.BOXED:
        if each.path.is_dir():
            entry = _read(ModelEntry(each.name, BUILT_IN, each.path), _export)
            yield replace(entry, made_from=each.made_from or entry.made_from)


SOURCES: tuple[Source, ...] = (slim_models, exports, boxed_models, downloads)


def inventory(runs: Path, sources: Sequence[Source] = SOURCES) -> list[ModelEntry]:
    """Every model that is here, in the order of the sources."""
    return [entry for source in sources for entry in source(runs)]


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder, links not followed."""
    found = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone since
            found += path.lstat().st_size if path.is_file() and not path.is_symlink() else 0
    return found


def _folders(place: Path) -> list[Path]:
    """Folders in a place; those with a dot in front are being written."""
    try:
        found = sorted(place.iterdir())
    except OSError:  # nothing was put there yet
        return []
    return [each for each in found if each.is_dir() and not each.name.startswith(".")]


def _read(
    entry: ModelEntry, reader: Callable[[ModelEntry], ModelEntry], run: RunDir | None = None
) -> ModelEntry:
    """The entry with all that can be read of it; with the reason, where it cannot be."""
    try:
        if damage := run.damage() if run is not None else "":
            return replace(entry, problem=damage)
        if entry.path.is_symlink() or (run is not None and run.path.is_symlink()):
            return replace(entry, problem="it is a link, which may lead anywhere")
        changed = entry.path.stat().st_mtime
        entry = replace(entry, bytes=folder_bytes(entry.path), written=changed)
        return reader(entry)
    except _DAMAGED as error:
        return replace(entry, problem=str(error) or type(error).__name__)


def _slim(entry: ModelEntry) -> ModelEntry:
    from whisperslim.jobs.scoring.origin import described, made_from

    record = read_record(entry.path)
    kept = record.vocabulary.languages if record.vocabulary else ()
    entry = _with_weights(entry)
    return replace(
        entry,
        languages=kept or tuple(filter(None, (record.language,))),
        made_from=described(made_from(str(entry.path))),
        scores=_scores(RunDir(entry.path.parent)),
    )


def _export(entry: ModelEntry) -> ModelEntry:
    if not is_export(entry.path):
        return replace(entry, problem="it has no export.json: it is incomplete, or not an export")
    record = read_export(entry.path)
    tuned = tuple(filter(None, (record.language,)))
    return replace(
        entry,
        engine=record.engine,
        precision=precision_words(record.quantize),
        languages=tuned or known_languages(entry.path) or (),
        made_from=record.source,
    )


def _download(entry: ModelEntry) -> ModelEntry:
    by_hand = not (entry.path / RECORD).is_file()
    origin = "put there by hand" if by_hand else open_fetched(entry.name, entry.path).origin
    entry = replace(_with_weights(entry), made_from=origin)
    return replace(entry, languages=known_languages(entry.path) or ())


def precision_words(quantize: str) -> str:
    """A precision as people call it."""
    return "fp32" if quantize == registry.FULL else quantize


def _with_weights(entry: ModelEntry) -> ModelEntry:
    """The entry of a folder of weights, with the number format of most of them."""
    config = read_json(
        (entry.path / "config.json").resolve(), most=_MOST_BYTES, values=_MOST_VALUES
    )
    kind = typed(config, dict).get("model_type")
    if kind not in SUPPORTED:
        raise ValueError(
            f"models of type {kind!r} are not supported; supported: {', '.join(SUPPORTED)}"
        )
    formats = Counter[str]()
    for file in weight_files(entry.path):
        formats.update(read_head(file).formats.values())
    known = [_PRECISIONS[each] for each, _ in formats.most_common() if each in _PRECISIONS]
    return replace(entry, engine=registry.OWN, precision=(known or [""])[0])


def _scores(run: RunDir) -> tuple[SetScore, ...]:
    """Those of the slim model; none when it was not scored."""
    path = run.eval_path("slim")
    if not path.is_file():
        return ()
    sets = typed(read_json(path, run.path, _MOST_BYTES, _MOST_VALUES)["sets"], dict)
    return tuple(_score(data, record) for data, record in sets.items())


def _score(data: str, record: Any) -> SetScore:
    # The language's own normalizer is the last.
    name, score = list(typed(record["scores"], dict).items())[-1]
    wer = score["wer"]
    return SetScore(data, typed(record["n"], int), name, None if wer is None else typed(wer, float))
