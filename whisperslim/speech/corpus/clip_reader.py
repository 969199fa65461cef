"""The sound of a clip, whatever it is kept in."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from whisperslim.errors import AudioError
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import of_data_set
from whisperslim.speech.corpus.archives.parquet import read_group, sound_in
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.corpus.parts import MOST_CLIP_BYTES, Cell, Part, Span
from whisperslim.speech.corpus.remote.shard_store import HubShard
from whisperslim.speech.plain_file import open_file

T = TypeVar("T")


class ClipReader:
    """Reads clips, and keeps what the last one was part of: the next is often a part of it, too.

    Several threads may share one. `announce` is called with what the user should know.
    """

    def __init__(self, announce: Callable[[str], None] = lambda message: None) -> None:
        self._announce = announce
        self._group = _Last[Any]()
        self._digest = _Last[str]()
        self._sound = _Last[np.ndarray]()

    def digest(self, item: Item) -> str:
        """SHA-256 (hex) of the recording's bytes; of a stretch, of these and where it is.

        Raises `AudioError` when it cannot be read.
        """
        if item.cut is None:
            return self._whole_digest(item)
        whole = self._digest.get(_recording_stamp(item), lambda: self._whole_digest(item))
        return hashlib.sha256(_with_cut(whole, item).encode()).hexdigest()

    def samples(self, item: Item) -> np.ndarray:
        """As `of_data_set`. Raises `AudioError` as that does, and for a stretch beyond the end.

        `DataError` when the hub does not give the file it is in: then no clip is at fault.
        """
        if item.cut is None:
            return self._whole(item)
        whole = self._sound.get(_recording_stamp(item), lambda: self._whole(item))
        start = round(item.cut.start * SAMPLE_RATE)
        found = whole[start : start + round(item.cut.seconds * SAMPLE_RATE)]
        if not len(found):
            raise AudioError(
                f"{item.path} lasts {len(whole) / SAMPLE_RATE:.1f} s, and the clip is to begin at "
                f"{item.cut.start:g} s: correct its offset"
            )
        return found

    def _whole(self, item: Item) -> np.ndarray:
        if item.part is None:
            return of_data_set(item.path)
        try:
            return of_data_set(self._encoded(item, item.part))
        except AudioError as error:
            raise AudioError(f"{item.path}, {item.key}: {error}") from error

    def _whole_digest(self, item: Item) -> str:
        if item.part is None:
            return _digest(item.path)
        return hashlib.sha256(self._encoded(item, item.part)).hexdigest()

    def _encoded(self, item: Item, part: Part) -> bytes:
        if isinstance(part, Span):
            return _read_span(item.path, part)
        name = part.shard.name if part.shard else _file_stamp(item.path)
        stamp = f"{name} {part.column} {part.group}"
        group = self._group.get(stamp, lambda: self._read_group(item, part))
        return sound_in(group, part.row, f"{item.path}, row {part.row} of group {part.group}")

    def _read_group(self, item: Item, cell: Cell) -> Any:
        path = self._file(item)
        try:
            return read_group(path, cell.column, cell.group)
        except AudioError:
            if cell.shard is None or path.is_file():
                raise
        # Another process has deleted it in between, to make room: no fault of the clip.
        return read_group(self._file(item), cell.column, cell.group)

    def _file(self, item: Item) -> Path:
        # What the network does not give is no fault of the clip: a `DataError` goes through.
        shard = _shard(item)
        return item.path if shard is None else shard.fetched(self._announce)


def stamp_of(item: Item) -> str:
    """Which recording it is without opening it: another stamp may be another recording.

    Raises `AudioError` when there is no such file.
    """
    return _with_cut(_recording_stamp(item), item)


class _Last(Generic[T]):
    """The last value made, for a reader who asks for it again."""

    def __init__(self) -> None:
        self._held: tuple[str, T] | None = None

    def get(self, name: str, make: Callable[[], T]) -> T:
        held = self._held  # once: another thread may replace it
        if held is None or held[0] != name:
            self._held = held = (name, make())
        return held[1]


def _with_cut(name: str, item: Item) -> str:
    return name if item.cut is None else f"{name} @{item.cut.start!r}+{item.cut.seconds!r}"


def is_there(item: Item) -> bool:
    """Whether the clip's file is here, or can be fetched."""
    if _shard(item) is not None:
        return True
    # Of a million clips, making a `Path` of each takes three times as long as asking for it.
    try:
        place = os.path.join(item.folder, item.file)  # noqa: PTH118
        return stat.S_ISREG(os.stat(place).st_mode)  # noqa: PTH116
    except (OSError, ValueError):  # a NUL in the path
        return False


def _shard(item: Item) -> HubShard | None:
    return item.part.shard if isinstance(item.part, Cell) else None


def _recording_stamp(item: Item) -> str:
    shard, part = _shard(item), item.part
    stamp = shard.name if shard else _file_stamp(item.path)
    if part is None:
        return stamp
    if isinstance(part, Span):
        return f"{stamp} [{part.start}+{part.size}]"
    return f"{stamp} [{part.column}/{part.group}/{part.row}]"


def _file_stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{found.st_size} {found.st_mtime_ns} {path.absolute()}"


def _read_span(path: Path, span: Span) -> bytes:
    try:
        with open_file(path) as file:
            file.seek(span.start)
            found = file.read(min(span.size, MOST_CLIP_BYTES))
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
    if len(found) < span.size:
        raise AudioError(f"{path}: ends within the recording; fetch it again")
    return found


def _digest(path: Path) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
