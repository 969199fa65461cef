"""Data sets of the Hugging Face hub, by name: `hub:OWNER/NAME[:CONFIG][@REVISION]#SPLIT`.

A name is checked against a pattern before anything else uses it. To the package `datasets` a name
may be a local folder or a builder that opens any file; what this module returns is neither.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.corpus.formats import Row, Table, plain_text, read_bytes
from whisperslim.speech.corpus.remote.hub_files import find_files, read_files

HUB = "hub:"
_WORD = r"[A-Za-z0-9](?:[\w-]|\.(?!\.)){0,95}"  # no `..`
_NAME = re.compile(
    rf"{HUB}(?P<repository>{_WORD}/{_WORD})(?::(?P<config>{_WORD}))?(?:@(?P<revision>{_WORD}))?"
    r"(?:#(?P<split>[\w.+:%()\[\]-]{1,100}))?",
    re.ASCII,
)
_SUFFIX = re.compile(r"\.\w{1,8}", re.ASCII)
_OLDEST = (4, 8)  # of `datasets`: in older ones `hf://` may mean a local folder


@dataclass(frozen=True)
class HubName:
    """The parts of a source; `repository` is OWNER/NAME, and what is not named is None."""

    repository: str
    config: str | None
    revision: str | None
    split: str | None


def is_hub(source: str) -> bool:
    """Whether a source names a data set of the hub, correctly or not."""
    return source.startswith(HUB)


def hub_name(source: str) -> HubName:
    """The parts of `hub:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]`. Asks neither disk nor network.

    Raises `UsageError` for anything else, such as a path or the name of a builder of `datasets`.
    """
    found = _NAME.fullmatch(source)
    if not found:
        raise UsageError(
            f"{source!r}: write hub:OWNER/NAME#SPLIT, hub:OWNER/NAME:CONFIG#SPLIT or "
            "hub:OWNER/NAME@REVISION#SPLIT, each of letters, digits, `-`, `_` and `.`; for files "
            "of this computer give their path without hub:"
        )
    return HubName(**found.groupdict())


def read_hub(source: str, split: str, audio: str = "") -> Table:
    """One split of a data set of the hub; `audio` names its column of recordings.

    What is kept in parquet files is read file by file, as it is asked for. Anything else goes
    through the optional package `datasets`, as a whole, and its recordings are written once into
    that package's cache folder, under the hash of their bytes.
    Raises `UsageError` for a source that is no name, `DataError` when a package is missing or the
    hub does not give the data set.
    """
    name = hub_name(f"{source}#{split}" if split else source)
    if not split:
        raise DataError(f"{source}: needs a split; write for example {source}#train")
    files = find_files(name.repository, name.config, name.revision)
    if files is not None:
        return read_files(files, source, split, audio)
    datasets = _import_datasets()
    # OSError covers ConnectionError and "not found", ValueError an unknown config or split.
    errors = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)
    try:
        data = datasets.load_dataset(
            f"hf://datasets/{name.repository}", name.config, split=split, revision=name.revision
        )
    except errors as error:
        # A failed preparation says only that it failed; what was wrong is its cause.
        reason = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise DataError(
            f"{source}#{split}: the hub did not give this data set ({reason}). Check the name, the "
            "config, the split, the network and, for a gated set, your login; or download it and "
            "give the folder"
        ) from error
    root = Path(datasets.config.HF_DATASETS_CACHE) / "whisperslim"
    rows = tuple(_hub_rows(data, datasets, root, source))
    if not rows:
        raise DataError(f"{source}#{split}: this split holds no recordings")
    return Table(source, root, rows[0][1], rows, (split,))


def _import_datasets() -> Any:
    try:
        import datasets
        import datasets.exceptions
    except ImportError as error:
        raise DataError(
            "a hub: data set needs the optional package `datasets`: pip install 'datasets[audio]'; "
            "or download the data and give its folder"
        ) from error
    if tuple(int(part) for part in datasets.__version__.split(".")[:2]) < _OLDEST:
        raise DataError(
            f"a hub: data set needs `datasets` {'.'.join(map(str, _OLDEST))} or newer, and here is "
            f"{datasets.__version__}: pip install --upgrade 'datasets[audio]'; or download the "
            "data and give its folder"
        )
    return datasets


def _hub_rows(data: Any, datasets: Any, root: Path, source: str) -> Iterator[Row]:
    sounds = [n for n, f in data.features.items() if isinstance(f, datasets.Audio)]
    if len(sounds) != 1:
        found = ", ".join(data.column_names)
        raise DataError(f"{source}: needs exactly one audio column; its columns are {found}")
    # decode=False gives the encoded file: it is decoded here, as for every other source.
    for number, row in enumerate(data.cast_column(sounds[0], datasets.Audio(decode=False)), 1):
        plain = {name: plain_text(v) for name, v in row.items() if name not in (*sounds, "path")}
        where = f"{source}, row {number}"
        sound = _encoded(row[sounds[0]], root.parent, where)
        plain["path"] = _store(sound, row[sounds[0]], root, number)
        yield Row(number, tuple(plain), tuple(plain.values()))


def _encoded(audio: dict[str, Any], cache: Path, where: str) -> bytes:
    """The bytes of one recording.

    A row may hold a path instead, written by whoever made the data set: only files that were
    fetched, and so are in the caches of the hub, are opened.
    """
    if audio.get("bytes"):
        return bytes(audio["bytes"])
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        path = Path(str(audio.get("path") or "")).resolve()
    except (OSError, RuntimeError, ValueError):
        path = Path()
    if not any(path.is_relative_to(Path(root).resolve()) for root in (cache, HF_HUB_CACHE)):
        raise DataError(f"{where}: holds no sound, only a path that is not of this data set")
    return read_bytes(path)


def _store(data: bytes, audio: dict[str, Any], root: Path, number: int) -> str:
    """Write one encoded recording; the row number keeps two equal recordings apart."""
    suffix = Path(str(audio.get("path") or "")).suffix
    name = f"{number:06d}-{hashlib.sha256(data).hexdigest()[:32]}"
    target = root / (name + (suffix if _SUFFIX.fullmatch(suffix) else ""))
    try:
        if not target.exists() or target.stat().st_size != len(data):
            root.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror}); {len(data) / 1e6:.2f} MB are needed "
            "for this clip. Make room, or set HF_HOME to a folder on another disk"
        ) from error
    return target.name
