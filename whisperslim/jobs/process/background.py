"""Commands that work beside the app, most of them about a run: started and followed.

Like a worker, such a process outlives the one that started it. Its output goes to its log, and it
holds a lock beside the log as long as it lives: the lock shows that it is running.

background/NAME.log      the command and its output
background/NAME.lock     held by the command, which takes it first of all
background/NAME.start    held by the starting process until the command has its lock
"""

import os
import runpy
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from whisperslim.core.disk.locks import Lock, holder
from whisperslim.core.disk.untrusted import open_plain
from whisperslim.errors import RunError
from whisperslim.jobs.process.child import collect, detached
from whisperslim.jobs.run.disk import disk_errors

_TAIL_BYTES = 4000
# The lock is taken before the command is loaded, so this is long even on a busy machine.
_START_SECONDS = 60.0


class Owner(Protocol):
    """What commands are about, such as a run: a folder for their logs, and its name."""

    @property
    def path(self) -> Path: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class Background:
    """The latest command of one name. `arguments` are empty when there has been none."""

    arguments: tuple[str, ...] = ()
    running: bool = False
    said: str = ""

    def value_of(self, name: str) -> str:
        """The value of an option such as `--target`; "" when it was not given."""
        following = dict(zip(self.arguments, self.arguments[1:], strict=False))
        return following.get(name, "")


def start(run: Owner, name: str, arguments: Sequence[str]) -> int:
    """Run `whisperslim ARGUMENTS` in a detached process. Returns its id.

    Returns when the process holds its lock. Raises `RunError` when a command of this name is
    running for the run, the disk refuses, or the lock is not held within a minute.
    """
    path = log_path(run, name)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC
    with disk_errors(run.path):
        path.parent.mkdir(exist_ok=True)
        with Lock(path.with_suffix(".start")) as starting:
            if not starting.take(_START_SECONDS) or holder(_lock_path(run, name)) is not None:
                raise RunError(
                    f"a {name} of {run.name} is already running; wait until it has ended"
                )
            with open_plain(path, flags) as log:
                log.write(f"$ whisperslim {shlex.join(arguments)}\n".encode())
                log.flush()
                child = detached(_command(_lock_path(run, name), arguments), log)
            collect(child)
            return _holding(run, name, child)


def look(run: Owner, name: str) -> Background:
    """The latest command of this name, whether it is still running, and its last output."""
    path = log_path(run, name)
    if not path.is_file():
        return Background()
    running = holder(_lock_path(run, name)) is not None
    with path.open("rb") as log:
        first = log.readline().decode(errors="replace")
        log.seek(max(log.tell(), path.stat().st_size - _TAIL_BYTES))
        said = log.read().decode(errors="replace").strip()
    return Background(_arguments(first), running, said)


def log_path(run: Owner, name: str) -> Path:
    """Where the output of the latest command of this name is."""
    return run.path / "background" / f"{name}.log"


def _lock_path(run: Owner, name: str) -> Path:
    return log_path(run, name).with_suffix(".lock")


def _command(lock: Path, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "whisperslim.jobs.process.background", str(lock), *arguments]


def _holding(run: Owner, name: str, child: subprocess.Popen[bytes]) -> int:
    """Id of the process that holds the lock; its former id if it has ended already."""
    deadline = time.monotonic() + _START_SECONDS
    while child.poll() is None:
        process = holder(_lock_path(run, name))
        if process is not None:
            return process
        if time.monotonic() > deadline:
            child.kill()
            raise RunError(
                f"the {name} of {run.name} did not begin within {_START_SECONDS:.0f} s. The "
                "machine may be too busy: try again later"
            )
        time.sleep(0.02)
    return child.pid


def _arguments(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line)[2:])  # after `$ whisperslim`
    except ValueError:  # a line still being written
        return ()


def _hold_and_run(path: Path, arguments: Sequence[str]) -> None:
    """Run the command line with these arguments while holding a lock."""
    with Lock(path) as lock:
        if not lock.take():
            sys.exit("the same command is already running; wait until it has ended")
        lock.sign()
        sys.argv[1:] = arguments
        runpy.run_module("whisperslim", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _hold_and_run(Path(sys.argv[1]), sys.argv[2:])
