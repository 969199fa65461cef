"""The Trade-off tab: any size of a run after training, and the curve of size against error.

The page only asks: predictions, sweeps and runs of another size are processes of their own, and
what is drawn here is read from their files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from whisperslim.errors import WhisperSlimError
from whisperslim.ui.context.context import AppContext, for_people, skips
from whisperslim.ui.parts.markup import note
from whisperslim.ui.tradeoff import actions as act
from whisperslim.ui.tradeoff import curve as tradeoff_curve
from whisperslim.ui.tradeoff import size as tradeoff_size
from whisperslim.ui.tradeoff.curve import NOTHING_DRAWN, CurvePart, Drawn
from whisperslim.ui.tradeoff.html import prediction_html
from whisperslim.ui.tradeoff.size import SizePart

POLL_SECONDS = 2.0
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_ACTING: dict[str, Any] = {"concurrency_id": "act", "concurrency_limit": 1, **_QUIET}


@dataclass(frozen=True)
class TradeoffTab:
    """Both halves, the run they are laid out for, and what keeps them up to date."""

    size: SizePart
    curve: CurvePart
    laid_out: gr.State
    drawn: gr.State
    timer: gr.Timer

    def looked_at(self) -> list[Any]:
        """What `look` reads."""
        return [*self.size.size(), self.curve.shown, self.curve.axis, self.drawn]

    def seen(self) -> list[Any]:
        """What `look` fills."""
        moving = [self.size.prediction, self.curve.progress, self.curve.stop]
        return [*moving, *self.curve.picture(), self.timer, self.drawn]


def lay_out_tab() -> TradeoffTab:
    """Make the tab's components in the Blocks context now open."""
    timer = gr.Timer(POLL_SECONDS, active=False)
    size, curve = tradeoff_size.lay_out_part(), tradeoff_curve.lay_out_part()
    return TradeoffTab(size, curve, gr.State(""), gr.State(NOTHING_DRAWN), timer)


def look(
    context: AppContext,
    name: str | None,
    removed: object,
    zeroed: object,
    shown: list[str] | None,
    against: str,
    drawn: Drawn,
) -> list[Any]:
    """Updates of all that moves by itself, in the order of `TradeoffTab.seen`."""
    predicted, predicting = _prediction(context, name, removed, zeroed)
    progress, sweeping = tradeoff_curve.progress(context, name)
    picture, now = tradeoff_curve.picture(context, name, shown, against, drawn)
    timer = gr.update(active=predicting or sweeping)
    return [predicted, *progress, *picture, timer, now]


def connect(
    tab: TradeoffTab,
    context: AppContext,
    opened: Callable[..., Any],
    chosen: gr.State,
    tabs: gr.Tabs,
    refresh: Callable[[Any], None],
) -> None:
    """Wire the tab. `opened` is the event of its selection; `chosen`, `tabs` and `refresh` are the
    page's way to show a run on the Runs tab."""

    @for_people
    def see(*given: Any) -> list[Any]:
        return look(context, *given)

    def then_look(event: Any) -> None:
        event.then(see, tab.looked_at(), tab.seen(), **_QUIET)

    _connect_choice(tab, context, opened, then_look)
    _connect_size(tab, context, chosen, tabs, then_look, refresh)
    _connect_curve(tab, context, then_look)
    gr.on(
        [tab.timer.tick, tab.curve.shown.input, tab.curve.axis.input],
        see,
        tab.looked_at(),
        tab.seen(),
        concurrency_id="tradeoff",
        **_QUIET,
    )


def _connect_choice(
    tab: TradeoffTab,
    context: AppContext,
    opened: Callable[..., Any],
    then_look: Callable[..., None],
) -> None:
    filled = [tab.laid_out, *tab.size.begun(), *tab.curve.begun()]

    def offer(name: str | None) -> Any:
        names = act.resizable_names(context)
        value = name if name in names else act.first_choice(context)
        return gr.update(choices=names, value=value)

    def begin(name: str | None) -> list[Any]:
        size = tradeoff_size.begin(context, tab.size, name)
        return [name or "", *size, *tradeoff_curve.begin(context, name)]

    def arrive(name: str | None, laid_out: str) -> list[Any]:
        # Coming back to the tab leaves the sliders where they were.
        return skips(len(filled)) if name and name == laid_out else begin(name)

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
    then_look: Callable[..., None],
    refresh: Callable[[Any], None],
) -> None:
    size = tab.size

    def draw(*at: Any) -> list[Any]:
        return tradeoff_size.draw(context, size, *at)

    def predict(*at: Any) -> str:
        return _problem(lambda: act.start_prediction(context, *at))

    def apply(*given: Any) -> list[Any]:
        try:
            run = act.apply(context, *given)
        except WhisperSlimError as error:
            return [note(str(error), "bad"), *skips(2)]
        told = note(f"Started {run.name}; it is on the Runs tab.", "good")
        return [told, run.name, gr.update(selected="runs")]

    # `release` is the mouse's; keys and typed numbers end in `input` alone. While a thumb is
    # dragged, only the latest position is answered.
    moved = gr.on(
        [size.removed.input, size.zeroed.input],
        draw,
        size.size(),
        size.drawn(),
        trigger_mode="always_last",
        concurrency_id="tradeoff",
        **_QUIET,
    )
    then_look(moved)
    then_look(size.predict.click(predict, size.size(), size.problem, **_ACTING))
    refresh(
        size.apply.click(
            apply, [*size.size(), size.recover], [size.applied, chosen, tabs], **_ACTING
        )
    )


def _connect_curve(tab: TradeoffTab, context: AppContext, then_look: Callable[..., None]) -> None:
    curve = tab.curve

    def sweep(*given: Any) -> str:
        return _problem(lambda: act.start_sweep(context, *given))

    def stop(name: str | None) -> str:
        return _problem(lambda: context.stop(context.watch.open(name)))

    asked = [tab.size.choice, curve.targets, curve.recover]
    then_look(curve.sweep.click(sweep, asked, curve.problem, **_ACTING))
    then_look(curve.stop.click(stop, tab.size.choice, curve.problem, **_ACTING))


def _prediction(
    context: AppContext, name: str | None, removed: object, zeroed: object
) -> tuple[str, bool]:
    if not name:
        return "", False
    try:
        found, command, asked = act.prediction(context, name, removed, zeroed)
    except WhisperSlimError as error:
        return note(str(error), "bad"), False
    return prediction_html(found, command, asked), command.running


def _problem(action: Callable[[], object]) -> str:
    """Do it; what went wrong, as HTML for the place of the control, else nothing."""
    try:
        action()
    except WhisperSlimError as error:
        return note(str(error), "bad")
    return ""
