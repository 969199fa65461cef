"""The Runs tab: every run on disk, and one of them live. It only reads files."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from whisperslim.errors import RunError
from whisperslim.jobs.process.queue import Turn
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.run.view import RunView
from whisperslim.ui.context import saved_file
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import log_tail
from whisperslim.ui.context.saved_file import SaveButton
from whisperslim.ui.parts.charts import STACKS, loss_figure, wer_figure
from whisperslim.ui.parts.markup import empty
from whisperslim.ui.parts.updates import Updates
from whisperslim.ui.runs.actions import (
    RunActions,
    exports_html,
    exports_mark,
    lay_out_buttons,
    lay_out_export,
    shown,
)
from whisperslim.ui.runs.card import (
    log_html,
    no_run,
    notices_html,
    resume_label,
    run_card,
    run_label,
    scores_table,
    small_card,
)
from whisperslim.ui.runs.gauges import (
    current_gauges,
    curves_figure,
    heat_figure,
    moving,
    still_html,
)
from whisperslim.ui.runs.headline import exports_of, headline_html

_CAN_CONTINUE = (RunStatus.STOPPED, RunStatus.FAILED, RunStatus.DIED, RunStatus.QUEUED)


@dataclass(frozen=True)
class Drawn:
    """What a page shows: fingerprints of its parts, empty where nothing is drawn yet."""

    listed: str = ""
    run: str = ""
    curves: str = ""
    log: str = ""
    gauges: str = ""
    exports: str = ""


NOTHING_DRAWN = Drawn()
_NO_RUN = "none"
_NONE_YET = empty("No runs yet", "Start one on the Compress tab.")
_READING = empty("Reading the runs…", "The list appears in a moment.")


@dataclass(frozen=True)
class RunsTab:
    """The components."""

    choice: gr.Radio
    none_yet: gr.HTML
    card: gr.HTML
    stop: gr.Button
    proceed: gr.Button
    losses: gr.Plot
    errors: gr.Plot
    curves: gr.Row
    scores: gr.HTML
    notices: gr.HTML
    log: gr.HTML
    gauged: gr.Column
    still: gr.HTML
    moving: tuple[gr.Plot, ...]
    report: SaveButton
    actions: RunActions

    def outputs(self) -> list[Block]:
        """What `look_at_runs` fills."""
        return [
            self.choice,
            self.none_yet,
            self.card,
            self.stop,
            self.proceed,
            self.curves,
            self.losses,
            self.errors,
            self.scores,
            self.notices,
            self.log,
            self.gauged,
            self.still,
            *self.moving,
            self.report.button,
            self.actions.compare,
            self.actions.delete,
            self.actions.sure,
            self.actions.exporting,
            self.actions.exported,
        ]


def lay_out_runs() -> RunsTab:
    """Make the tab's components in the open Blocks context."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            choice = gr.Radio(
                [],
                label="Runs, newest first",
                elem_id="runs",
                visible=False,
                elem_classes=["ws-runs"],
            )
            none_yet = gr.HTML(_READING)  # until the list is there
        with gr.Column(scale=3, min_width=320):
            card = gr.HTML(no_run(), elem_id="run-card")
            with gr.Row(elem_classes=["ws-acts"]):
                stop = gr.Button("Stop", variant="stop", visible=False, elem_id="run-stop")
                proceed = gr.Button(
                    "Resume",
                    variant="primary",
                    visible=False,
                    min_width=300,
                    elem_id="run-continue",
                )
                compare, delete, sure = lay_out_buttons()
                report = saved_file.lay_out("Report", "run-report", visible=False)
            exporting, kind, export, exported = lay_out_export()
            with gr.Row(visible=False) as curves:
                losses = gr.Plot(label="Loss terms", min_width=320, elem_id="loss-plot")
                errors = gr.Plot(label="Word error rate", min_width=320, elem_id="wer-plot")
            scores = gr.HTML("", elem_id="scores")
            notices = gr.HTML("", elem_id="notices")
            with gr.Accordion("Log", open=False):
                log = gr.HTML(log_html(""), elem_id="log")
    form = (choice, none_yet, card, stop, proceed, losses, errors, curves, scores, notices, log)
    actions = RunActions(compare, delete, sure, exporting, kind, export, exported)
    return RunsTab(*form, *_lay_out_gauges(), report, actions)


