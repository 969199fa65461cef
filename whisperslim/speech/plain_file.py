"""Opening a file that a user, a manifest or a page names, which may be anything on the disk."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

# Opening a pipe that nobody writes to, or some devices, would block.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def open_file(path: Path) -> BufferedReader:
    """A file to read from, through links. Raises `OSError`, also for what is not a file."""
    try:
        descriptor = os.open(path, _FLAGS | getattr(os, "O_CLOEXEC", 0))
    except ValueError as error:  # a NUL in the path
        raise OSError(errno.EINVAL, "no such path can be", str(path)) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    what = "it is a folder" if stat.S_ISDIR(mode) else "it is a pipe or a device, not a file"
    raise OSError(errno.EINVAL, what, str(path))
