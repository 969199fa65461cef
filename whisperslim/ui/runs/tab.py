"""The Runs tab: every run on disk, and one of them live. It reads files; it holds no work."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from whisperslim.errors import RunError
from whisperslim.jobs.process.queue import Turn
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.run.view import RunView
from whisperslim.ui.context import saved_file
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import log_tail
from whisperslim.ui.context.saved_file import SaveButton
from whisperslim.ui.parts.charts import loss_figure, wer_figure
from whisperslim.ui.parts.markup import empty
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
    STACKS,
    current_gauges,
    curves_figure,
    heat_figure,
    moving,
    still_html,
)

_GAUGE_OUTPUTS = 3 + len(STACKS)
_CAN_CONTINUE = (RunStatus.STOPPED, RunStatus.FAILED, RunStatus.DIED, RunStatus.QUEUED)

Drawn = tuple[str, str, str, str, str]
"""What this page shows by now: fingerprints of the list, the run, its curves, log and gauges."""

NOTHING_DRAWN: Drawn = ("", "", "", "", "")
_NO_RUN = ("none", "", "", "")


@dataclass(frozen=True)
class RunsTab:
    """The components, in the order `outputs` gives them."""

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

    def outputs(self) -> list[Any]:
        """What `look` fills."""
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
        ]


def lay_out_tab() -> RunsTab:
    """Make the tab's components in the Blocks context now open."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=280):
            choice = gr.Radio(
                [],
                label="Runs, newest first",
                elem_id="runs",
                visible=False,
                elem_classes=["ws-runs"],
            )
            none_yet = gr.HTML(empty("No runs yet", "Start one on the Compress tab."))
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
                report = saved_file.lay_out("Report", "run-report", visible=False)
            with gr.Row(visible=False) as curves:
                losses = gr.Plot(label="Loss terms", min_width=320, elem_id="loss-plot")
                errors = gr.Plot(label="Word error rate", min_width=320, elem_id="wer-plot")
            scores = gr.HTML("", elem_id="scores")
            notices = gr.HTML("", elem_id="notices")
            with gr.Accordion("Log", open=False):
                log = gr.HTML(log_html(""), elem_id="log")
    form = (choice, none_yet, card, stop, proceed, losses, errors, curves, scores, notices, log)
    return RunsTab(*form, *_lay_out_gauges(), report)


def _lay_out_gauges() -> tuple[gr.Column, gr.HTML, tuple[gr.Plot, ...]]:
    with gr.Column(visible=False) as gauged:
        gr.HTML('<h3 class="ws-section">What the method does, layer by layer</h3>')
        still = gr.HTML("", elem_id="gauges-still")
        names = ("Latest values", *(f"Over the steps, {stack}" for stack in STACKS))
        ids = ("now", *STACKS)
        with gr.Row():
            figures = tuple(
                gr.Plot(label=name, min_width=300, elem_id=f"gauges-{mark}")
                for name, mark in zip(names, ids, strict=True)
            )
    return gauged, still, figures


def look(context: AppContext, chosen: str, drawn: Drawn) -> tuple[list[Any], Drawn]:
    """Updates of what has changed since `drawn`, and what is drawn then.

    A run that is gone, or none chosen, shows as such rather than as an error: this runs every two
    seconds.
    """
    listed, list_print = _list(context, chosen)
    run = _opened(context, chosen)
    if run is None:
        now = (list_print, *_NO_RUN)
        return [*(listed if list_print != drawn[0] else _same(2)), *_nothing(drawn)], now
    status, view, turn = _state(context, run)
    now = (list_print, *_prints(run, status, view, turn))
    updates = [
        *(listed if now[0] != drawn[0] else _same(2)),
        *(_card(run, status, view, turn) if now[1] != drawn[1] else _same(3)),
        *(_curves(view) if now[2] != drawn[2] else _same(4)),
        *(_told(run, view) if now[3] != drawn[3] else _same(2)),
        *(_gauges(view) if now[4] != drawn[4] else _same(_GAUGE_OUTPUTS)),
        gr.update(visible=True) if now[1] != drawn[1] else gr.skip(),
    ]
    return updates, now


def glance(context: AppContext, chosen: str) -> Drawn:
    """What `look` would have drawn, with nothing drawn."""
    list_print, run = _list(context, chosen)[1], _opened(context, chosen)
    return (list_print, *(_NO_RUN if run is None else _prints(run, *_state(context, run))))