def _lay_out_gauges() -> tuple[gr.Column, gr.HTML, tuple[gr.Plot, ...]]:
    with gr.Column(visible=False) as gauged:
        gr.HTML('<h3 class="ws-section">Values of the method, layer by layer</h3>')
        still = gr.HTML("", elem_id="gauges-still")
        names = ("Latest values", *(f"Over the steps, {stack}" for stack in STACKS))
        ids = ("now", *STACKS)
        with gr.Row():
            figures = tuple(
                gr.Plot(label=name, min_width=300, elem_id=f"gauges-{mark}")
                for name, mark in zip(names, ids, strict=True)
            )
    return gauged, still, figures


def look_at_runs(
    tab: RunsTab, context: AppContext, chosen: str, drawn: Drawn
) -> tuple[Updates, Drawn]:
    """What has changed since `drawn`, and what is then drawn.

    A deleted run, or no choice, is shown as such rather than as an error: this runs every two
    seconds.
    """
    choices, run = _choices(context), _opened(context, chosen)
    updates: Updates = {}
    if run is None:
        why = _why_not(context, chosen)
        now = _without_run(choices, chosen, why)
        if now.run != drawn.run:
            updates |= _nothing(tab, why)
    else:
        status, view, turn = _state(context, run)
        now = _drawn(choices, run, status, view, turn)
        if now.run != drawn.run:
            updates |= _card(tab, run, status, view, turn)
        if now.curves != drawn.curves:
            updates |= _curves(tab, view)
        if now.log != drawn.log:
            updates |= {tab.notices: notices_html(view), tab.log: log_html(log_tail(run))}
        if now.gauges != drawn.gauges:
            updates |= _gauges(tab, view)
        if now.exports != drawn.exports:
            updates |= {tab.actions.exported: exports_html(run)}
    if now.listed != drawn.listed:
        updates |= _listed(tab, choices, chosen)
    return updates, now


def glance_at_runs(context: AppContext, chosen: str) -> Drawn:
    """What `look_at_runs` would have drawn."""
    choices, run = _choices(context), _opened(context, chosen)
    if run is None:
        return _without_run(choices, chosen, _why_not(context, chosen))
    return _drawn(choices, run, *_state(context, run))


def brief(context: AppContext, chosen: str) -> tuple[str, bool]:
    """The chosen run in brief, and whether it can be stopped: it is running or waiting."""
    run = _opened(context, chosen)
    if run is None:
        return "", False
    status, view, turn = _state(context, run)
    return small_card(run, status, view, turn), status == RunStatus.RUNNING or bool(turn.place)


def first_choice(context: AppContext, asked: str | None) -> str:
    """The run a fresh page shows: the requested one, else a running one, else the newest."""
    listed = context.watch.listed()
    names = [run.name for run, _ in listed]
    if asked in names:
        return str(asked)
    working = [run.name for run, status in listed if status == RunStatus.RUNNING]
    return (working or names or [""])[0]


def _choices(context: AppContext) -> list[tuple[str, str]]:
    """(words, name) of every run, newest first."""
    choices, waiting = [], context.watch.waiting()
    for run, status in context.watch.listed():
        view = context.watch.view(run) if status == RunStatus.RUNNING else None
        place = context.watch.place(run) if run.name in waiting else 0
        choices.append((run_label(run, status, view, place), run.name))
    return choices


def _opened(context: AppContext, chosen: str) -> RunDir | None:
    if not chosen:
        return None
    try:
        return context.watch.open(chosen)
    except RunError:
        return None


def _why_not(context: AppContext, chosen: str) -> str:
    """Why a run of the list cannot be opened; "" for a name that is not in the list."""
    found = [run for run, _ in context.watch.listed() if run.name == chosen]
    return context.watch.damage(found[0]) if found else ""


def _state(context: AppContext, run: RunDir) -> tuple[RunStatus, RunView, Turn]:
    return context.watch.status(run), context.watch.view(run), context.watch.turn(run)


