"""The Trade-off tab: any size of a run after training, and the curve of size against error.

The page only requests: predictions, sweeps and runs of another size are separate processes, and
what is drawn here is read from their files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency

from whisperslim.errors import WhisperSlimError
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.parts.markup import note
from whisperslim.ui.parts.updates import Updates, Values, inputs_of, read, unchanged
from whisperslim.ui.tradeoff import curve, size
from whisperslim.ui.tradeoff.actions import (
    apply,
    first_choice,
    prediction,
    resizable_names,
    start_prediction,
    start_sweep,
)
from whisperslim.ui.tradeoff.curve import NOTHING_DRAWN, CurvePart, Drawn, Wanted, lay_out_curve
from whisperslim.ui.tradeoff.html import prediction_html
from whisperslim.ui.tradeoff.size import Size, SizePart, lay_out_size

POLL_SECONDS = 2.0
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_ACTING: dict[str, Any] = {"concurrency_id": "act", "concurrency_limit": 1, **_QUIET}


@dataclass(frozen=True)
class TradeoffTab:
    """Both halves, the run they are set up for, and what keeps them up to date."""

    size: SizePart
    curve: CurvePart
    laid_out: gr.State
    drawn: gr.State
    timer: gr.Timer

    def seen(self) -> list[Block]:
        """What `look` fills."""
        return [self.size.prediction, *self.curve.seen(), self.timer, self.drawn]


def lay_out_tradeoff() -> TradeoffTab:
    """Make the tab's components in the open Blocks context."""
    timer = gr.Timer(POLL_SECONDS, active=False)
    upper, lower = lay_out_size(), lay_out_curve()
    return TradeoffTab(upper, lower, gr.State(""), gr.State(NOTHING_DRAWN), timer)


def look(tab: TradeoffTab, context: AppContext, at: Size, wanted: Wanted, drawn: Drawn) -> Updates:
    """Everything that updates by itself."""
    name = at.choice
    predicted, predicting = _prediction(context, at)
    progress, sweeping = curve.progress(tab.curve, context, name)
    shown = wanted.shown or []
    picture, now = curve.picture(tab.curve, context, name, shown, wanted.axis, drawn)
    return {
        tab.size.prediction: predicted,
        **progress,
        **picture,
        tab.timer: gr.update(active=predicting or sweeping),
        tab.drawn: now,
    }


def connect_tradeoff(
    tab: TradeoffTab,
    context: AppContext,
    opened: Callable[..., Dependency],
    chosen: gr.State,
    tabs: gr.Tabs,
    refresh: Callable[[Dependency], None],
) -> None:
    """Wire the tab. `opened` is the event of its selection; `chosen`, `tabs` and `refresh` show a
    run on the Runs tab.
    """

    @for_people
    def see(values: Values) -> Updates:
        at, wanted = read(Size, tab.size, values), read(Wanted, tab.curve, values)
        return look(tab, context, at, wanted, values[tab.drawn])

    looked_at = inputs_of(Size, tab.size) | inputs_of(Wanted, tab.curve) | {tab.drawn}

    def then_look(event: Dependency) -> None:
        event.then(see, looked_at, tab.seen(), **_QUIET)

    _connect_choice(tab, context, opened, then_look)
    _connect_size(tab, context, chosen, tabs, then_look, refresh)
    _connect_curve(tab, context, then_look)
    gr.on(
        [tab.timer.tick, tab.curve.shown.input, tab.curve.axis.input],
        see,
        looked_at,
        tab.seen(),
        concurrency_id="tradeoff",
        **_QUIET,
    )


def _connect_choice(
    tab: TradeoffTab,
    context: AppContext,
    opened: Callable[..., Dependency],
    then_look: Callable[[Dependency], None],
) -> None:
    filled = [tab.laid_out, *tab.size.begun(), *tab.curve.begun()]

    def offer(name: str | None) -> Updates:
        names = resizable_names(context)
        value = name if name in names else first_choice(context)
        return {tab.size.choice: gr.update(choices=names, value=value)}

    def begin(name: str | None) -> Updates:
        return {
            tab.laid_out: name or "",
            **size.begin(tab.size, context, name),
            **curve.begin(tab.curve, context, name),
        }

    def arrive(name: str | None, laid_out: str) -> Updates:
        # Coming back to the tab does not move the sliders.
        return unchanged() if name and name == laid_out else begin(name)

    working: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
    working |= {"show_progress_on": [tab.size.none_yet, tab.size.tiles]}
    offered = opened(offer, tab.size.choice, tab.size.choice, **_QUIET)
    then_look(offered.then(arrive, [tab.size.choice, tab.laid_out], filled, **working))
    then_look(tab.size.choice.input(begin, tab.size.choice, filled, **working))


def _connect_size(
    tab: TradeoffTab,
    context: AppContext,
    chosen: gr.State,
    tabs: gr.Tabs,
    then_look: Callable[[Dependency], None],
    refresh: Callable[[Dependency], None],
) -> None:
    part = tab.size

    def draw(values: Values) -> Updates:
        return size.draw(part, context, read(Size, part, values))

    def predict(values: Values) -> str:
        at = read(Size, part, values)
        return _problem(lambda: start_prediction(context, at.choice, at.removed, at.zeroed))

    def apply_size(values: Values) -> Updates:
        at = read(Size, part, values)
        try:
            run = apply(context, at.choice, at.removed, at.zeroed, values[part.recover])
        except WhisperSlimError as error:
            return {part.applied: note(str(error), "bad")}
        started = note(f"Started {run.name}; it is on the Runs tab.", "good")
        return {part.applied: started, chosen: run.name, tabs: gr.update(selected="runs")}

    # `release` is fired by the mouse; keys and typed numbers only fire `input`. While the slider is
    # dragged, only the latest position is answered.
    moved = gr.on(
        [part.removed.input, part.zeroed.input],
        draw,
        inputs_of(Size, part),
        part.drawn(),
        trigger_mode="always_last",
        concurrency_id="tradeoff",
        **_QUIET,
    )
    then_look(moved)
    then_look(part.predict.click(predict, inputs_of(Size, part), part.problem, **_ACTING))
    asked = inputs_of(Size, part) | {part.recover}
    refresh(part.apply.click(apply_size, asked, [part.applied, chosen, tabs], **_ACTING))


def _connect_curve(
    tab: TradeoffTab, context: AppContext, then_look: Callable[[Dependency], None]
) -> None:
    part = tab.curve

    def sweep(name: object, targets: object, steps: object) -> str:
        return _problem(lambda: start_sweep(context, name, targets, steps))

    def stop(name: str | None) -> str:
        return _problem(lambda: context.stop(context.watch.open(name)))

    asked = [tab.size.choice, part.targets, part.recover]
    then_look(part.sweep.click(sweep, asked, part.problem, **_ACTING))
    then_look(part.stop.click(stop, tab.size.choice, part.problem, **_ACTING))


def _prediction(context: AppContext, at: Size) -> tuple[str, bool]:
    if not at.choice:
        return "", False
    try:
        found, command, asked = prediction(context, at.choice, at.removed, at.zeroed)
    except WhisperSlimError as error:
        return note(str(error), "bad"), False
    return prediction_html(found, command, asked), command.running


def _problem(action: Callable[[], object]) -> str:
    """Do it; returns what went wrong, as HTML for the place of the control, or ""."""
    try:
        action()
    except WhisperSlimError as error:
        return note(str(error), "bad")
    return ""
