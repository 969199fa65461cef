"""The mark of a command that works on many runs: a file in the runs folder, held as a lock.

It shows three things to the nodes of a cluster: that they see the same runs folder, that locks
reach from node to node (or two nodes might work on one run), and that the command still wants more
runs to be begun. Loads no model code.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whisperslim.core.disk.locks import Lock, machine_name
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.version import __version__

# A dot in front, so that it is never listed as a run.
_NAME = ".sweep-"


@contextmanager
def marked(runs: Path) -> Iterator[Path]:
    """A mark in a runs folder, held inside the block. Raises `RunError` when the disk refuses."""
    mark = runs / f"{_NAME}{uuid.uuid4().hex}"
    with disk_errors(runs):
        runs.mkdir(parents=True, exist_ok=True)
        lock = Lock(mark)
    try:
        with lock:
            lock.take()
            yield mark
    finally:
        mark.unlink(missing_ok=True)


def may_begin(mark: Path) -> bool:
    """Whether whoever made the mark still wants runs to be begun: it is there, and held."""
    try:
        return not _can_be_taken(mark)
    except OSError:
        return False


def unfit(mark: Path, version: str) -> str:
    """Why this node cannot work on runs of the mark's folder; "" when it can.

    `version` is the WhisperSlim of whoever asks.
    """
    here = machine_name()
    if version != __version__:
        return (
            f"{here} has WhisperSlim {__version__}, not {version}; install the same on every node"
        )
    if not mark.is_file():
        return (
            f"{here} does not see the runs folder {mark.parent}; it must be on a file system that "
            "all nodes share, at the same path"
        )
    try:
        if _can_be_taken(mark):
            return (
                f"locks in {mark.parent} do not reach {here}, so two nodes could work on one run; "
                "mount it with locks that all nodes share (NFS 4, or Lustre with -o flock)"
            )
        probe = mark.with_name(f"{mark.name}-{here}-{os.getpid()}")
        probe.touch()
        probe.unlink()
    except OSError as error:
        return f"{here} cannot write to {mark.parent} ({error.strerror}); let it write there"
    return ""


def _can_be_taken(mark: Path) -> bool:
    with Lock(mark, make=False) as lock:
        return lock.take(0)
