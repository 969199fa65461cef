"""What every tab is given: where the runs are, and the few things the app can do with them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import gradio as gr

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.process import background, queue
from whisperslim.jobs.process.queue import Stopping
from whisperslim.jobs.recipe.recipe import Recipe
from whisperslim.jobs.recipe.trial import trial_recipe
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.ui.context.cache import ModelCache
from whisperslim.ui.context.embedding import Embedding, embedding
from whisperslim.ui.context.models import Listening, ModelSize, Resizing, measure, zeroed_shares
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.guard.folders import Folders
from whisperslim.ui.parts.markup import text

P = ParamSpec("P")
R = TypeVar("R")

_ERROR_SECONDS = 20.0  # our choice: long enough to read our longest sentence
DENSE_MODELS = ("openai/whisper-base",)
TONES = {
    RunStatus.RUNNING: "busy",
    RunStatus.FINISHED: "good",
    RunStatus.STOPPED: "wait",
    RunStatus.QUEUED: "wait",
    RunStatus.FAILED: "bad",
    RunStatus.DIED: "bad",
    RunStatus.DAMAGED: "bad",
    RunStatus.READING: "plain",
}


@dataclass(frozen=True)
class AppContext:
    """Made once in `build`. The callables are the app's only ways to act; tests pass fakes.

    `measures` hold sizes of models by folder, `embeddings` their tokens by name, `zeroed` the
    zeros of slim folders; `listening` runs models on recordings; `command` starts a command
    about a run, or a fetch; `folders` are those that paths from the page may be in; `trial` is
    the recipe of Try it.
    """

    watch: RunWatch
    start: Callable[[RunDir], int] = queue.start_or_wait
    stop: Callable[[RunDir], Stopping] = queue.stop_or_leave
    measures: ModelCache[str, ModelSize] = field(
        default_factory=lambda: ModelCache(measure, capacity=32)
    )
    zeroed: ModelCache[str, Mapping[str, float]] = field(
        default_factory=lambda: ModelCache(lambda path: zeroed_shares(Path(path)), capacity=32)
    )
    listening: Listening = field(default_factory=Listening)
    resizing: Resizing = field(default_factory=Resizing)
    command: Callable[[background.Owner, str, Sequence[str]], int] = background.start
    embeddings: ModelCache[str, Embedding] = field(
        default_factory=lambda: ModelCache(embedding, capacity=8)
    )
    folders: Folders = field(default_factory=Folders)
    trial: Callable[[], Recipe] = trial_recipe

    @property
    def runs(self) -> Path:
        """The folder of all runs."""
        return self.watch.runs

    def zeroed_in(self, run: RunDir) -> Mapping[str, float]:
        """Group key -> share of the run's slim model that is zero; empty while there is none."""
        if not (run.stage_done("recover") and run.slim_path.is_dir()):
            return {}
        return self.zeroed.get(str(run.slim_path))

    def admit(self, typed: object, what: str = "folder") -> Path:
        """A path from the page, resolved; it may be in the runs folder as well.

        Raises `UsageError` for any other. Every handler that takes a path calls this first.
        """
        return self.folders.around(self.runs).admit(typed, what)


def for_people(handler: Callable[P, R]) -> Callable[P, R]:
    """A handler whose `WhisperSlimError` becomes the page's error box, without a traceback."""

    @wraps(handler)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return handler(*args, **kwargs)
        except WhisperSlimError as error:
            raise shown_error(str(error)) from error

    return guarded


def shown_error(message: str) -> gr.Error:
    """An error box. The box renders HTML, so the message is escaped."""
    lines = text(message).replace("\n", "<br>")
    return gr.Error(
        lines, duration=_ERROR_SECONDS, print_exception=False, title="That did not work"
    )


def warn(message: str) -> None:
    """A warning box."""
    gr.Warning(text(message), title="Please note")


def warn_when_busy(context: AppContext) -> None:
    """Warn that another run is running, before one more starts."""
    busy = [run for run, status in context.watch.listed() if status == RunStatus.RUNNING]
    if busy:
        warn(f"{busy[0].name} is running. A run for the same device waits until it has ended.")