def brief(context: AppContext, chosen: str) -> tuple[str, bool]:
    """The chosen run in brief, and whether it can be stopped: it works, or waits its turn."""
    run = _opened(context, chosen)
    if run is None:
        return "", False
    status, view, turn = _state(context, run)
    return small_card(run, status, view, turn), status == RunStatus.RUNNING or bool(turn.place)


def first_choice(context: AppContext, asked: str | None) -> str:
    """The run a fresh page shows: the one asked for, else one at work, else the newest."""
    listed = context.watch.listed()
    names = [run.name for run, _ in listed]
    if asked in names:
        return str(asked)
    working = [run.name for run, status in listed if status == RunStatus.RUNNING]
    return (working or names or [""])[0]


def _list(context: AppContext, chosen: str) -> tuple[list[Any], str]:
    choices, waiting = [], context.watch.waiting()
    for run, status in context.watch.listed():
        view = context.watch.view(run) if status == RunStatus.RUNNING else None
        place = context.watch.turn(run).place if run.name in waiting else 0
        choices.append((run_label(run, status, view, place), run.name))
    shown = gr.update(
        choices=choices,
        visible=bool(choices),
        value=chosen if chosen in [name for _, name in choices] else None,
    )
    return [shown, gr.update(visible=not choices)], repr((choices, chosen))


def _opened(context: AppContext, chosen: str) -> RunDir | None:
    if not chosen:
        return None
    try:
        return context.watch.open(chosen)
    except RunError:
        return None


def _state(context: AppContext, run: RunDir) -> tuple[RunStatus, RunView, Turn]:
    return context.watch.status(run), context.watch.view(run), context.watch.turn(run)


def _prints(run: RunDir, status: RunStatus, view: RunView, turn: Turn) -> tuple[str, str, str, str]:
    curves = (
        sum(len(s.steps) for s in view.losses.values()),
        [s.steps[-1:] for s in view.losses.values()],
        [scores[-1].at for scores in view.evaluations.values()],
    )
    log = run.log_path.stat().st_size if run.log_path.is_file() else 0
    return (
        f"{run.name} {status} {view.updated_at} {turn} {run.stop_requested()}",
        f"{run.name} {curves}",
        f"{run.name} {log} {len(view.notices)}",
        f"{run.name} {[(name, gauge.step) for name, gauge in view.gauges.items()]}",
    )


def _card(run: RunDir, status: RunStatus, view: RunView, turn: Turn) -> list[Any]:
    waits = bool(turn.place)
    stop = "Leave the queue" if waits else "Stop now" if run.stop_requested() else "Stop"
    return [
        run_card(run, status, view, turn),
        gr.update(visible=waits or status == RunStatus.RUNNING, value=stop),
        gr.update(visible=status in _CAN_CONTINUE and not waits, value=resume_label(run, view)),
    ]


def _curves(view: RunView) -> list[Any]:
    scores = [score for each in view.evaluations.values() for score in each]
    # Without training there are no steps to draw over; the table says it all.
    has_wer = bool(view.losses) and any(score.wer is not None for score in scores)
    return [
        gr.update(visible=bool(view.losses) or bool(scores)),
        gr.update(value=loss_figure(view), visible=bool(view.losses)),
        gr.update(value=wer_figure(view), visible=has_wer),
        scores_table(view),
    ]


def _told(run: RunDir, view: RunView) -> list[Any]:
    return [notices_html(view), log_html(log_tail(run))]


def _gauges(view: RunView) -> list[Any]:
    gauges = current_gauges(view)
    if not gauges:
        hidden = gr.update(visible=False)
        return [hidden, "", *[hidden] * (_GAUGE_OUTPUTS - 2)]
    drawn = moving(gauges)
    figures = [heat_figure(drawn), *(curves_figure(drawn, stack) for stack in STACKS)]
    plots = [gr.update(value=figure, visible=bool(figure.data)) for figure in figures]
    return [gr.update(visible=True), still_html(gauges), *plots]


def _nothing(drawn: Drawn) -> list[Any]:
    if drawn[1] == "none":
        return _same(10 + _GAUGE_OUTPUTS)
    hidden = gr.update(visible=False)
    shown = [no_run(), hidden, hidden, hidden, gr.skip(), gr.skip(), "", "", log_html("")]
    return [*shown, hidden, *_same(_GAUGE_OUTPUTS - 1), hidden]


def _same(count: int) -> list[Any]:
    return [gr.skip() for _ in range(count)]
