"""The process that does a run's work: lock, events, signals, and how it ends."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

from whisperslim import events
from whisperslim.core.disk.files import remove_leftovers
from whisperslim.errors import WhisperSlimError, shortage_of
from whisperslim.events import Event
from whisperslim.jobs.run import environment
from whisperslim.jobs.run.disk import disk_errors, room_for_last_words
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.run.room import require_room_for

Sink = Callable[[Event], None]
Work = Callable[[RunDir, Sink], None]


class Stoppable(Protocol):
    """A run, or whatever else can be asked to stop."""

    def request_stop(self) -> None: ...


_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def shipped_work() -> tuple[tuple[str, ...], Work]:
    """The stages' names and the function that does them. Loads torch."""
    # Torch reads it once. Training frees and takes hundreds of megabytes at every step; with pages
    # of 2 MB, where Linux has them, a step in bf16 took a fifth to a quarter less time.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from whisperslim.jobs.stages.order import STAGES, work

    return STAGES, work


def run_worker(
    run: RunDir,
    sinks: Sequence[Sink] = (),
    load: Callable[[], tuple[tuple[str, ...], Work]] = shipped_work,
) -> int:
    """Do the rest of a run in this process. Returns the exit code.

    0: finished, or stopped cleanly by request, SIGTERM or Ctrl-C. 1: failed, as the last event
    explains. Every event goes to the run's log and to `sinks`. Raises `RunError` when the run is
    busy or its disk refuses everything; a bug in the program is recorded and re-raised.
    """
    with disk_errors(run.path), run.lock(), signals_ask_to_stop(run):
        remove_leftovers(run.path)  # of a killed worker: the lock shows that none runs
        reporter = _Reporter(EventLog(run.events_path), sinks)
        with room_for_last_words(run.path) as make_room:
            return _work_or_say_why(run, reporter, load, make_room)


def take_part(run: RunDir, load: Callable[[], tuple[tuple[str, ...], Work]] = shipped_work) -> int:
    """Train along with the process that `run_worker` is called in. Returns the exit code.

    Nothing is reported here. Raises `RankError` when that process, or another, ends.
    """
    with signals_ask_to_stop(run):
        load()[1](run, lambda event: None)
    return 0


def _work_or_say_why(
    run: RunDir,
    reporter: "_Reporter",
    load: Callable[[], tuple[tuple[str, ...], Work]],
    make_room: Callable[[], None],
) -> int:
    try:
        with disk_errors(run.path):
            _do_work(run, reporter, load)
    except WhisperSlimError as error:
        make_room()
        reporter(events.Failed(reporter.stage, str(error)))
        return error.exit_code
    except Exception as error:
        make_room()
        if shortage := shortage_of(error):
            reporter(events.Failed(reporter.stage, str(shortage)))
            return shortage.exit_code
        fault = f"bug in WhisperSlim: {type(error).__name__}: {error}"
        reporter(events.Failed(reporter.stage, f"{fault}; the log has the details"))
        raise
    return 0


class _Reporter:
    """Passes events on, and remembers what is needed at the end."""

    def __init__(self, log: EventLog, sinks: Sequence[Sink]) -> None:
        self._sinks: tuple[Sink, ...] = (log.append, *sinks)
        self.stage = ""
        self.ended = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, events.StageStarted):
            self.stage = event.stage
        self.ended = isinstance(event, (events.Stopped, events.Finished))
        for sink in self._sinks:
            sink(event)


def _do_work(
    run: RunDir, emit: _Reporter, load: Callable[[], tuple[tuple[str, ...], Work]]
) -> None:
    began = time.monotonic()
    recipe = run.recipe()
    names, work = load()
    emit(events.RunStarted(recipe.name, os.getpid(), names))
    require_room_for(run)
    environment.record_attempt(run.environment_path, recipe.data)
    work(run, emit)
    if not emit.ended:
        slim = str(run.slim_path) if run.slim_path.is_dir() else ""
        emit(events.Finished(time.monotonic() - began, slim))


@contextmanager
def signals_ask_to_stop(run: Stoppable) -> Iterator[None]:
    """The first SIGTERM or Ctrl-C asks for a clean stop; a second one acts as usual.

    A block may be inside that of another run, as in a sweep: the first signal asks both.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    asking = _Asking(run)
    asking.stand_in()
    try:
        yield
    finally:
        asking.give_way()


class _Asking:
    """Handler of the stop signals until it is called once."""

    def __init__(self, run: Stoppable) -> None:
        self._run = run
        self._usual: dict[int, Any] = {}

    def stand_in(self) -> None:
        for number in _STOP_SIGNALS:
            self._usual[number] = signal.signal(number, self)

    def give_way(self) -> None:
        # Only if it is still set: an outer one may have been replaced, and must not be restored.
        for number, handler in self._usual.items():
            if signal.getsignal(number) is self:
                signal.signal(number, handler)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._run.request_stop()
        self.give_way()
        outer = self._usual.get(number)
        if isinstance(outer, _Asking):
            outer(number, frame)
