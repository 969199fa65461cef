"""A disk without room, for whoever writes."""

import errno
import os
from typing import NoReturn


def full_disk(*given: object, **named: object) -> NoReturn:
    """Stands for a function that writes a file."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
