"""What a disk refuses, as errors with words for people, and files written under them."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.errors import RunError

_FULL = "the disk is full; make room on it"
_FORBIDDEN = "it may not be written to; make the folder writable, or choose another one"
_NO_FOLDER = "a file stands where a folder is to be; choose another place, or move the file away"
_NO_FILE = "a folder stands where a file is to be; choose another name, or move the folder away"
_LINK = "it is a link, and may lead anywhere; delete it, or put a copy of the file in its place"
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
    """Make a `RunError` of what the disk of `folder` refuses in the block; other errors pass."""
    try:
        yield
    except OSError as error:
        what = _REFUSALS.get(error.errno or 0)
        if what is None:
            raise
        # The second name is where a temporary file was to go, which is the one that was asked for.
        name = error.filename2 or error.filename or folder
        raise RunError(f"{name}: {what} ({error.strerror})") from error


def write_text_checked(path: Path, content: str) -> None:
    """Replace a text file as a whole. Raises `RunError` for what the disk refuses."""
    with disk_errors(path.parent):
        write_text_atomically(path, content)


def require_writable(file: Path) -> None:
    """Raise `RunError` unless a file can be written there. It only looks, and makes nothing.

    For the time before long work, whose result would have no place in the end.
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
    """Take a little room on a disk that may fill up; yields the function that gives it back.

    So the reason for the end can still be written when nothing else can.
    """
    kept = folder / ".room-for-last-words"
    # Random, or a disk that compresses would keep nothing free.
    kept.write_bytes(os.urandom(_LAST_WORDS_BYTES))
    try:
        yield lambda: kept.unlink(missing_ok=True)
    finally:
        kept.unlink(missing_ok=True)


def _refusal(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))
