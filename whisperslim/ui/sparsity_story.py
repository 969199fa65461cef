"""The lower part of the Sparsity tab: the replay of the run, and where the bytes went."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.rundir import RunDir
from whisperslim.jobs.sparsity_history import sparsity_frames
from whisperslim.ui.byte_figure import byte_figure, bytes_words
from whisperslim.ui.context import AppContext, for_people
from whisperslim.ui.layers import PrunedRun, read_pruned_run
from whisperslim.ui.lazy import load_libraries
from whisperslim.ui.markup import note, text
from whisperslim.ui.model_cache import ModelCache
from whisperslim.ui.replay_html import SCRIPT, replay_html


@dataclass(frozen=True)
class SparsityStory:
    """The components that `connect` fills."""

    replay: gr.HTML
    title: gr.HTML
    said: gr.HTML
    waterfall: gr.Plot

    def outputs(self) -> list[Any]:
        """What one run fills."""
        return [self.replay, self.title, self.said, self.waterfall]


def lay_out() -> SparsityStory:
    """Make the components in the Blocks context now open."""
    replay = gr.HTML("", js_on_load=SCRIPT.read_text("utf-8"), elem_id="replay")
    title = gr.HTML('<h3 class="ws-section">Where the bytes went</h3>', visible=False)
    said = gr.HTML("", elem_id="bytes-said")
    waterfall = gr.Plot(show_label=False, min_width=320, elem_id="bytes-plot", visible=False)
    return SparsityStory(replay, title, said, waterfall)


def byte_steps(path: str) -> Any:
    """As `jobs.byte_steps.run_byte_steps`, which brings torch."""
    load_libraries()
    from whisperslim.jobs.byte_steps import run_byte_steps

    return run_byte_steps(RunDir(Path(path)))


def connect(
    story: SparsityStory,
    context: AppContext,
    choice: gr.Dropdown,
    before: Any,
    measure: Callable[[str], Any] = byte_steps,
) -> None:
    """Wire it to the choice of a run, after the event `before`: the pictures above come first.

    `measure` reads the model's files, once a model.
    """
    measured = ModelCache(measure, capacity=16)

    @for_people
    def tell(name: str | None) -> list[Any]:
        if not name:
            return ["", *_no_bytes("")]
        run = context.watch.open(name)
        pruned = read_pruned_run(run, {})
        return [replay_html(sparsity_frames(run, kept_shares(pruned))), *_bytes(run, measured)]

    before.then(
        tell,
        choice,
        story.outputs(),
        concurrency_id="sparsity",
        api_visibility="private",
        show_progress="hidden",
    )


def kept_shares(run: PrunedRun) -> dict[str, float]:
    """Group key -> share of its units that the run's plan keeps."""
    return {group.key: len(run.plan.keep[group.key]) / group.count for group in run.groups}


def _bytes(run: RunDir, measured: ModelCache) -> list[Any]:
    weights = run.slim_path / "model.safetensors"
    if not weights.is_file():
        return _no_bytes("")
    try:
        steps = measured.get(str(run.path), str(weights.stat().st_mtime_ns))
    except WhisperSlimError as error:  # the pictures above are right all the same
        return _no_bytes(note(f"The model's files cannot be read: {error}", "bad"))
    said = f'<p class="ws-lead">{text(bytes_words(steps))}</p>'
    shown = gr.update(value=byte_figure(steps), visible=True)
    return [gr.update(visible=True), said, shown]


def _no_bytes(said: str) -> list[Any]:
    return [gr.update(visible=False), said, gr.update(visible=False)]
