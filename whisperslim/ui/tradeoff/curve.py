"""The lower half of the Trade-off tab: curves measured by sweeps, and how to start one."""

from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.sizes.curve import Sweep
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.parts.markup import note
from whisperslim.ui.parts.updates import Updates
from whisperslim.ui.tradeoff.actions import sizes, sweep_state, sweeps, swept_names
from whisperslim.ui.tradeoff.charts import AXES, tradeoff_figure
from whisperslim.ui.tradeoff.html import NO_CURVE, NONE_CHOSEN, points_tables, sweep_html


@dataclass(frozen=True)
class Drawn:
    """What a page shows: the runs with a curve when last looked, a fingerprint of the picture."""

    known: tuple[str, ...] = ()
    picture: str = ""


NOTHING_DRAWN = Drawn()


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

    def seen(self) -> list[Block]:
        """What `progress` and `picture` fill."""
        return [self.progress, self.stop, self.shown, self.none_yet, self.plot, self.points]

    def begun(self) -> list[Block]:
        """What `begin` fills."""
        return [self.measuring, self.targets, self.recover, self.problem]


@dataclass(frozen=True)
class Wanted:
    """What the picture shows, as sent by the page; named as the parts of `CurvePart`."""

    shown: list[str] | None
    axis: str


def lay_out_curve() -> CurvePart:
    """Make the components in the open Blocks context."""
    gr.HTML('<h3 class="ws-section">Trade-off curve</h3>')
    with gr.Column(visible=False) as measuring:
        with gr.Row(equal_height=True):
            targets = gr.Textbox(
                label="Targets",
                info="Values of Removed above; each is cut, recovered and measured.",
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


def begin(part: CurvePart, context: AppContext, name: str | None) -> Updates:
    """Set the sweep's controls for a run."""
    try:
        at = sizes(context, name) if name else None
    except WhisperSlimError:  # reported beside the run's name, by the upper half
        at = None
    if at is None:
        return {part.measuring: gr.update(visible=False), part.problem: ""}
    return {
        part.measuring: gr.update(visible=True),
        part.targets: at.targets,
        part.recover: at.recover_steps,
        part.problem: "",
    }


def progress(part: CurvePart, context: AppContext, name: str | None) -> tuple[Updates, bool]:
    """The progress and the Stop button; and whether a sweep is running."""
    said, running = "", False
    if name:
        try:
            found, command = sweep_state(context, name)
            said, running = sweep_html(found, command), command.running
        except WhisperSlimError as error:
            said = note(str(error), "bad")
    return {part.progress: said, part.stop: gr.update(visible=running)}, running


def picture(
    part: CurvePart,
    context: AppContext,
    name: str | None,
    shown: Sequence[str],
    against: str,
    drawn: Drawn,
) -> tuple[Updates, Drawn]:
    """The curve, unless it would look the same, and what is then drawn.

    A run's first curve joins the picture by itself.
    """
    known = tuple(swept_names(context))
    wanted = [run for run in shown if run in known]
    if name in known and name not in drawn.known and name not in wanted:
        wanted.append(str(name))
    try:
        found, wrong = list(sweeps(context, wanted).values()), ""
    except WhisperSlimError as error:
        found, wrong = [], str(error)
    state = [(sweep.run, sweep.recover_steps, sweep.points) for sweep in found]
    now = Drawn(known, repr((wanted, against, wrong, state)))
    return ({} if now == drawn else _drawn(part, known, wanted, found, against, wrong)), now


def _drawn(
    part: CurvePart,
    known: Sequence[str],
    wanted: list[str],
    found: list[Sweep],
    against: str,
    wrong: str,
) -> Updates:
    chooser = gr.update(choices=list(known), value=wanted, visible=bool(known))
    if not found:
        words = note(wrong, "bad") if wrong else NONE_CHOSEN if known else NO_CURVE
        return {
            part.shown: chooser,
            part.none_yet: gr.update(value=words, visible=True),
            part.plot: gr.update(visible=False),
            part.points: "",
        }
    return {
        part.shown: chooser,
        part.none_yet: gr.update(visible=False),
        part.plot: gr.update(value=tradeoff_figure(found, against), visible=True),
        part.points: points_tables(found),
    }
