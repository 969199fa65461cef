"""Waiting runs: one worker per device, in an order kept on disk.

The order is a list of names in the runs folder, so all pages and commands see the same. A keeper, a
small separate process, starts the next run when a device becomes free; it outlives the app and ends
when nothing waits. Runs of other runs folders are not seen, and a run started in a terminal with
`compress` or `resume` starts at once and counts as running here.
"""

import errno
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from whisperslim import events
from whisperslim.core.disk.locks import Lock
from whisperslim.core.disk.untrusted import foreign_part, open_plain, read_json, read_yaml
from whisperslim.errors import RunError
from whisperslim.jobs.process import child as process
from whisperslim.jobs.run.disk import disk_errors, write_text_checked
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs, looks_like_run
from whisperslim.jobs.run.room import require_room_for

# A dot in front, so that it is never listed as a run.
_FOLDER = ".queue"
_POLL_SECONDS = 1.0
_MOST_BYTES, _MOST_VALUES = 1_000_000, 10_000  # of the order, which is read at every look
_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Turn:
    """A run in the queue: its place from 1, or 0; and which run it waits for."""

    place: int = 0
    behind: str = ""


class Stopping(Enum):
    """The outcome of a stop request."""

    LEFT_QUEUE = auto()
    ASKED = auto()
    KILLED = auto()


def start_or_wait(run: RunDir) -> int:
    """Start or continue a run when its device is free; else let it wait.

    Returns:
        The worker's process id, or 0 when the run waits.

    Raises:
        RunError: the run is running or waiting already, its disk has no room for it, or its worker
            does not start.
    """
    if process.is_alive(run):
        raise RunError(f"the run {run.name} is being worked on already")
    require_room_for(run)
    with _order_held(run.path.parent) as held:
        if run.name in held.names:
            raise RunError(f"the run {run.name} is already waiting, at place {place(run)}")
        if not _in_the_way(run, held.names):
            return process.start_worker(run)
        held.write([*held.names, run.name])
    see_to(run.path.parent)
    return 0


def stop_or_leave(run: RunDir, force: bool = False) -> Stopping:
    """Take a waiting run off the queue; ask a running one to stop; kill one that was asked before.

    With `force` a running one is killed at once. Raises `RunError` when the run is neither waiting
    nor running.
    """
    with _order_held(run.path.parent) as held:
        if run.name in held.names and not process.is_alive(run):
            held.write([name for name in held.names if name != run.name])
            return Stopping.LEFT_QUEUE
    kill = force or (run.stop_requested() and process.is_alive(run))
    process.stop(run, kill)
    return Stopping.KILLED if kill else Stopping.ASKED


def waiting(runs: Path) -> tuple[str, ...]:
    """Names of the waiting runs, the next one first. A damaged list counts as empty."""
    try:
        found = read_json(runs / _FOLDER / "order.json", runs, _MOST_BYTES, _MOST_VALUES)
    except (OSError, ValueError):
        return ()
    # A folder may have been deleted, and the file may come from anyone: only names of existing
    # runs.
    names = [name for name in found if _is_name(name)] if isinstance(found, list) else []
    return tuple(name for name in dict.fromkeys(names) if looks_like_run(runs / name))


def place(run: RunDir) -> int:
    """A run's place in the queue of its device, from 1; 0 when it does not wait."""
    names = waiting(run.path.parent)
    if run.name not in names:
        return 0
    device = device_of(run)
    before = names[: names.index(run.name)]
    return 1 + sum(device_of(RunDir(run.path.parent / name)) == device for name in before)


def turn(run: RunDir) -> Turn:
    """A run's place in the queue, and the run that is using its device."""
    found = place(run)
    busy = at_work_on_its_device(run) if found else None
    return Turn(found, busy.name if busy else "")


def at_work_on_its_device(run: RunDir) -> RunDir | None:
    """The run that holds the device this one needs, or is about to, if one does."""
    others = [other for other in list_runs(run.path.parent) if other.name != run.name]
    busy = [other for other in others if process.is_alive(other) or process.is_begun(other)]
    here = (other for other in busy if not other.working_elsewhere())
    return next((other for other in here if device_of(other) == device_of(run)), None)


def device_of(run: RunDir) -> str:
    """`cpu` or `cuda`, as the run's recipe names it; found without loading torch."""
    recipe = run.path / "recipe.yaml"
    try:
        about = recipe.lstat()
    except OSError:
        return _found_device()
    named = _named_device(recipe, about.st_ino, about.st_mtime_ns, about.st_size)
    return named if named in ("cpu", "cuda") else _found_device()


