"""The lower half of the Trade-off tab: curves measured by sweeps, and how to start one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.sizes.curve import Sweep
from whisperslim.ui.context.context import AppContext, skips
from whisperslim.ui.parts.markup import note
from whisperslim.ui.tradeoff import actions as act
from whisperslim.ui.tradeoff.charts import AXES, tradeoff_figure
from whisperslim.ui.tradeoff.html import NO_CURVE, NONE_CHOSEN, points_tables, sweep_html

Drawn = tuple[tuple[str, ...], str]
"""Runs with a curve when last looked, and a fingerprint of the picture."""

NOTHING_DRAWN: Drawn = ((), "")


@dataclass(frozen=True)
class CurvePart:
    """The components of this half."""

    measuring: gr.Column
    targets: gr.Textbox
    recover: gr.Number
    sweep: gr.Button
    stop: gr.Button
    problem: gr.HTML
    progress: gr.HTML
    shown: gr.Dropdown
    axis: gr.Radio
    none_yet: gr.HTML
    plot: gr.Plot
    points: gr.HTML

    def picture(self) -> list[Any]:
        """What `picture` fills."""
        return [self.shown, self.none_yet, self.plot, self.points]

    def begun(self) -> list[Any]:
        """What `begin` fills."""
        return [self.measuring, self.targets, self.recover, self.problem]


def lay_out_part() -> CurvePart:
    """Make the components in the Blocks context now open."""
    gr.HTML('<h3 class="ws-section">Trade-off curve</h3>')
    with gr.Column(visible=False) as measuring:
        with gr.Row(equal_height=True):
            targets = gr.Textbox(
                label="Targets",
                info="Values of Removed above, each to be cut, recovered and measured.",
                elem_id="sweep-targets",
                min_width=280,
            )
            recover = gr.Number(
                0,
                label="Recovery after each cut (steps)",
                info="0 cuts only.",
                elem_id="sweep-recover",
                min_width=200,
            )
        with gr.Row(elem_classes=["ws-acts"]):
            sweep = gr.Button("Sweep", variant="primary", elem_id="sweep")
            stop = gr.Button("Stop", variant="stop", visible=False, elem_id="sweep-stop")
        problem = gr.HTML("", elem_id="sweep-problem")
        progress = gr.HTML("", elem_id="sweep-progress")
    with gr.Row(equal_height=True):
        shown = gr.Dropdown(
            [],
            label="Runs in the picture",
            multiselect=True,
            visible=False,
            elem_id="curve-runs",
            min_width=280,
        )
        axis = gr.Radio(
            [(axis.title, name) for name, axis in AXES.items()],
            value="parameters",
            label="Against",
            visible=True,
            elem_id="curve-axis",
            min_width=280,
        )
    none_yet = gr.HTML(NO_CURVE, elem_id="curve-none")
    plot = gr.Plot(show_label=False, visible=False, elem_id="curve")
    points = gr.HTML("", elem_id="curve-points")
    form = (measuring, targets, recover, sweep, stop, problem, progress)
    return CurvePart(*form, shown, axis, none_yet, plot, points)


def begin(context: AppContext, name: str | None) -> list[Any]:
    """Updates that set the sweep's controls for a run."""
    try:
        at = act.sizes(context, name) if name else None
    except WhisperSlimError:  # reported beside the run's name, by the upper half
        at = None
    if at is None:
        return [gr.update(visible=False), *skips(2), ""]
    return [gr.update(visible=True), at.targets, at.recover_steps, ""]


def progress(context: AppContext, name: str | None) -> tuple[list[Any], bool]:
    """Updates of the progress and the Stop button; and whether a sweep is at work."""
    if not name:
        return ["", gr.update(visible=False)], False
    try:
        found, command = act.sweep_state(context, name)
    except WhisperSlimError as error:
        return [note(str(error), "bad"), gr.update(visible=False)], False
    return [sweep_html(found, command), gr.update(visible=command.running)], command.running


def picture(
    context: AppContext, name: str | None, shown: Sequence[str] | None, against: str, drawn: Drawn
) -> tuple[list[Any], Drawn]:
    """Updates of the curve, skipped when it would look the same, and what is drawn then.

    A run's first curve joins the picture by itself.
    """
    known = tuple(act.swept_names(context))
    wanted = [run for run in shown or [] if run in known]
    if name in known and name not in drawn[0] and name not in wanted:
        wanted.append(str(name))
    try:
        found = list(act.sweeps(context, wanted).values())
    except WhisperSlimError as error:
        found, wrong = [], str(error)
    else:
        wrong = ""
    state = [(sweep.run, sweep.recover_steps, sweep.points) for sweep in found]
    now = (known, repr((wanted, against, wrong, state)))
    same = now == (tuple(drawn[0]), drawn[1])
    return (skips(4) if same else _drawn(known, wanted, found, against, wrong)), now


def _drawn(
    known: Sequence[str], wanted: list[str], found: list[Sweep], against: str, wrong: str
) -> list[Any]:
    chooser = gr.update(choices=list(known), value=wanted, visible=bool(known))
    if not found:
        words = note(wrong, "bad") if wrong else NONE_CHOSEN if known else NO_CURVE
        return [chooser, gr.update(value=words, visible=True), gr.update(visible=False), ""]
    figure = tradeoff_figure(found, against)
    plot = gr.update(value=figure, visible=True)
    return [chooser, gr.update(visible=False), plot, points_tables(found)]
