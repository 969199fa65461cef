"""Files of a folder that anybody may have filled: read within bounds, and never through a link."""

import os
import stat
from pathlib import Path


def read_plain(path: Path, most: int) -> bytes:
    """The contents of a file of at most `most` bytes.

    Raises `OSError` when it is missing, a link or not to be read, `ValueError` when it is longer or
    no file at all, such as a device without end.
    """
    # What is looked at is what is read: nothing can be put in its place in between. A pipe that
    # nobody writes to would wait for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(f"{path} is no plain file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise ValueError(f"{path} has over {most} bytes")
    return content
