"""Locks on files: one holder each, and the system releases them however the holder ends.

By filelock, which uses `flock` and, on Windows, `LockFileEx` on the first byte. It has no shared
locks, so a process that only asks takes the lock as well, for a moment. Whoever wants the lock
therefore tries for a while, and a lock that cannot be taken counts as held when its file names a
process that was running before the file was written. The number has a zero in front, since on
Windows only the holder can read the first byte. The holder's computer follows it, since computers
may share a folder, and a process is only ended where it runs.
"""

import errno
import os
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import psutil
from filelock import lock_descriptor, unlock_descriptor

from whisperslim.core.disk.untrusted import open_plain

PATIENCE_SECONDS = 1.0
_LOOKING_SECONDS = 0.2
_AGAIN_SECONDS = 0.02
_DIGITS = 10
_NAME_BYTES = 64  # the longest name that Linux lets a computer have
_LARGEST_ID = 2**31 - 1
# Workers of earlier versions wrote no zero; they never ran on Windows.
_READ_FROM = 1 if sys.platform == "win32" else 0


class Lock:
    """A lock file, opened.

    The file stays when the lock is released: if it were deleted, two processes could hold locks of
    one name. A forked child leaves the lock to its parent; a process started otherwise does not
    inherit it.

    Args:
        path: The file. No link is followed.
        make: Whether to make it when it is missing.

    Raises:
        OSError: it is missing or refused; `ELOOP` for a link.
        ValueError: it is not a file.
    """

    def __init__(self, path: Path, make: bool = True) -> None:
        self._file = open_plain(path, os.O_RDWR | (os.O_CREAT if make else 0))
        self._holder = 0
        self._signed = False

    def take(self, patience: float = PATIENCE_SECONDS) -> bool:
        """Whether it could be taken, at once or within `patience` in seconds."""
        if not _taken(self._file, patience):
            return False
        self._holder = os.getpid()
        return True

    def sign(self) -> None:
        """Write down which process holds it, and on which computer, for `holder` and
        `holders_machine`. Raises `OSError` on a full disk.
        """
        self._signed = True
        self._write(self._holder)

    def close(self) -> None:
        """Release it, if this process holds it."""
        if self._file.closed:
            return
        with self._file:
            if self._holder == os.getpid():
                if self._signed:
                    with suppress(OSError):  # the number alone makes nobody a holder
                        self._write(0)
                unlock_descriptor(self._file.fileno())

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, process: int) -> None:
        # Of one length, so that the file need not be cut, and a reader sees a whole number.
        name = machine_name().encode()[:_NAME_BYTES] if process else b""
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)
        os.write(
            self._file.fileno(), f"{process:0{1 + _DIGITS}d}".encode() + name.ljust(_NAME_BYTES)
        )


def machine_name() -> str:
    """The name of this computer, which tells it from others that share a folder."""
    return platform.node()


def holders_machine(path: Path) -> str:
    """The computer whose process signed a lock last; "" when no name is written down.

    Locks of earlier versions have none. Ask `holder` first whether anybody holds it.
    """
    try:
        with _opened_to_look(path) as file:
            os.lseek(file.fileno(), 1 + _DIGITS, os.SEEK_SET)
            return os.read(file.fileno(), _NAME_BYTES).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""


def lock_for_child(file: BinaryIO, patience: float = PATIENCE_SECONDS) -> bool:
    """Lock an open file for as long as any process has it open, children that get it included.

    Returns whether it could be. On Windows nothing is locked, and it always can: there the lock
    would end with this process, and nobody could read the file meanwhile.
    """
    return sys.platform == "win32" or _taken(file, patience)


def is_locked_for_child(path: Path) -> bool:
    """Whether a process has a file open that was given to it locked; as `holder`."""
    if sys.platform == "win32":
        return False
    try:
        with _opened_to_look(path) as file:
            return not _taken(file, _LOOKING_SECONDS)  # another process may be asking just now
    except (OSError, ValueError):
        return False


def _taken(file: BinaryIO, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not lock_descriptor(file.fileno(), blocking=False):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_AGAIN_SECONDS)
    return True


def holder(path: Path) -> int | None:
    """Id of the process that holds and has signed a lock; None when nobody does.

    Writes nothing, and follows no link.
    """
    try:
        with _opened_to_look(path) as file:
            return _holder(file.fileno())
    except (OSError, ValueError):  # there is none, or what stands there is no lock of ours
        return None


def _holder(descriptor: int) -> int | None:
    deadline = time.monotonic() + _LOOKING_SECONDS
    while not lock_descriptor(descriptor, blocking=False):
        process = _signature(descriptor)
        if process and _is_older(process, os.fstat(descriptor).st_mtime):
            return process
        # Another process is asking about the lock of one that was killed, or the holder has yet to
        # sign, or it is on another computer.
        if time.monotonic() >= deadline:
            return process
        time.sleep(_AGAIN_SECONDS)
    unlock_descriptor(descriptor)
    return None


def _signature(descriptor: int) -> int | None:
    os.lseek(descriptor, _READ_FROM, os.SEEK_SET)
    text = os.read(descriptor, 1 + _DIGITS - _READ_FROM)
    process = int(text) if text.isdigit() else 0
    return process if 0 < process <= _LARGEST_ID else None


def _is_older(process: int, moment: float) -> bool:
    try:
        return psutil.Process(process).create_time() <= moment
    except psutil.Error:  # there is none, or it is somebody else's
        return False


def _opened_to_look(path: Path) -> BinaryIO:
    try:
        return open_plain(path, os.O_RDWR)  # a network's file system locks no file opened to read
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return open_plain(path)
