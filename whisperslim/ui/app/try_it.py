"""How "Try it" leads through the page: start, follow, and compare when the model is done."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from whisperslim.engines import registry
from whisperslim.errors import ExportError
from whisperslim.ui.compare import results
from whisperslim.ui.compare.fields import AskedComparison, CompareTab
from whisperslim.ui.compare.history import History
from whisperslim.ui.compare.tab import (
    HeardAs,
    compared,
    engine_updates,
    first_models,
    origin_update,
    sides_asked,
    time_words,
)
from whisperslim.ui.compress import try_it
from whisperslim.ui.compress.try_it import TryCard
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.context.limits import check_runs
from whisperslim.ui.parts.markup import empty
from whisperslim.ui.parts.updates import Updates, unchanged

_GETS_READY = empty(
    "Both models are about to listen",
    "The dense model is made ready in the engine of the slim one, so that only the models differ. "
    "The first time that takes a minute or two.",
)
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def connect_try_it(
    card: TryCard,
    compare: CompareTab,
    context: AppContext,
    blocks: gr.Blocks,
    chosen: gr.State,
    tabs: gr.Tabs,
    refresh: Callable[[Any], None],
) -> None:
    """Wire the card. `chosen`, `tabs` and `refresh` are how the page shows a run."""
    ready = gr.State("")
    filled = [
        compare.slim, compare.dense, compare.slim_engine, compare.engine_note, compare.third,
        compare.clip, compare.audio, compare.reference,
    ]  # fmt: skip
    history = History(context.runs)

    def arrive() -> Updates:
        return try_it.see(card, context, try_it.arrived(context))

    @for_people
    def start() -> Updates:
        check_runs(context)
        run = try_it.begin(context)
        return {chosen: run.name, **try_it.see(card, context, run.name)}

    def follow(name: str) -> Updates:
        seen = try_it.see(card, context, name)
        if not try_it.is_done(context, name):
            return {**seen, ready: ""}
        found = try_it.comparison_of(context, name)
        return {
            **seen,
            ready: name,
            compare.slim: gr.update(choices=found.slims, value=found.slim),
            compare.dense: gr.update(**origin_update(context, found.slim)),
            **engine_updates(compare, context, found.slim, registry.OWN),
            compare.clip: found.clip,
            compare.audio: str(found.recording),
            compare.reference: found.said,
        }

    # Only once the model is in its list: the tab reads its lists again when it opens.
    def open_compare(name: str) -> Updates:
        if not name:
            return unchanged()
        return {tabs: gr.update(selected="compare"), compare.shown.result: _GETS_READY}

    @for_people
    def compare_now(name: str) -> Updates:
        if not name:
            return unchanged()
        found = try_it.comparison_of(context, name)
        asked = AskedComparison(str(found.recording), found.said)
        models = first_models(context, name)
        try:
            made = compared(context, models, asked)
        except ExportError:  # the dense model is not to be had in that engine; the result says so
            models = replace(models, dense_engine=registry.OWN)
            made = compared(context, models, asked)
        shown = results.keep(compare.shown, history, made, str(found.recording), blind=False)
        heard_as = HeardAs(sides_asked(context, models, asked), asked.audio)
        return {**shown, compare.shown.heard_as: heard_as, ready: ""}

    blocks.load(arrive, None, card.outputs(), **_QUIET)
    refresh(
        card.button.click(
            start,
            None,
            [chosen, *card.outputs()],
            concurrency_id="act",
            concurrency_limit=1,
            api_visibility="private",
            show_progress_on=[card.progress],
        )
    )
    card.timer.tick(
        follow, card.following, [ready, *card.outputs(), *filled], concurrency_id="poll", **_QUIET
    ).then(open_compare, ready, [tabs, compare.shown.result], **_QUIET).then(
        compare_now,
        ready,
        [ready, *compare.shown.outputs()],
        concurrency_id="compute",
        concurrency_limit=1,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[compare.shown.result],
    ).then(
        partial(time_words, compare.shown, context, history),
        [compare.shown.key, compare.shown.heard_as],
        [compare.shown.times, compare.shown.heard_as],
        concurrency_id="time",
        **_QUIET,
    )
