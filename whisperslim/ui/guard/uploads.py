"""The app's own folder for temporary files: uploads, recordings, files to save.

<temporary folder>/whisperslim-app-*/lock     locked as long as the app runs
<temporary folder>/whisperslim-app-*/files    what is kept
"""

import atexit
import math
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

from whisperslim.core.disk.locks import Lock
from whisperslim.jobs.run.disk import disk_errors

KEPT_SECONDS = 3600  # of every file: an upload, a recording chosen, a file to save
_PREFIX, _LOCK, _FILES = "whisperslim-app-", "lock", "files"
_held: dict[Path, Lock] = {}  # the folders of this process


def make_own_folder() -> Path:
    """A new folder for files, removed when this process ends normally.

    Folders of apps that ended without removing theirs are removed first. Raises `RunError` when the
    disk refuses it.
    """
    place = Path(tempfile.gettempdir())
    remove_stale(place)
    with disk_errors(place):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        _held[folder] = Lock(folder / _LOCK)
        _held[folder].take(math.inf)
        atexit.register(_remove, folder)
        # Only now: a folder without this file is still being made, even if it is not locked yet.
        (folder / _FILES).mkdir()
    return folder / _FILES


def remove_on_termination() -> None:
    """Remove the folders also when the process is ended by SIGTERM or by closing its terminal.

    For a main thread that stays in Python: inside native code the signal would have to wait. A
    signal that has a handler already is left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no such signal
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _remove_and_end)


def remove_stale(place: Path) -> None:
    """Remove this user's folders in `place` whose app has ended."""
    for folder in place.glob(f"{_PREFIX}*"):
        lock = _taken_over(folder)
        if lock is not None:
            _remove_with(folder, lock)


@dataclass(frozen=True)
class Kept:
    """The contents of a folder."""

    bytes: int = 0
    files: int = 0


def clear_old(folder: Path, now: float) -> Kept:
    """Remove what was in `folder` for `KEPT_SECONDS` at `now`, a Unix time; returns what is left.

    Gradio itself only clears away files that it knows, which broken uploads are not. It makes a
    folder for each file; those are removed when they are as old and empty.
    """
    size = files = 0
    for root, folders, names in os.walk(folder, topdown=False):
        for path in (Path(root, name) for name in (*names, *folders)):
            with suppress(FileNotFoundError):  # gone since it was listed
                about = path.lstat()
                # A copy keeps its original's modification time, so that cannot be used.
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
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def _taken_over(folder: Path) -> Lock | None:
    """The lock of a stale folder, taken; None for another user's, or one in use."""
    try:
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or not _is_own(about):
            return None
        lock = Lock(folder / _LOCK, make=False)
    except (OSError, ValueError):  # just made and not locked yet, or just removed
        return None
    if lock.take(0) and (folder / _FILES).exists():
        return lock
    lock.close()
    return None


def _is_own(about: os.stat_result) -> bool:
    # Windows has a temporary folder for each user.
    return not hasattr(os, "getuid") or about.st_uid == os.getuid()


def _remove(folder: Path) -> None:
    lock = _held.pop(folder, None)
    if lock is not None:
        _remove_with(folder, lock)


def _remove_with(folder: Path, lock: Lock) -> None:
    # The lock is removed last: without it, nothing would later remove what could not be removed
    # now.
    shutil.rmtree(folder / _FILES, ignore_errors=True)
    removed = not (folder / _FILES).exists()
    lock.close()  # Windows does not remove open files
    if removed:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_and_end(number: int, frame: FrameType | None) -> None:
    for folder in tuple(_held):
        _remove(folder)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _leave_to_parent() -> None:
    """A forked child neither removes its parent's folders nor keeps them locked."""
    for lock in _held.values():
        lock.close()
    _held.clear()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_leave_to_parent)
