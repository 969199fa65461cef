"""How Try it leads through the page: start, follow, and open Compare when the model is there."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from whisperslim.ui.compare.fields import CompareTab
from whisperslim.ui.compress import try_it as first_minute
from whisperslim.ui.compress.try_it import TryCard
from whisperslim.ui.context.context import AppContext, for_people, skips
from whisperslim.ui.context.limits import check_runs

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def connect(
    card: TryCard,
    compare: CompareTab,
    context: AppContext,
    blocks: gr.Blocks,
    chosen: gr.State,
    tabs: gr.Tabs,
    refresh: Callable[[Any], None],
) -> None:
    """Wire the card. `chosen`, `tabs` and `refresh` are the page's way to show a run."""
    ready = gr.State("")
    filled = [compare.slim, compare.clip, compare.audio, compare.reference]

    def arrive() -> list[Any]:
        return first_minute.see(context, first_minute.arrived(context))

    @for_people
    def start() -> list[Any]:
        check_runs(context)
        run = first_minute.begin(context)
        return [run.name, *first_minute.see(context, run.name)]

    def follow(name: str) -> list[Any]:
        seen = first_minute.see(context, name)
        if not first_minute.is_done(context, name):
            return [*seen, "", *skips(len(filled))]
        return [*seen, name, *first_minute.comparison_of(context, name)]

    # Not before the model is in its list: the tab reads its lists anew when it opens.
    def open_compare(name: str) -> list[Any]:
        return [gr.update(selected="compare"), ""] if name else skips(2)

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
        follow, card.following, [*card.outputs(), ready, *filled], concurrency_id="poll", **_QUIET
    ).then(open_compare, ready, [tabs, ready], **_QUIET)
