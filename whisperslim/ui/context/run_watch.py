"""Follows runs through their event files; one object for the app, nothing per browser."""

import re
import threading
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
LOG_TAIL_BYTES = 24_000
_LONGEST_NAME = 255  # bytes: Linux's own limit
# Terminal colors and cursor moves, as progress bars write them.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass
class RunWatch:
    """Views of runs, updated by reading only what is new in their files."""

    runs: Path
    _known: dict[Path, tuple[int, RunView]] = field(default_factory=dict)
    _statuses: dict[Path, tuple[tuple[int, ...], RunStatus, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def listed(self) -> list[tuple[RunDir, RunStatus]]:
        """The newest runs with their status, newest first."""
        return [(run, self.status(run)) for run in list_runs(self.runs)[:MOST_LISTED]]

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
        if run.worker_pid() is not None:
            return RunStatus.RUNNING
        state = (*_stamp(run.events_path), *_stamp(run.path / "recipe.yaml"))
        known = self._statuses.get(run.path)
        if known is None or known[0] != state:
            status = run.status()
            known = (state, status, run.damage() if status == RunStatus.DAMAGED else "")
            # A worker may have taken the run meanwhile: do not keep a status that changes.
            if status != RunStatus.RUNNING:
                self._statuses[run.path] = known
        return known[1]

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
        with self._lock:
            offset, view = self._known.get(run.path, (0, RunView()))
            if _size(run.events_path) < offset:
                offset, view = 0, RunView()
            new, offset = read_events(run.events_path, offset)
            view = fold(view, new)
            self._known[run.path] = (offset, view)
        return view


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
