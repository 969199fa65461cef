"""Checksums and free space for fetched weights, and the messages when either fails."""

import errno
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from whisperslim.errors import SourceError

Report = Callable[[str, int, int], None]
"""What is being done, units (bytes) done, units in all."""

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_ELSEWHERE = "set WHISPERSLIM_CACHE to a folder"


def file_sha256(path: Path, report: Report = lambda what, done, total: None) -> str:
    """SHA-256 of a file, in hexadecimal. Raises `OSError` when it cannot be read."""
    return files_sha256([path], report)


def files_sha256(paths: Sequence[Path], report: Report = lambda what, done, total: None) -> str:
    """SHA-256 of files one after another, as if they were one file. Raises as `file_sha256`."""
    digest = hashlib.sha256()
    for path in paths:
        done, size = 0, path.stat().st_size
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                done += len(chunk)
                report(f"checking {path.name}", done, size)
    return digest.hexdigest()


def check_sha256(path: Path, wanted: str, report: Report = lambda what, done, total: None) -> None:
    """Raise `SourceError` unless there is a file at `path` with the checksum `wanted`."""
    if not path.is_file():
        raise SourceError(f"the download brought no {path.name}; try again")
    found = file_sha256(path, report)
    if found != wanted:
        raise SourceError(
            f"wrong checksum: {path.name} has sha256 {found} instead of {wanted}; the download is "
            "damaged or another file is served under that name. Nothing of it was used; try again"
        )


def require_space(folder: Path, wanted: int) -> None:
    """Raise `SourceError` unless the disk of `folder`, which must exist, has `wanted` bytes."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise SourceError(
            f"the disk of {folder} has {_megabytes(free)} free and {_megabytes(wanted)} are "
            f"needed; free some space, or {_ELSEWHERE} on another disk"
        )


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into a `SourceError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise SourceError(_explain(error, folder)) from error


def _explain(error: OSError, folder: Path) -> str:
    if error.errno in _FULL:
        return (
            f"the disk of {folder} is full; free some space, or {_ELSEWHERE} on another disk. "
            "Nothing half-finished was left behind"
        )
    if error.errno in _FORBIDDEN:
        return f"no permission for {folder} ({error}); fix it, or {_ELSEWHERE} you may write to"
    return f"{folder} cannot be used: {error}; fix it, or {_ELSEWHERE} elsewhere"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