def see_to(runs: Path) -> None:
    """Make sure that a keeper starts the waiting runs. Costs almost nothing when none waits."""
    if not waiting(runs) or _keeper_at_work(runs):
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with disk_errors(runs), open_plain(_made(runs) / "log.txt", flags) as log:
        command = process.own_command("queue", "--keep", "--runs", str(runs))
        process.collect(process.detached(command, log))


def keep(runs: Path) -> None:
    """Start waiting runs whenever their device is free, until none waits. One keeper per folder.

    A run that cannot start is taken off the queue, and its own log says why.
    """
    with _keeper_lock(runs) as lock:
        if not lock.take():
            return  # another keeper is running
        while True:
            with _order_held(runs) as held:
                _begin_next(runs, held)
                if not waiting(runs):
                    # Release while nothing can join, since a joining run would rely on this keeper.
                    lock.close()
                    return
            time.sleep(_POLL_SECONDS)


class _Order:
    """The list of names, while nothing else can change it."""

    def __init__(self, runs: Path) -> None:
        self._path = runs / _FOLDER / "order.json"
        self.names = waiting(runs)

    def write(self, names: list[str]) -> None:
        write_text_checked(self._path, json.dumps(names, ensure_ascii=False))
        self.names = tuple(names)


def _begin_next(runs: Path, held: _Order) -> None:
    for name in held.names:
        run = RunDir(runs / name)
        before = held.names[: held.names.index(name)]
        begun = process.is_begun(run)  # before its status: it may end in between
        # A damaged run may not even have a log to write to: the list of runs says why.
        if run.status() in (RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.DAMAGED):
            held.write([other for other in held.names if other != name])
        # By a keeper that was killed since: it stays in the way of others until it is at work.
        elif not begun and not _in_the_way(run, before):
            _begin(run)
            # After the start: if this is killed in between, the run is still in the list.
            held.write([other for other in held.names if other != name])


def _begin(run: RunDir) -> None:
    try:
        require_room_for(run)
        process.start_worker(run)
    except RunError as error:
        if not process.is_alive(run):  # or something else started it meanwhile, which is fine
            EventLog(run.events_path).append(events.Failed("", f"it could not start: {error}"))


def _in_the_way(run: RunDir, before: tuple[str, ...]) -> bool:
    """Whether another run is using this one's device, or comes before it."""
    device = device_of(run)
    ahead = [RunDir(run.path.parent / name) for name in before if name != run.name]
    return at_work_on_its_device(run) is not None or device in map(device_of, ahead)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and Path(value).name == value and not value.startswith(".")


# A place in the queue depends on the devices of all before it, and a page asks for all places every
# two seconds: reading YAML takes ten milliseconds each time.
@lru_cache(maxsize=1024)
def _named_device(recipe: Path, *stamp: int) -> str:
    """The device a recipe names, "auto" for one that cannot be read, as of that stamp."""
    try:
        return str(read_yaml(recipe)["runtime"]["device"])
    except (OSError, ValueError, KeyError, TypeError):
        return "auto"


def _found_device() -> str:
    # Loading torch to find out takes seconds. A build without CUDA says so in its version.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    has_gpu = _GPUS.is_dir() and any(_GPUS.iterdir())
    return "cuda" if has_gpu and not hidden and "+cpu" not in metadata.version("torch") else "cpu"


def _made(runs: Path) -> Path:
    folder = runs / _FOLDER
    with disk_errors(runs):
        folder.mkdir(parents=True, exist_ok=True)
        if (found := foreign_part(runs / _FOLDER)) or folder.is_symlink():
            raise OSError(errno.ELOOP, "a link", str(found or folder))
    return folder


@contextmanager
def _order_held(runs: Path) -> Iterator[_Order]:
    with disk_errors(runs):
        opened = Lock(_made(runs) / "order.lock")
    with opened as lock:
        lock.take(math.inf)
        yield _Order(runs)


def _keeper_at_work(runs: Path) -> bool:
    # When two ask at once, each may take the other for a keeper; the next request then starts it.
    with _keeper_lock(runs) as lock:
        return not lock.take(0)


def _keeper_lock(runs: Path) -> Lock:
    return Lock(_made(runs) / "keeper.lock")
