"""The sound of a clip, whatever it is kept in."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from whisperslim.errors import AudioError
from whisperslim.speech.audio.audio import SAMPLE_RATE, decode
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.plain_file import open_file

T = TypeVar("T")


class ClipReader:
    """Reads clips, and keeps what the last one was part of: the next is often a part of it, too.

    Several threads may share one.
    """

    def __init__(self) -> None:
        self._digest = _Last[str]()
        self._sound = _Last[np.ndarray]()

    def digest(self, item: Item) -> str:
        """SHA-256 (hex) of the recording's bytes; of a stretch, of these and where it is.

        Raises `AudioError` when it cannot be read.
        """
        if item.cut is None:
            return _digest(item.path)
        whole = self._digest.get(_file_stamp(item.path), lambda: _digest(item.path))
        return hashlib.sha256(_with_cut(whole, item).encode()).hexdigest()

    def samples(self, item: Item) -> np.ndarray:
        """As `decode`. Raises `AudioError` as that does, and for a stretch beyond the end."""
        if item.cut is None:
            return decode(item.path)
        whole = self._sound.get(_file_stamp(item.path), lambda: decode(item.path))
        start = round(item.cut.start * SAMPLE_RATE)
        found = whole[start : start + round(item.cut.seconds * SAMPLE_RATE)]
        if not len(found):
            raise AudioError(
                f"{item.path} lasts {len(whole) / SAMPLE_RATE:.1f} s, and the clip is to begin at "
                f"{item.cut.start:g} s: correct its offset"
            )
        return found


def stamp_of(item: Item) -> str:
    """Which recording it is without opening it: another stamp may be another recording.

    Raises `AudioError` when there is no such file.
    """
    return _with_cut(_file_stamp(item.path), item)


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


def _file_stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{found.st_size} {found.st_mtime_ns} {path.absolute()}"


def _digest(path: Path) -> str:
    try:
        with open_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
