"""Several runs at work at once, shown in a terminal: a bar for each, plain lines elsewhere."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from whisperslim import events
from whisperslim.events import Event
from whisperslim.jobs.run.console import line_for
from whisperslim.jobs.run.folder import RunDir
from whisperslim.text.printable import printable

_ENDS = (events.Stopped, events.Failed, events.Finished)


class ManyRuns:
    """A `Follow`. On a terminal it needs `shown()` around it; in a file it prints lines.

    `names` has what runs are called; others go by their own names.
    """

    def __init__(self, console: Console, names: Mapping[RunDir, str] | None = None) -> None:
        self._console = console
        self._names = names or {}
        self._tasks: dict[RunDir, TaskID] = {}
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    @contextmanager
    def shown(self) -> Iterator["ManyRuns"]:
        """The bars are on the screen inside the block."""
        with self._bar:
            yield self

    def __call__(self, run: RunDir, event: Event) -> None:
        """Take an event of a run in and show it."""
        name = self._name(run)
        if isinstance(event, events.RunStarted):
            there = run.worker_machine()
            self._say(f"{name}: at work on {there}" if there else f"{name}: at work")
        # In a terminal the bars show the stages; a log keeps them.
        elif isinstance(event, _ENDS) or (
            isinstance(event, events.StageStarted) and not self._console.is_terminal
        ):
            self._say(f"{name}: {line_for(event)}")
        self._move_bar(run, event)

    def _name(self, run: RunDir) -> str:
        return self._names.get(run, run.name)

    def _say(self, line: str) -> None:
        self._console.print(escape(printable(line)), highlight=False, soft_wrap=True)

    def _move_bar(self, run: RunDir, event: Event) -> None:
        if isinstance(event, (events.StageStarted, *_ENDS)) and run in self._tasks:
            self._bar.remove_task(self._tasks.pop(run))
        if isinstance(event, events.StageStarted):
            called = escape(printable(f"{self._name(run)} {event.stage}"))
            self._tasks[run] = self._bar.add_task(called, total=None, count="")
        elif isinstance(event, events.StepDone):
            self._advance(run, event.step, event.total)
        elif isinstance(event, events.Progress):
            self._advance(run, event.done, event.total)

    def _advance(self, run: RunDir, done: int, total: int) -> None:
        if run in self._tasks:
            self._bar.update(self._tasks[run], completed=done, total=total, count=f"{done}/{total}")
