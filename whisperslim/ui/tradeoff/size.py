"""The upper half of the Trade-off tab: a run at another size, its expected error, and Apply."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from whisperslim.core.plan.arithmetic import MOST_PRUNED
from whisperslim.core.plan.counting import OF_WEIGHTS
from whisperslim.errors import WhisperSlimError
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.parts.charts import STACKS
from whisperslim.ui.parts.markup import note
from whisperslim.ui.parts.quantities import percent
from whisperslim.ui.parts.updates import Updates
from whisperslim.ui.sparsity.charts import legend, weights_figure
from whisperslim.ui.tradeoff.actions import planned, sizes
from whisperslim.ui.tradeoff.html import NO_RUN, size_tiles

_FEWEST_ZEROS = 5e-4  # of the prunable weights: less is "0.0 %"


@dataclass(frozen=True)
class SizePart:
    """The components of this half."""

    choice: gr.Dropdown
    none_yet: gr.HTML
    controls: gr.Row
    removed: gr.Slider
    zeroed: gr.Slider
    tiles: gr.HTML
    predict: gr.Button
    problem: gr.HTML
    prediction: gr.HTML
    recover: gr.Number
    apply: gr.Button
    applied: gr.HTML
    pictures: gr.Column
    layers: tuple[gr.Plot, ...]

    def drawn(self) -> list[Block]:
        """What `draw` fills."""
        return [self.tiles, self.pictures, *self.layers, self.problem]

    def begun(self) -> list[Block]:
        """What `begin` fills."""
        form = [self.removed, self.zeroed, self.recover]
        return [self.none_yet, self.controls, self.applied, *form, *self.drawn()]


@dataclass(frozen=True)
class Size:
    """A size of a run as sent by the page, unchecked; named as the parts of `SizePart`.

    `choice` is the name of the run, the others are shares from 0 to 1.
    """

    choice: str | None
    removed: object
    zeroed: object


def lay_out_size() -> SizePart:
    """Make the components in the open Blocks context."""
    choice = gr.Dropdown(
        [],
        label="Run",
        value=None,
        elem_id="tradeoff-run",
        info="Runs of a method that prunes, with a score map.",
    )
    none_yet = gr.HTML(NO_RUN, elem_id="tradeoff-none")
    with gr.Row(visible=False, equal_height=False) as controls:
        with gr.Column(min_width=320):
            removed = _share("Removed", removed_help(OF_WEIGHTS))
            zeroed = _share("Zeroed", "Share of the prunable weights to set to zero in place.")
            tiles = gr.HTML("", elem_id="tradeoff-tiles")
        with gr.Column(min_width=320):
            predict = gr.Button("Predict WER", elem_id="tradeoff-predict")
            problem = gr.HTML("", elem_id="tradeoff-problem")
            prediction = gr.HTML("", elem_id="tradeoff-prediction")
            recover = gr.Number(
                0,
                label="Recovery after the cut (steps)",
                info="Apply starts a new run: cut to this size, train this long, score.",
                elem_id="tradeoff-recover",
            )
            apply = gr.Button("Apply", variant="primary", elem_id="tradeoff-apply")
            applied = gr.HTML("", elem_id="tradeoff-applied")
    with gr.Column(visible=False) as pictures:
        gr.HTML(legend(moved=True))
        with gr.Row():
            layers = tuple(
                gr.Plot(label=f"Weights of the {stack}", min_width=340, elem_id=f"resized-{stack}")
                for stack in STACKS
            )
    form = (choice, none_yet, controls, removed, zeroed, tiles, predict, problem, prediction)
    return SizePart(*form, recover, apply, applied, pictures, layers)


def begin(part: SizePart, context: AppContext, name: str | None) -> Updates:
    """Set the controls to a run's own size and draw it."""
    if not name:
        return _nothing(part, NO_RUN)
    try:
        at = sizes(context, name)
    except WhisperSlimError as error:
        return _nothing(part, note(str(error), "bad"))
    help = removed_help(at.counted_in)
    removed = gr.update(minimum=at.low, maximum=at.high, value=at.removed, info=help)
    return {
        part.none_yet: gr.update(visible=False),
        part.controls: gr.update(visible=True),
        part.applied: "",
        part.removed: removed,
        part.zeroed: at.zeroed,
        part.recover: at.recover_steps,
        **draw(part, context, Size(name, at.removed, at.zeroed)),
    }


def _nothing(part: SizePart, words: str) -> Updates:
    hidden = gr.update(visible=False)
    return {
        part.none_yet: gr.update(value=words, visible=True),
        part.controls: hidden,
        part.pictures: hidden,
        part.applied: "",
        part.problem: "",
    }


def draw(part: SizePart, context: AppContext, size: Size) -> Updates:
    """The tiles and the layers for a size; a message instead when it is out of range."""
    try:
        plan, rows = planned(context, size.choice, size.removed, size.zeroed)
    except WhisperSlimError as error:
        hidden = gr.update(visible=False)
        return {part.tiles: note(str(error), "bad"), part.pictures: hidden, part.problem: ""}
    tiles = size_tiles(plan) + zeros_note(plan.zeroed_before, sum(row.weights for row in rows))
    updates: Updates = {part.tiles: tiles, part.problem: ""}
    updates[part.pictures] = gr.update(visible=True)
    for stack, plot in zip(STACKS, part.layers, strict=True):
        figure = weights_figure([row for row in rows if row.stack == stack], moved=True)
        updates[plot] = gr.update(value=figure, visible=bool(figure.data))
    return updates


def zeros_note(zeros: int, prunable: int) -> str:
    """A note on what training has zeroed of what stays; empty when that is negligible."""
    if zeros < _FEWEST_ZEROS * prunable:
        return ""
    return (
        f'<p class="ws-small">Training has zeroed {percent(zeros / prunable)} of the prunable '
        "weights that stay. They count as zeroed, and stay zero at smaller values."
        "</p>"
    )


def removed_help(counted: str) -> str:
    """Help of the slider for a run that counts its target in `counted`."""
    return f"Share of {counted} to cut out."


def _share(name: str, help: str) -> gr.Slider:
    return gr.Slider(
        0.0,
        MOST_PRUNED,
        value=0.0,
        step=0.01,
        label=name,
        info=help,
        buttons=[],
        elem_id=f"tradeoff-{name.lower()}",
    )
