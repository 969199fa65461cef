"""The app's own folder for what it keeps for a while: uploads, recordings, files to save.

<temporary folder>/whisperslim-app-*/lock     locked as long as the app lives
<temporary folder>/whisperslim-app-*/files    what is kept
"""

import atexit
import fcntl
import os
import shutil
import signal
import stat
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from whisperslim.jobs.run.disk import storage_told

KEPT_SECONDS = 3600  # of every file: an upload, a recording chosen, a file to save
_PREFIX, _LOCK, _FILES = "whisperslim-app-", "lock", "files"
_held: dict[Path, int] = {}  # the folders of this process, and what holds the lock of each


def make_own_folder() -> Path:
    """A new folder for files, removed when this process ends in the ordinary way.

    Folders of apps that ended without removing theirs are removed first. Raises `RunError` when the
    disk takes none.
    """
    place = Path(tempfile.gettempdir())
    remove_stale(place)
    with storage_told(place):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        _held[folder] = _locked_from_the_start(folder)
        atexit.register(_remove, folder)
        (folder / _FILES).mkdir()
    return folder / _FILES


def remove_when_told_to_end() -> None:
    """Remove the folders also when the process is ended by SIGTERM or by its terminal's closing.

    For a main thread that stays in Python: in another's loop the signal would wait with it. A
    signal that somebody handles already is left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _remove_and_end)


def remove_stale(place: Path) -> None:
    """Remove this user's folders in `place` whose app lives no more."""
    for folder in place.glob(f"{_PREFIX}*"):
        descriptor = _taken_over(folder)
        if descriptor is not None:
            _remove_with(folder, descriptor)


@dataclass(frozen=True)
class Kept:
    """What lies in a folder."""

    bytes: int = 0
    files: int = 0


def clear_old(folder: Path, now: float) -> Kept:
    """Remove what lay below `folder` for `KEPT_SECONDS` at `now`, a Unix time; what is left.

    Gradio clears away by itself only what it has a note of, and an upload that broke off is no
    part of that. It makes a folder for each file; those go when they are as old and empty.
    """
    size = files = 0
    for root, folders, names in os.walk(folder, topdown=False):
        for path in (Path(root, name) for name in (*names, *folders)):
            with suppress(FileNotFoundError):  # gone since it was listed
                about = path.lstat()
                # A copy has the time of its original for its last writing: that says nothing.
                old = now - about.st_ctime > KEPT_SECONDS
                if stat.S_ISDIR(about.st_mode):
                    _remove_if_empty(path, old)
                elif old:
                    path.unlink()
                else:
                    size, files = size + about.st_size, files + 1
    return Kept(size, files)


def _remove_if_empty(folder: Path, old: bool) -> None:
    if old:
        with suppress(OSError):  # it holds something
            folder.rmdir()


def _locked_from_the_start(folder: Path) -> int:
    # A lock that another app finds unlocked is stale, so it is locked before it has its name.
    unnamed = folder / f".{_LOCK}"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    unnamed.rename(folder / _LOCK)
    return descriptor


def _taken_over(folder: Path) -> int | None:
    """What now holds the lock of a stale folder; None for another user's, or one in use."""
    try:
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            return None
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # just made and not locked yet, or just removed
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove(folder: Path) -> None:
    descriptor = _held.pop(folder, None)
    if descriptor is not None:
        _remove_with(folder, descriptor)


def _remove_with(folder: Path, descriptor: int) -> None:
    # The lock goes last: without it nobody would remove what could not be removed now.
    shutil.rmtree(folder / _FILES, ignore_errors=True)
    if not (folder / _FILES).exists():
        shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)


def _remove_and_end(number: int, frame: FrameType | None) -> None:
    for folder in tuple(_held):
        _remove(folder)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _leave_to_parent() -> None:
    """A forked child ends without its parent's folders, and does not keep them locked."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