def _without_run(choices: list[tuple[str, str]], chosen: str, why: str) -> Drawn:
    return Drawn(repr((choices, chosen)), f"{_NO_RUN} {chosen} {why}" if why else _NO_RUN)


def _drawn(
    choices: list[tuple[str, str]], run: RunDir, status: RunStatus, view: RunView, turn: Turn
) -> Drawn:
    curves = (
        sum(len(s.steps) for s in view.losses.values()),
        [s.steps[-1:] for s in view.losses.values()],
        [scores[-1].at for scores in view.evaluations.values()],
    )
    log = run.log_path.stat().st_size if run.log_path.is_file() else 0
    written = [export.name for export in exports_of(run)]
    return Drawn(
        listed=repr((choices, run.name)),
        run=f"{run.name} {status} {view.updated_at} {turn} {run.stop_requested()} {written}",
        curves=f"{run.name} {curves}",
        log=f"{run.name} {log} {len(view.notices)}",
        gauges=f"{run.name} {[(name, gauge.step) for name, gauge in view.gauges.items()]}",
        exports=f"{run.name} {exports_mark(run)}",
    )


def _listed(tab: RunsTab, choices: list[tuple[str, str]], chosen: str) -> Updates:
    value = chosen if chosen in [name for _, name in choices] else None
    return {
        tab.choice: gr.update(choices=choices, visible=bool(choices), value=value),
        tab.none_yet: gr.update(value=_NONE_YET, visible=not choices),
    }


def _card(tab: RunsTab, run: RunDir, status: RunStatus, view: RunView, turn: Turn) -> Updates:
    waits = bool(turn.place)
    asked = status == RunStatus.RUNNING and run.stop_requested()
    stop = "Leave the queue" if waits else "Stop now" if asked else "Stop"
    # Elsewhere it can be asked, and not be killed.
    may_stop = not (asked and run.working_elsewhere())
    can_continue = status in _CAN_CONTINUE and not waits
    came = headline_html(run) if status == RunStatus.FINISHED else ""
    return {
        tab.card: run_card(run, status, view, turn) + came,
        tab.stop: gr.update(
            visible=waits or status == RunStatus.RUNNING, value=stop, interactive=may_stop
        ),
        tab.proceed: gr.update(visible=can_continue, value=resume_label(run, view)),
        tab.report.button: gr.update(visible=True),
        **shown(tab.actions, run, status),
    }


def _curves(tab: RunsTab, view: RunView) -> Updates:
    scores = [score for each in view.evaluations.values() for score in each]
    # Without training there are no steps to draw; the table shows everything.
    has_wer = bool(view.losses) and any(score.wer is not None for score in scores)
    return {
        tab.curves: gr.update(visible=bool(view.losses) or bool(scores)),
        tab.losses: gr.update(value=loss_figure(view), visible=bool(view.losses)),
        tab.errors: gr.update(value=wer_figure(view), visible=has_wer),
        tab.scores: scores_table(view),
    }


def _gauges(tab: RunsTab, view: RunView) -> Updates:
    gauges = current_gauges(view)
    if not gauges:
        return {tab.gauged: gr.update(visible=False), tab.still: ""}
    drawn = moving(gauges)
    figures = [heat_figure(drawn), *(curves_figure(drawn, stack) for stack in STACKS)]
    updates: Updates = {tab.gauged: gr.update(visible=True), tab.still: still_html(gauges)}
    for plot, figure in zip(tab.moving, figures, strict=True):
        updates[plot] = gr.update(value=figure, visible=bool(figure.data))
    return updates


def _nothing(tab: RunsTab, why: str) -> Updates:
    hidden = gr.update(visible=False)
    own = (tab.actions.compare, tab.actions.delete, tab.actions.exporting)
    parts = (tab.stop, tab.proceed, tab.report.button, tab.curves, tab.gauged, *own)
    texts: Updates = {tab.card: no_run(why), tab.scores: "", tab.notices: "", tab.log: log_html("")}
    return {**texts, **dict.fromkeys(parts, hidden)}
