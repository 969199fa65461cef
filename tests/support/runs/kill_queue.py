"""Runs that take a moment each, in a queue whose process is killed at one of its own calls."""

import itertools
import json
import multiprocessing
import os
import sys
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.support.runs.kill_calls import GIVE_UP_SECONDS, killing, watch
from tests.support.runs.light_runs import light_run, until
from whisperslim.errors import RunError
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process import queue
from whisperslim.jobs.run.folder import RunDir, RunStatus

NAMES = ("a", "b", "c", "d")
# The first works until it may end, so that the others wait. Each notes when it was at work.
_QUICK = """
import json, sys, time
from pathlib import Path
from whisperslim.events import Finished, RunStarted
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir, RunStatus
run = RunDir(Path(sys.argv[1]))
place = run.path.parent.parent
with run.lock():
    began = time.monotonic()
    EventLog(run.events_path).append(RunStarted("r", 1, ("tune",)))
    while run.name == "a" and not (place / "go").exists():
        time.sleep(0.02)
    time.sleep(0.1)
    EventLog(run.events_path).append(Finished(1.0, ""))
    with (place / "worked").open("a") as file:
        file.write(json.dumps([began, time.monotonic(), run.name]) + "\\n")
"""


def quick_command(run: RunDir) -> list[str]:
    """The command of a worker that has little to do."""
    return [sys.executable, "-c", _QUICK, str(run.path)]


_KEEPER = """
import sys
from pathlib import Path
from tests.support.runs.kill_queue import quick_command
from whisperslim.jobs.process import child, queue
child.worker_command = quick_command
queue.keep(Path(sys.argv[-1]))
"""


def keeper_command(*arguments: str) -> list[str]:
    """In place of `whisperslim queue --keep --runs RUNS`: a keeper that begins such workers."""
    return [sys.executable, "-c", _KEEPER, *arguments]


def worked(place: Path) -> list[tuple[float, float, str]]:
    """When each worker began and ended, in the seconds of one clock, and its run; in order."""
    lines = (place / "worked").read_text().splitlines() if (place / "worked").exists() else []
    return sorted((began, ended, name) for began, ended, name in map(json.loads, lines))


def check_ended(place: Path) -> None:
    """Fail unless each run comes to its end, was at work once, and never two at a time."""
    until(lambda: len(worked(place)) >= len(NAMES))
    runs = [RunDir(place / "runs" / name) for name in NAMES]
    until(lambda: not any(map(process.is_alive, runs)))
    found = worked(place)
    assert Counter(name for _, _, name in found) == Counter(NAMES)
    for before, after in itertools.pairwise(found):
        assert before[1] <= after[0], "two were at work on one device"
    assert {run.status() for run in runs} == {RunStatus.FINISHED}
    until(lambda: queue.waiting(place / "runs") == ())  # written after the start


def start_all(runs: Path) -> None:
    """What a page does for each run whose button is pressed, unless it waits or works already."""
    for name in NAMES:
        run = RunDir(runs / name)
        if run.status() == "queued" and not queue.place(run):
            try:
                queue.start_or_wait(run)
            except RunError as error:
                assert "already" in str(error)  # another app was first, or one that was killed


def calls_of_a_queue(place: Path) -> list[str]:
    """The calls of a process that starts all runs and keeps their queue, in order."""
    process_of = _begun(place, 0)
    process_of.join(GIVE_UP_SECONDS)
    assert process_of.exitcode == 0
    return (place / "calls").read_text().splitlines()


def kill_queue_at(place: Path, number: int) -> int:
    """The exit code of such a process killed at its call of that number; 0: it made fewer."""
    process_of = _begun(place, number)
    process_of.join(GIVE_UP_SECONDS)
    assert process_of.exitcode is not None
    return process_of.exitcode


def new_place(place: Path) -> Path:
    """A folder of runs that are to be started; the first may end."""
    for name in NAMES:
        light_run(place / "runs", name)
    return place / "runs"


def _begun(place: Path, number: int) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["whisperslim.jobs.stages.order", "tests.support.runs.kill_calls"]
    )
    worker = context.Process(target=_start_and_keep, args=(str(place), number))
    worker.start()
    return worker


def _start_and_keep(folder: str, number: int) -> None:
    place, seen = Path(folder), []
    process.worker_command = quick_command
    queue.see_to = lambda runs: None  # type: ignore[assignment]
    queue._POLL_SECONDS = 0.1
    count = killing(number) if number else seen.append

    def of_note(call: str) -> None:
        # A lock that is looked at changes nothing, and how often it is depends on the clock.
        if not call.endswith((".lock", "log.txt")):
            count(call)

    def begun(*given: object) -> object:
        child = detached(*given)  # type: ignore[arg-type]
        of_note("a worker was begun")
        return child

    detached = process.detached
    process.detached = begun  # type: ignore[assignment]
    watch(str(place / "runs"), of_note)
    start_all(place / "runs")
    (place / "go").touch()
    queue.keep(place / "runs")
    (place / "calls").write_text("\n".join(seen))
    os._exit(0)
