"""Decode each recording once. Later epochs and later runs read the samples from disk."""

import errno
import hashlib
import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from whisperslim.errors import AudioError, DataError
from whisperslim.speech.audio import SAMPLE_RATE, decode
from whisperslim.speech.dataset import Item

# Part of every file name: raise it when `decode` would give other samples for the same bytes.
DECODER_VERSION = "1"
_BYTES_PER_MINUTE = 60 * SAMPLE_RATE * 4
_CHECKSUM_BYTES = 4
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AudioCache:
    """Decoded clips in `folder`, named by the SHA-256 of the recording's bytes.

    A moved or renamed recording is found again; a changed one is decoded anew. One minute of
    speech takes 3.84 MB. Several processes may share a folder. A file is an ordinary .npy
    followed by a CRC-32 of it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[tuple[str, int, int], str] = {}

    def load(self, item: Item) -> np.ndarray:
        """Samples of one clip: (samples,) float32, mono, 16 kHz, for the caller to keep.

        Raises `AudioError` when the recording is missing or cannot be decoded, `DataError` when
        the cache cannot be written.
        """
        stored = self.folder / self._name(item.path)
        audio = _read(stored)
        if audio is None:
            audio = np.ascontiguousarray(decode(item.path), dtype=np.float32)
            self._write(stored, audio)
        return audio

    def durations(self, items: Sequence[Item]) -> list[float]:
        """Seconds of each clip as decoded, which a manifest's own figures only approximate."""
        return [len(self.load(item)) / SAMPLE_RATE for item in items]

    def _name(self, path: Path) -> str:
        try:
            facts = path.stat()
            known = (str(path), facts.st_size, facts.st_mtime_ns)
            if known not in self._names:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                self._names[known] = f"{digest[:2]}/{digest}-{DECODER_VERSION}.npy"
        except OSError as error:
            raise AudioError(f"{path}: cannot be read ({error.strerror})") from error
        return self._names[known]

    def _write(self, target: Path, audio: np.ndarray) -> None:
        buffer = io.BytesIO()
        np.save(buffer, audio, allow_pickle=False)
        data = buffer.getvalue()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(target, data + _checksum(data))
        except OSError as error:
            raise DataError(_write_problem(self.folder, len(data), error)) from error


def _read(stored: Path) -> np.ndarray | None:
    """The samples, or None when there is no such file or it is not as it was written."""
    try:
        raw = stored.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"audio cache {stored}: cannot be read ({error.strerror})") from error
    data, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if not data or checksum != _checksum(data):
        return None
    samples: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return samples


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "little")


def _write_whole(target: Path, data: bytes) -> None:
    """Under a temporary name, then renamed: a reader sees all of it or nothing."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(target)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _write_problem(folder: Path, needed: int, error: OSError) -> str:
    if error.errno not in _FULL:
        return f"audio cache {folder}: cannot be written ({error.strerror}); choose another folder"
    free = shutil.disk_usage(folder).free / 1e6 if folder.exists() else 0.0
    return (
        f"audio cache {folder}: the disk is full. This clip needs {needed / 1e6:.2f} MB and a "
        f"data set {_BYTES_PER_MINUTE / 1e6:.2f} MB for each minute of speech; {free:.2f} MB are "
        "free. Make room or choose a folder on another disk"
    )
