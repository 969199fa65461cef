"""Errors of a disk as readable messages, and files written with them."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.errors import RunError

_FULL = "the disk is full; make room on it"
_FORBIDDEN = "no permission to write; make the folder writable, or choose another one"
_NO_FOLDER = "there is a file in place of a folder; choose another place, or move the file away"
_NO_FILE = "there is a folder in place of a file; choose another name, or move the folder away"
_LINK = "it is a link, which may lead anywhere; delete it, or replace it with a copy of the file"
_REFUSALS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EROFS: _FORBIDDEN,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EEXIST: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.EISDIR: _NO_FILE,
    errno.ELOOP: _LINK,
}
_LAST_WORDS_BYTES = 1 << 18


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the disk of `folder` inside the block into `RunError`; others pass."""
    try:
        yield
    except OSError as error:
        what = _REFUSALS.get(error.errno or 0)
        if what is None:
            raise
        # The second name is the target of a temporary file, which is the requested file.
        name = error.filename2 or error.filename or folder
        raise RunError(f"{name}: {what} ({error.strerror})") from error


def write_text_checked(path: Path, content: str) -> None:
    """Replace a text file atomically. Raises `RunError` when the disk refuses."""
    with disk_errors(path.parent):
        write_text_atomically(path, content)


def require_writable(file: Path) -> None:
    """Raise `RunError` unless a file can be written there. It only looks, and makes nothing.

    For use before long work whose result could not be stored.
    """
    with disk_errors(file.parent):
        if file.is_dir():
            raise _refusal(errno.EISDIR, file)
        above = next(folder for folder in file.absolute().parents if folder.exists())
        if not above.is_dir():
            raise _refusal(errno.ENOTDIR, above)
        if not os.access(above, os.W_OK | os.X_OK):
            raise _refusal(errno.EACCES, above)


@contextmanager
def room_for_last_words(folder: Path) -> Iterator[Callable[[], None]]:
    """Reserve a little room on a disk that may fill up; yields the function that frees it.

    So the reason for an end can still be written when nothing else can.
    """
    kept = folder / ".room-for-last-words"
    # Random, since a compressing disk would reserve nothing.
    kept.write_bytes(os.urandom(_LAST_WORDS_BYTES))
    try:
        yield lambda: kept.unlink(missing_ok=True)
    finally:
        kept.unlink(missing_ok=True)


def _refusal(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
