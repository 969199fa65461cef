"""Follows runs through their event files; one object for the app, nothing per browser."""

import re
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from whisperslim.core.disk.untrusted import open_plain
from whisperslim.errors import RunError
from whisperslim.jobs.process import queue
from whisperslim.jobs.process.queue import Turn
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs, looks_like_run
from whisperslim.jobs.run.view import RunView, fold

MOST_LISTED = 60
LISTING_SECONDS = 0.5  # our choice: a page asks every two seconds, and its other events wait
LOG_TAIL_BYTES = 24_000
_LONGEST_NAME = 255  # bytes: Linux's own limit
# Terminal colors and cursor moves, as progress bars write them.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f]")


_Status = tuple[tuple[int, ...], RunStatus, str]  # state of the files; status, damage by them


@dataclass
class RunWatch:
    """Views of runs, updated by reading only what is new in their files.

    A folder that somebody sent may take long to read: nobody waits for the files of a run but who
    asks about that run, and no file of a run is read twice at once.
    """

    runs: Path
    _known: dict[Path, tuple[int, RunView]] = field(default_factory=dict)
    _statuses: dict[Path, _Status] = field(default_factory=dict)
    _reading: dict[Path, Future[RunStatus]] = field(default_factory=dict)
    _reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "run-reader"))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _locks: defaultdict[Path, threading.Lock] = field(
        default_factory=lambda: defaultdict(threading.Lock)
    )

    def listed(self) -> list[tuple[RunDir, RunStatus]]:
        """The newest runs with their status, newest first.

        What has changed is read in the background. A run that is not read within
        `LISTING_SECONDS`, those before it included, is `READING`; a later listing has its status.
        """
        found = list_runs(self.runs)[:MOST_LISTED]
        until = time.monotonic() + LISTING_SECONDS
        asked = [(run, self._status_now(run) or self._read_later(run)) for run in found]
        return [(run, _within(until, each)) for run, each in asked]

    def waiting(self) -> tuple[str, ...]:
        """Names of the runs that are waiting."""
        return queue.waiting(self.runs)

    def place(self, run: RunDir) -> int:
        """A run's place in the queue from 1; 0 when it does not wait."""
        return queue.place(run)

    def turn(self, run: RunDir) -> Turn:
        """A run's place in the queue, and the run it waits for."""
        return queue.turn(run)

    def status(self, run: RunDir) -> RunStatus:
        """As `RunDir.status`; the files of a run that is not running are only read when they
        changed.
        """
        with self._lock_of(run):
            known = self._status_now(run)
            if known is not None:
                return known
            state = _state(run)
            status, why = run.look()
            # A worker may have taken the run meanwhile: do not keep a status that changes.
            if status != RunStatus.RUNNING:
                self._statuses[run.path] = (state, status, why)
            return status

    def _status_now(self, run: RunDir) -> RunStatus | None:
        """Its status where no file has to be read for it."""
        if run.worker_pid() is not None:
            return RunStatus.RUNNING
        known = self._statuses.get(run.path)
        return known[1] if known is not None and known[0] == _state(run) else None

    def _read_later(self, run: RunDir) -> Future[RunStatus]:
        with self._lock:
            for path in [path for path, each in self._reading.items() if each.done()]:
                del self._reading[path]
            if run.path not in self._reading:
                self._reading[run.path] = self._reader.submit(self.status, run)
            return self._reading[run.path]

    def _lock_of(self, run: RunDir) -> threading.Lock:
        with self._lock:
            return self._locks[run.path]

    def damage(self, run: RunDir) -> str:
        """Why a run can only be listed; "" when it is whole or running."""
        damaged = self.status(run) == RunStatus.DAMAGED
        return self._statuses[run.path][2] if damaged else ""

    def open(self, name: object) -> RunDir:
        """The run of that name directly in the runs folder.

        Raises `RunError` for anything else: names come from the browser, so a path is refused.
        """
        if not isinstance(name, str) or not _is_name(name):
            raise RunError(f"{name!r} is not the name of a run; choose one from the list")
        path = self.runs / name
        if path.is_symlink() or not looks_like_run(path):
            raise RunError(f"the run {name!r} no longer exists; choose one from the list")
        run = RunDir(path)
        run.check_links()
        return run

    def view(self, run: RunDir) -> RunView:
        """The current state of a run by its events."""
        with self._lock_of(run):
            offset, view = self._known.get(run.path, (0, RunView()))
            if _size(run.events_path) < offset:
                offset, view = 0, RunView()
            new, offset = read_events(run.events_path, offset)
            view = fold(view, new)
            self._known[run.path] = (offset, view)
        return view


def _within(until: float, asked: RunStatus | Future[RunStatus]) -> RunStatus:
    """A status, or what it is by `until`, in seconds of `time.monotonic`."""
    if isinstance(asked, RunStatus):
        return asked
    with suppress(TimeoutError):
        return asked.result(max(0.0, until - time.monotonic()))
    return RunStatus.READING


def _state(run: RunDir) -> tuple[int, ...]:
    return (*_stamp(run.events_path), *_stamp(run.path / "recipe.yaml"))


def _is_name(name: str) -> bool:
    if not name or name in (".", "..") or "\0" in name or Path(name).name != name:
        return False
    return len(name.encode("utf-8", "replace")) <= _LONGEST_NAME


def log_tail(run: RunDir) -> str:
    """The end of a run's log, without the terminal's control characters."""
    try:
        with open_plain(run.log_path) as file:
            file.seek(max(0, _size(run.log_path) - LOG_TAIL_BYTES))
            raw = file.read(LOG_TAIL_BYTES).decode("utf-8", errors="replace")
    except (OSError, ValueError):  # there is none, or it is a link
        return ""
    return plain(raw)


def plain(raw: str) -> str:
    """A terminal's output as lines of text."""
    # A progress bar rewrites its line; only the last state is shown.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in raw.split("\n")]
    return _CONTROL.sub("", "\n".join(lines)).strip()


def _stamp(path: Path) -> tuple[int, int]:
    if not path.is_file():
        return (0, 0)
    stat = path.stat()
    return (stat.st_mtime_ns, stat.st_size)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
