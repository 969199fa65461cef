"""A run shown in a terminal: a progress bar where there is a screen, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from whisperslim import events
from whisperslim.events import Event
from whisperslim.jobs.run.view import RunView, fold
from whisperslim.text.printable import printable


class ConsoleView:
    """A sink for events. On a terminal it needs `shown()` around it; in a file it prints lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._view = RunView()
        self._task: TaskID | None = None
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    @contextmanager
    def shown(self) -> Iterator["ConsoleView"]:
        """The bar is on the screen inside the block."""
        with self._bar:
            yield self

    def __call__(self, event: Event) -> None:
        """Take an event in and show it."""
        self._view = fold(self._view, [event])
        line = line_for(event)
        # In a terminal, where the bar shows steps, lines for them would only scroll; a log keeps
        # them.
        if line and not (self._console.is_terminal and isinstance(event, events.StepDone)):
            self._console.print(escape(printable(line)), highlight=False, soft_wrap=True)
        self._move_bar(event)

    def _move_bar(self, event: Event) -> None:
        if isinstance(event, events.StageStarted):
            self._begin(event.stage)
        elif isinstance(event, events.StepDone):
            self._advance(event.step, event.total, "steps")
        elif isinstance(event, events.Progress):
            self._advance(event.done, event.total, event.what)

    def _begin(self, stage: str) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(escape(printable(stage)), total=None, count="", left="")

    def _advance(self, done: int, total: int, what: str) -> None:
        if self._task is None:
            return
        eta = self._view.eta_seconds
        left = f"about {duration(eta)} left" if eta is not None else ""
        count = f"{done}/{total} {escape(printable(what))}"
        self._bar.update(self._task, completed=done, total=total, count=count, left=left)


def line_for(event: Event) -> str:
    """One line of plain text about an event, or "" for those that are shown as progress."""
    match event:
        case events.RunStarted():
            return f"{event.name}: {', '.join(event.stages)}"
        case events.StageStarted():
            return f"{event.stage} ..."
        case events.StageFinished():
            done = "done before" if event.skipped else f"done in {duration(event.seconds)}"
            return f"{event.stage}: {done}"
        case events.StepDone():
            terms = "  ".join(f"{name} {value:.4g}" for name, value in event.losses.items())
            return f"{event.stage} {event.step}/{event.total}  {terms}"
        case events.Evaluated():
            return f"{event.label} on {event.data}: {score_text(event)}"
        case events.Planned():
            return (
                f"plan: {event.removed:.1%} of the prunable weights removed (target "
                f"{event.target_removed:.1%} of {event.target_of}), {event.zeroed:.1%} of them "
                f"zeroed (target {event.target_zeroed:.1%})"
            )
        case _:
            return _line_for_words(event)


def _line_for_words(event: Event) -> str:
    match event:
        case events.Notice():
            return f"note: {event.message}"
        case events.Stopped():
            return f"stopped in {event.stage} at step {event.step}"
        case events.Failed():
            return f"failed in {event.stage or 'the beginning'}: {event.error}"
        case events.Finished():
            return f"finished in {duration(event.seconds)}" + (f": {event.slim}" * bool(event.slim))
        case _:
            return ""


def score_text(score: events.Evaluated) -> str:
    """A score with what it needs to be understood: n, normalizer and window."""
    figures = [
        f"{name} {value:.2%}"
        for name, value in (("WER", score.wer), ("CER", score.cer))
        if value is not None
    ]
    if score.loss is not None:
        figures.append(f"loss {score.loss:.4f}")
    how = ", ".join(part for part in (score.normalizer, score.window) if part)
    return f"{', '.join(figures)} (n={score.n}{', ' + how if how else ''})"


def duration(seconds: float) -> str:
    """Seconds in readable form: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
    )
