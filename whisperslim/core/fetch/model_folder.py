"""Model folders on disk: which kind one is, and the record that a fetched one carries."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from whisperslim.core.disk.storage import Report, files_sha256, storage_errors
from whisperslim.core.disk.weight_files import INDEX, weight_files, weights_bytes
from whisperslim.errors import SourceError

RECORD = "source.json"
ACCEPTED = (
    "a Hugging Face folder (config.json, model.safetensors or its shards and their index, "
    "tokenizer.json), a slim folder (the same and slim.json) or a run folder (recipe.yaml and "
    "slim/)"
)
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class ResolvedModel:
    """A model folder that is there.

    Attributes:
        name: What was asked for.
        path: The folder with `config.json` and the weights.
        kind: `hf` for an ordinary Hugging Face folder, `slim` for one of ours.
        origin: Where it came from, in words.
        weights_sha256: As the function of this name has it.
    """

    name: str
    path: Path
    kind: str
    origin: str
    weights_sha256: str


@dataclass(frozen=True)
class SourceRecord:
    """What `source.json` says of a fetched model's weights."""

    model: str
    origin: str
    weights_sha256: str
    weights_bytes: int


def open_folder(name: str, folder: Path, origin: str, report: Report) -> ResolvedModel:
    """The model in `folder`: its own, or the slim one of a run. Reads all of the weights once.

    Raises:
        SourceError: the folder holds no model that can be loaded; the message says why.
    """
    if not (folder / "slim.json").exists() and (folder / "recipe.yaml").is_file():
        folder = _slim_folder_of_run(folder)
    kind = "slim" if (folder / "slim.json").is_file() else "hf"
    _check_complete(folder)
    return ResolvedModel(name, folder, kind, origin, weights_sha256(folder, report))


def open_fetched(name: str, folder: Path) -> ResolvedModel:
    """The model in a fetched folder. Checks the size of the weights, not their checksum."""
    record = read_record(folder)
    _check_complete(folder)
    size = weights_bytes(folder)
    if size != record.weights_bytes:
        raise SourceError(
            f"{_called(folder)} has {size} bytes and had {record.weights_bytes} when it was "
            f"fetched; delete the folder {folder} and run again to fetch it"
        )
    return ResolvedModel(name, folder, "hf", record.origin, record.weights_sha256)


def weights_sha256(folder: Path, report: Report = lambda what, done, total: None) -> str:
    """SHA-256 of the folder's weights, in hexadecimal: of shards one after another, by name.

    Raises `SourceError` when there are none, or a shard is missing.
    """
    with storage_errors(folder):
        return files_sha256(weight_files(folder), report)


def verify(folder: Path, report: Report = lambda what, done, total: None) -> str:
    """Read all weights of a fetched folder and compare with the record made when it was fetched.

    Returns:
        Their SHA-256, in hexadecimal.

    Raises:
        SourceError: they differ, or the folder carries no record.
    """
    record = read_record(folder)
    found = weights_sha256(folder, report)
    if found != record.weights_sha256:
        raise SourceError(
            f"wrong checksum: {_called(folder)} has sha256 {found} instead of "
            f"{record.weights_sha256}; delete the folder {folder} and run again to fetch it"
        )
    return found


def write_record(folder: Path, model: str, origin: str) -> SourceRecord:
    """Record where the weights in `folder` came from and what they are."""
    digest = files_sha256(weight_files(folder))
    record = SourceRecord(model, origin, digest, weights_bytes(folder))
    (folder / RECORD).write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")
    return record


def read_record(folder: Path) -> SourceRecord:
    """The contents of `source.json`. Raises `SourceError` when it is missing or not ours."""
    try:
        return SourceRecord(**json.loads((folder / RECORD).read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SourceError(
            f"{folder / RECORD} cannot be read ({error}); delete the folder {folder} and run "
            "again to fetch it"
        ) from error


def _slim_folder_of_run(run: Path) -> Path:
    slim = run / "slim"
    if not (slim / "slim.json").is_file():
        raise SourceError(
            f"the run {run} has no slim model yet; let it finish "
            f"(`whisperslim resume {run}`), or name another model"
        )
    return slim


def _check_complete(folder: Path) -> None:
    wanted = (folder / "config.json", *weight_files(folder))
    missing = [path.name for path in wanted if not path.is_file()]
    if not missing:
        return
    hint = f"accepted are {ACCEPTED}"
    if (folder / INDEX).is_file():
        hint = f"{INDEX} names it; copy all files of the model"
    elif any((folder / name).is_file() for name in _PICKLES):
        hint = "pickled weights are not read; save it again with transformers as safetensors"
    raise SourceError(
        f"{folder} is not a model folder: it has no {' and no '.join(missing)}; {hint}"
    )


def _called(folder: Path) -> Path:
    """What messages call the folder's weights: the file they are in, or the index of several."""
    files = weight_files(folder)
    return files[0] if len(files) == 1 else folder / INDEX
