"""The upper half of the Trade-off tab: a run at another size, its expected error, and Apply."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.recipe.target_words import WEIGHTS
from whisperslim.ui.context.context import AppContext, skips
from whisperslim.ui.parts.markup import note
from whisperslim.ui.parts.quantities import percent
from whisperslim.ui.sparsity.charts import legend, weights_figure
from whisperslim.ui.tradeoff import actions as act
from whisperslim.ui.tradeoff.html import NO_RUN, size_tiles

STACKS = ("encoder", "decoder")
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

    def size(self) -> list[Any]:
        """What names one size of one run."""
        return [self.choice, self.removed, self.zeroed]

    def drawn(self) -> list[Any]:
        """What `draw` fills."""
        return [self.tiles, self.pictures, *self.layers, self.problem]

    def begun(self) -> list[Any]:
        """What `begin` fills."""
        form = [self.removed, self.zeroed, self.recover]
        return [self.none_yet, self.controls, self.applied, *form, *self.drawn()]


def lay_out_part() -> SizePart:
    """Make the components in the Blocks context now open."""
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
            removed = _share("Removed", removed_help(WEIGHTS))
            zeroed = _share("Zeroed", "Share of the prunable weights to be zero where it stands.")
            tiles = gr.HTML("", elem_id="tradeoff-tiles")
        with gr.Column(min_width=320):
            predict = gr.Button("Predict WER", elem_id="tradeoff-predict")
            problem = gr.HTML("", elem_id="tradeoff-problem")
            prediction = gr.HTML("", elem_id="tradeoff-prediction")
            recover = gr.Number(
                0,
                label="Recovery after the cut (steps)",
                info="Apply makes a new run: cut to this size, trained this long, scored.",
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


def begin(context: AppContext, part: SizePart, name: str | None) -> list[Any]:
    """Updates that set the controls to a run's own size and draw it."""
    hidden = gr.update(visible=False)
    if not name:
        none_yet = gr.update(value=NO_RUN, visible=True)
        return [none_yet, hidden, "", *skips(4), hidden, *skips(len(part.layers)), ""]
    try:
        at = act.sizes(context, name)
    except WhisperSlimError as error:
        told = gr.update(value=note(str(error), "bad"), visible=True)
        return [told, hidden, "", *skips(4), hidden, *skips(len(part.layers)), ""]
    return [
        hidden,
        gr.update(visible=True),
        "",
        gr.update(
            minimum=at.low, maximum=at.high, value=at.removed, info=removed_help(at.counted_in)
        ),
        at.zeroed,
        at.recover_steps,
        *draw(context, part, name, at.removed, at.zeroed),
    ]


def draw(
    context: AppContext, part: SizePart, name: str | None, removed: object, zeroed: object
) -> list[Any]:
    """Updates of the tiles and the layers for a size; words in their place when out of reach."""
    try:
        plan, rows = act.planned(context, name, removed, zeroed)
    except WhisperSlimError as error:
        hidden = gr.update(visible=False)
        return [note(str(error), "bad"), hidden, *skips(len(part.layers)), ""]
    figures = [
        weights_figure([row for row in rows if row.stack == stack], moved=True) for stack in STACKS
    ]
    plots = [gr.update(value=figure, visible=bool(figure.data)) for figure in figures]
    tiles = size_tiles(plan) + zeros_note(plan.zeroed_before, sum(row.weights for row in rows))
    return [tiles, gr.update(visible=True), *plots, ""]


def zeros_note(zeros: int, prunable: int) -> str:
    """What training has zeroed of what stays, in words; nothing when that is next to nothing."""
    if zeros < _FEWEST_ZEROS * prunable:
        return ""
    return (
        f'<p class="ws-small">Training has zeroed {percent(zeros / prunable)} of the prunable '
        "weights already, in what stays. They count as zeroed, and stay so when less is asked for."
        "</p>"
    )


def removed_help(counted: str) -> str:
    """What the slider means for a run that counts its target in `counted`."""
    return f"Share of {counted} to cut out."


def _share(name: str, help: str) -> gr.Slider:
    return gr.Slider(
        0.0,
        0.95,
        value=0.0,
        step=0.01,
        label=name,
        info=help,
        buttons=[],
        elem_id=f"tradeoff-{name.lower()}",
    )
