"""How "Try it" leads through the page: start, follow, and compare when the model is done."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from whisperslim.engines import registry
from whisperslim.ui.compare import results
from whisperslim.ui.compare.fields import CompareTab
from whisperslim.ui.compare.history import History
from whisperslim.ui.compare.tab import engine_updates, first_comparison, origin_update
from whisperslim.ui.compress import try_it
from whisperslim.ui.compress.try_it import TryCard
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.context.limits import check_runs
from whisperslim.ui.parts.updates import Updates, unchanged

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
        return {tabs: gr.update(selected="compare")} if name else unchanged()

    @for_people
    def compare_now(name: str) -> Updates:
        if not name:
            return unchanged()
        found = try_it.comparison_of(context, name)
        made = first_comparison(context, name, str(found.recording), found.said)
        shown = results.keep(compare.shown, history, made, str(found.recording), blind=False)
        return {**shown, ready: ""}

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
    ).then(open_compare, ready, [tabs], **_QUIET).then(
        compare_now,
        ready,
        [ready, *compare.shown.outputs()],
        concurrency_id="compute",
        concurrency_limit=1,
        api_visibility="private",
        show_progress="minimal",
        show_progress_on=[compare.shown.result],
    )
