"""Many runs, worked through: each in a worker process of its own, followed by its files.

A run is asked to stop by a file in its folder, and its events are read from there, so that it does
not matter on which computer it is at work.
"""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from whisperslim.errors import RunError, WhisperSlimError
from whisperslim.events import Event
from whisperslim.jobs.grid.mark import may_begin
from whisperslim.jobs.process import child as process
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus

_POLL_SECONDS = 0.5
_LAST_LINES = 3
_QUIET_SECONDS = 30.0  # longer than a worker takes from its start until it holds its run
Follow = Callable[[RunDir, Event], None]


class Crew(Protocol):
    """Where runs are worked on."""

    def begin(self, runs: Sequence[RunDir], mark: Path) -> Sequence["Future[str]"]:
        """Have the runs worked on, in this order, as long as the mark wants them begun.

        Returns one future for each: what kept it from being worked on, "" when nothing did. How a
        run ended is in its folder. Raises `RunError` or `UsageError` when there is nobody to work.
        """

    def close(self) -> None:
        """Let go of whoever works."""


class Wish:
    """Whether this process was asked to stop; for `signals_ask_to_stop`."""

    def __init__(self) -> None:
        self.stop = False

    def request_stop(self) -> None:
        self.stop = True


class OneByOne:
    """One run after another on this machine."""

    def __init__(self) -> None:
        self._hands = ThreadPoolExecutor(1)

    def begin(self, runs: Sequence[RunDir], mark: Path) -> Sequence["Future[str]"]:
        return [self._hands.submit(work_on, run.path, mark) for run in runs]

    def close(self) -> None:
        self._hands.shutdown(wait=False, cancel_futures=True)


def work_on(folder: Path, mark: Path) -> str:
    """Do the rest of a run in a worker process here, and wait for its end.

    A run that is at work already, such as one whose node was lost and whose worker was not, is
    waited for, and continued only when that worker died. Returns why it could not be begun, else
    "".
    """
    run = RunDir(folder)
    if _is_busy(run):
        _wait_for(run)
        if run.status() != RunStatus.DIED:
            return ""
    if run.status() == RunStatus.FINISHED or not may_begin(mark):
        return ""
    try:
        process.start_worker(run)
    except WhisperSlimError as error:
        return str(error)
    _wait_for(run)
    return ""


def run_command(words: Sequence[str], mark: Path) -> str:
    """Give a command of `whisperslim` in a process here, and wait for its end.

    Returns what it said last when it failed, else "".
    """
    if not may_begin(mark):
        return ""
    done = subprocess.run(
        process.module_command("whisperslim", *words),
        env=process.worker_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    said = done.stderr.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
    return " ".join(said) or f"exit code {done.returncode}" if done.returncode else ""


def work_through(
    runs: Sequence[RunDir],
    mark: Path,
    crew: Crew,
    follow: Follow,
    stop: Callable[[], bool],
) -> dict[RunDir, str]:
    """Have runs worked on until all have ended, or until each has stopped once `stop()` is true.

    Args:
        runs: In any state; finished ones are left alone.
        mark: As `marked` makes it; deleted when no further run is to be begun.
        crew: Who works.
        follow: Called with every new event of each run.
        stop: Asked about twice a second.

    Returns:
        Run -> what kept it from being worked on; runs that were worked on are not in it. A single
        run that someone else stops does not stop the others.

    Raises:
        RunError, UsageError: as `Crew.begin` does.
        KeyboardInterrupt: at the second Ctrl-C. Runs at work on this machine are killed.
    """
    left = [run for run in runs if run.status() != RunStatus.FINISHED]
    try:
        return _followed(left, mark, crew, follow, stop) if left else {}
    except KeyboardInterrupt:
        for run in left:
            if process.is_alive(run) and not run.working_elsewhere():
                process.stop(run, force=True)
        raise


def _followed(
    left: Sequence[RunDir], mark: Path, crew: Crew, follow: Follow, stop: Callable[[], bool]
) -> dict[RunDir, str]:
    read = {run: _size(run.events_path) for run in left}
    ended = dict(zip(left, crew.begin(left, mark), strict=True))
    waits = set(left)
    quiet: float | None = None
    while waits:
        over = {run for run in waits if ended[run].done()}
        for run in waits:
            new, read[run] = read_events(run.events_path, read[run])
            for event in new:
                follow(run, event)
        if stop():
            mark.unlink(missing_ok=True)
            busy = {run for run in waits if process.is_alive(run)}
            for run in busy:
                run.request_stop()  # again each time: a worker that begins takes it away
            quiet = time.monotonic() if busy or quiet is None else quiet
            if time.monotonic() - quiet > _QUIET_SECONDS:
                break  # whoever has not begun waits for a node that does not come
        waits -= over
        if waits and not over:
            time.sleep(_POLL_SECONDS)
    troubles = {run: future.result() for run, future in ended.items() if future.done()}
    return {run: trouble for run, trouble in troubles.items() if trouble}


def require_finished(runs: Sequence[RunDir], troubles: Mapping[RunDir, str]) -> None:
    """Raise `RunError` naming every run that failed, died or could not be begun, and why."""
    bad = (RunStatus.FAILED, RunStatus.DIED, RunStatus.DAMAGED)
    said: dict[str, list[str]] = {}
    for run in runs:
        if run in troubles:
            said.setdefault(troubles[run], []).append(run.name)
        elif (status := run.status()) in bad:
            said[f"{status}, as {run.events_path} says"] = [run.name]
    if said:
        count = sum(len(names) for names in said.values())
        lines = "\n  ".join(f"{', '.join(names)}: {why}" for why, names in said.items())
        raise RunError(
            f"{count} of {len(runs)} runs did not end well, and none is lost; remove the cause and "
            "give the same command again, which continues them and keeps the finished ones:\n  "
            + lines
        )


def _is_busy(run: RunDir) -> bool:
    return process.is_alive(run) or process.is_begun(run)


def _wait_for(run: RunDir) -> None:
    while _is_busy(run):
        time.sleep(_POLL_SECONDS)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
