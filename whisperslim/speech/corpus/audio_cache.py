"""Decode each recording once. Later epochs and later runs read the samples from disk."""

import io
import math
import os
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisperslim.errors import UsageError
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.corpus.clip_reader import ClipReader, stamp_of
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.corpus.recording_facts import (
    FILE_PATTERN,
    TEMPORARY,
    Facts,
    RecordingFacts,
    write_whole,
)

# Part of every file name: raise it when other samples would be kept for the same bytes.
DECODER_VERSION = "2"
_CHECKSUM_BYTES = 4
_FULL_SCALE = 32768.0  # 16-bit samples
_UNUSED_SECONDS = 3600.0  # how exactly the time of last use is kept: writing it costs a disk access
LIMIT_VARIABLE = "WHISPERSLIM_CACHE_GB"
_USUAL_LIMIT = "20"  # GB: about 170 hours of speech
_LEFT = 0.9  # share of the limit that is kept when room is made, so that it is seldom made
_OWN_FILES = ("??/*.npy", f"??/{TEMPORARY}*", f"{TEMPORARY}*", FILE_PATTERN)


class AudioCache:
    """Decoded clips in `folder`, named by the SHA-256 of the recording's bytes.

    A moved or renamed recording is found again; a changed one is decoded again. Samples are rounded
    to 16 bits, on the first load too: what a clip sounds like does not depend on the cache. One
    minute of speech takes 1.92 MB. A file is an ordinary .npy followed by a CRC-32 of it. Several
    processes and threads may share a folder.

    The cache only saves time, so no problem with it stops any work: on a full disk, or in a folder
    that may not be written to, clips are decoded when they are needed.

    Args:
        folder: Where the files are; need not exist.
        announce: Called, once for each kind of problem, with what the user should know.
        limit: Bytes the folder may take; None is the user's own limit. Files used longest ago go
            first; those used through this object stay, and new ones are then not written.
    """

    def __init__(
        self,
        folder: Path,
        announce: Callable[[str], None] = lambda message: None,
        limit: int | None = None,
    ) -> None:
        self.folder = folder
        self._announce = announce
        self._limit = cache_limit() if limit is None else limit
        self._reader = ClipReader(self._say)
        self._facts = RecordingFacts(folder, DECODER_VERSION, self._say)
        self._said: set[str] = set()
        self._used: set[bytes] = set()  # digests: of a million, paths would take some 300 MB
        self._bytes: int | None = None  # in the folder; None until it is counted
        self._is_full = False  # of what is in use: another attempt to make room would free nothing
        self._writing = True
        self._lock = threading.Lock()

    def load(self, item: Item) -> np.ndarray:
        """Samples of one clip: (samples,) float32, mono, 16 kHz, owned by the caller.

        Raises `AudioError` when the recording is missing or cannot be decoded.
        """
        stamp, known = self._known(item)
        digest = known.sha256 if known else self._reader.digest(item)
        stored = self.folder / digest[:2] / f"{digest}-{DECODER_VERSION}.npy"
        samples = self._read(stored)
        if samples is None:
            samples = _rounded(self._reader.samples(item))
            self._write(stored, samples)
        self._used.add(bytes.fromhex(digest))
        facts = Facts(digest, len(samples))
        if facts != known:
            self._facts.add(stamp, facts)
            self._keep(lambda: self._facts.store(stamp))
        return samples.astype(np.float32) / np.float32(_FULL_SCALE)

    def durations(self, items: Sequence[Item], listed: bool = False) -> list[float]:
        """`seconds` of each clip."""
        return [self.seconds(item, listed) for item in items]

    def seconds(self, item: Item, listed: bool = False) -> float:
        """Seconds of a clip as decoded, which a manifest's own figure only approximates.

        Those of recordings loaded before, by any process, are looked up. With `listed`, the
        manifest's figure is taken where it has one, whatever is known: nothing is opened, and the
        result does not depend on what was loaded before. Raises as `load`.
        """
        if listed and item.duration:
            return item.duration
        _, known = self._known(item)
        return (known.samples if known else len(self.load(item))) / SAMPLE_RATE

    def _known(self, item: Item) -> tuple[str, Facts | None]:
        """A stamp of the recording as it is now, and what is known of it."""
        stamp = stamp_of(item)
        return stamp, self._facts.get(stamp)

    def _read(self, stored: Path) -> np.ndarray | None:
        """The samples, or None when there is no such file or it is not as it was written."""
        try:
            raw = stored.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._say(f"sound cache {self.folder}: cannot be read ({error.strerror})")
            return None
        # Others may own the files, or remove them meanwhile: then the time cannot be set.
        with suppress(OSError):
            if time.time() - stored.stat().st_mtime > _UNUSED_SECONDS:
                os.utime(stored)
        return _checked(raw)

    def _write(self, target: Path, samples: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, samples, allow_pickle=False)
        data = buffer.getvalue()
        data += _checksum(data)

        def write() -> None:
            if self._has_room(len(data)):
                target.parent.mkdir(parents=True, exist_ok=True)
                write_whole(target, data)

        self._keep(write)

    def _keep(self, write: Callable[[], None]) -> None:
        """Call `write`, unless the folder has refused before: it would refuse every other clip,
        too."""
        with self._lock:
            if not self._writing:
                return
            try:
                write()
            except OSError as error:
                self._writing = False
                self._say(
                    f"sound cache {self.folder}: cannot be written ({error.strerror}); recordings "
                    "are decoded each time they are needed, which is slower. Make room or set "
                    "WHISPERSLIM_CACHE to another folder"
                )

    def _has_room(self, needed: int) -> bool:
        if self._bytes is None:
            self._bytes = cache_use(self.folder).bytes
        if self._bytes + needed > self._limit and not self._is_full:
            most = int(_LEFT * self._limit) - needed
            self._bytes = _remove_oldest(self.folder, most, self._used)
            self._is_full = self._bytes + needed > self._limit
        if self._is_full:
            self._say(
                f"sound cache {self.folder}: the recordings in use take more than its limit of "
                f"{self._limit / 1e9:g} GB, and those beyond it are decoded each time they are "
                f"needed, which is slower; {LIMIT_VARIABLE} sets another limit, in GB"
            )
            return False
        self._bytes += needed
        return True

    def _say(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._announce(message)


def cache_limit() -> int:
    """Bytes a cache may take: `$WHISPERSLIM_CACHE_GB`, or 20 GB. Raises `UsageError`."""
    text = os.environ.get(LIMIT_VARIABLE) or _USUAL_LIMIT
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not 0.0 <= limit < math.inf:
        raise UsageError(f"{LIMIT_VARIABLE} is {text!r}: a number of GB, 0 or more, is accepted")
    return int(limit * 1e9)


@dataclass(frozen=True)
class CacheUse:
    """What a cache holds."""

    files: int
    bytes: int


def cache_use(folder: Path) -> CacheUse:
    """Files and bytes in the cache at `folder`; none when there is no such folder."""
    sizes = [size for _, size, _ in _files(folder)]
    return CacheUse(len(sizes), sum(sizes))


def clear_cache(folder: Path) -> CacheUse:
    """Delete what `AudioCache` has written to `folder`, and nothing else there; says how much.

    Running work decodes again. Raises `OSError` for a file that cannot be deleted.
    """
    found = _files(folder)
    for _, _, path in found:
        path.unlink(missing_ok=True)
    return CacheUse(len(found), sum(size for _, size, _ in found))


def _files(folder: Path) -> list[tuple[float, int, Path]]:
    """(time of last use, bytes, path) of every file that is the cache's own."""
    found = []
    for pattern in _OWN_FILES:
        for path in folder.glob(pattern):
            try:
                facts = path.stat()
            except FileNotFoundError:  # another process has removed or renamed it
                continue
            found.append((facts.st_mtime, facts.st_size, path))
    return found


def _remove_oldest(folder: Path, most: int, used: set[bytes]) -> int:
    """Delete samples, those used longest ago first, until `most` bytes are left; bytes left.

    Those of the digests `used` stay. In training every epoch has another order, so of a set twice
    as large as the cache, half of the clips is found there; were the oldest of them deleted for
    the next, it would be about a seventh (by simulation).
    """
    found = sorted(_files(folder))
    left = sum(size for _, size, _ in found)
    for _, size, path in found:
        if left <= most:
            break
        if path.parent != folder and not _is_of(path, used):
            path.unlink(missing_ok=True)
            left -= size
    return left


def _is_of(path: Path, used: set[bytes]) -> bool:
    """Whether a file of samples is of one of the digests."""
    try:
        return bytes.fromhex(path.name.partition("-")[0]) in used
    except ValueError:  # it is being written, or of somebody else's making
        return False


def _rounded(audio: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] as int16. The lowest is -32768, so that 16-bit recordings stay exact."""
    scaled = np.rint(audio * np.float32(_FULL_SCALE))
    return np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def _checked(raw: bytes) -> np.ndarray | None:
    data, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if not data or checksum != _checksum(data):
        return None
    samples: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return samples


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")
