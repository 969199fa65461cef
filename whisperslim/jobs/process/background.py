"""Commands about a run that work beside it, such as a prediction: started and followed.

Like a worker, such a process outlives whoever started it. What it writes goes to its log, and it
holds a lock on that log for as long as it lives: the lock is how anyone sees that it is at work.
"""

import fcntl
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from whisperslim.errors import RunError
from whisperslim.jobs.process.child import collect, detached, own_command
from whisperslim.jobs.run.disk import storage_told
from whisperslim.jobs.run.folder import RunDir

_TAIL_BYTES = 4000
# Looking takes the lock for a moment; who wants to start tries again that long.
_LOCK_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Background:
    """The latest command of one name. `arguments` are empty when there has been none."""

    arguments: tuple[str, ...] = ()
    running: bool = False
    said: str = ""

    def value_of(self, name: str) -> str:
        """What follows an option such as `--target`; "" when it was not given."""
        following = dict(zip(self.arguments, self.arguments[1:], strict=False))
        return following.get(name, "")


def start(run: RunDir, name: str, arguments: Sequence[str]) -> int:
    """Run `whisperslim ARGUMENTS` in a detached process. Returns its id.

    Raises `RunError` when a command of this name works on the run already, or the disk refuses.
    """
    with storage_told(run.path), _opened(log_path(run, name)) as log:
        # The child inherits the open file and with it the lock; the system lets go at its end.
        if not _acquired(log.fileno()):
            raise RunError(f"a {name} of {run.name} is at work already; wait for its end")
        log.truncate(0)
        log.write(f"$ whisperslim {shlex.join(arguments)}\n".encode())
        log.flush()
        child = detached(own_command(*arguments), log)
    collect(child)
    return child.pid


def look(run: RunDir, name: str) -> Background:
    """What the latest command of this name was, whether it still works, and what it said last."""
    path = log_path(run, name)
    if not path.is_file():
        return Background()
    with path.open("rb") as log:
        running = not _locked(log.fileno(), fcntl.LOCK_SH)
        first = log.readline().decode(errors="replace")
        log.seek(max(log.tell(), path.stat().st_size - _TAIL_BYTES))
        said = log.read().decode(errors="replace").strip()
    return Background(_arguments(first), running, said)


def log_path(run: RunDir, name: str) -> Path:
    """Where the output of the latest command of this name is."""
    return run.path / "background" / f"{name}.log"


def _opened(path: Path) -> BinaryIO:
    path.parent.mkdir(exist_ok=True)
    return path.open("ab")


def _arguments(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line)[2:])  # after `$ whisperslim`
    except ValueError:  # a line still being written
        return ()


def _acquired(descriptor: int) -> bool:
    deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
    while not _locked(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
