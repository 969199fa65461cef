"""Torchrun as a module to run, without its trace when a process fails.

That process has said why, and torchrun's log which one it was.
"""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run


def main() -> int:
    """The exit code: 0, or 1 when a process failed or the signal to end came."""
    try:
        run(parse_args(sys.argv[1:]))
    except (ChildFailedError, SignalException):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
