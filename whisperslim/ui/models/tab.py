"""The Models tab: what is on this computer, put to use, deleted, and fetched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from whisperslim.engines import registry
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.models import fetching
from whisperslim.jobs.models.fetching import FETCH, FetchDesk
from whisperslim.jobs.models.inventory import SLIM, ModelEntry, inventory
from whisperslim.jobs.models.removal import DELETABLE, delete_model
from whisperslim.ui.compare.fields import CompareTab
from whisperslim.ui.compare.tab import engine_updates, origin_update
from whisperslim.ui.context.choices import chosen_model, dense_choices, slim_names
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.models.card import (
    NONE_CHOSEN,
    NOTHING,
    READING,
    fetch_html,
    model_card,
    model_label,
)
from whisperslim.ui.parts.updates import Updates

POLL_SECONDS = 2.0
_DELETE, _SURE = "Delete", "Press again to delete it for good"
_SURE_RUN = "Press again to delete it and its run for good"
_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class ModelsTab:
    """The components. `sure` is the model that Delete was pressed for once."""

    choice: gr.Radio
    nothing: gr.HTML
    card: gr.HTML
    as_slim: gr.Button
    as_dense: gr.Button
    delete: gr.Button
    sure: gr.State
    name: gr.Textbox
    fetch: gr.Button
    progress: gr.HTML
    timer: gr.Timer

    def listed(self) -> list[Block]:
        """What `see` fills."""
        return [self.choice, self.nothing, *self.chosen()]

    def chosen(self) -> list[Block]:
        """What `show` fills."""
        return [self.card, self.as_slim, self.as_dense, self.delete, self.sure]


def lay_out_models() -> ModelsTab:
    """Make the tab's components in the Blocks context now open."""
    nothing = gr.HTML(READING, elem_id="no-models")  # until `see` knows
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=300):
            choice = gr.Radio(
                [],
                label="Models on this computer",
                elem_id="models",
                visible=False,
                elem_classes=["ws-runs"],
            )
        with gr.Column(scale=3, min_width=320):
            card = gr.HTML("", elem_id="model-card")
            with gr.Row(elem_classes=["ws-acts"]):
                as_slim = gr.Button(
                    "Compare as slim", variant="primary", visible=False, elem_id="model-as-slim"
                )
                as_dense = gr.Button("Compare as dense", visible=False, elem_id="model-as-dense")
                delete = gr.Button(_DELETE, variant="stop", visible=False, elem_id="model-delete")
    gr.HTML('<h3 class="ws-section">Fetch a model</h3>')
    with gr.Row(equal_height=False):
        name = gr.Textbox(
            "",
            label="Name",
            placeholder="openai/whisper-base",
            info="OWNER/NAME on the Hugging Face hub. It is kept in the cache and then needs no "
            "network.",
            max_lines=1,
            max_length=96,
            scale=3,
            min_width=240,
            elem_id="fetch-name",
        )
        fetch = gr.Button("Fetch", scale=1, min_width=120, elem_id="fetch-start")
    progress = gr.HTML("", elem_id="fetch-progress")
    timer = gr.Timer(POLL_SECONDS, active=False)
    return ModelsTab(
        choice, nothing, card, as_slim, as_dense, delete, gr.State(""), name, fetch, progress, timer
    )  # fmt: skip


def key_of(entry: ModelEntry) -> str:
    """Its value in the list."""
    return f"{entry.kind}/{entry.name}"


def see(tab: ModelsTab, entries: Sequence[ModelEntry], key: object) -> Updates:
    """The list, and the model chosen if it is still there."""
    known = [(model_label(entry), key_of(entry)) for entry in entries]
    found = next((entry for entry in entries if key_of(entry) == key), None)
    value = key_of(found) if found else None
    return {
        tab.choice: gr.update(choices=known, value=value, visible=bool(known)),
        tab.nothing: gr.update(value=NOTHING, visible=not known),
        **show(tab, found, is_there=bool(known)),
    }


def show(tab: ModelsTab, entry: ModelEntry | None, is_there: bool = True) -> Updates:
    """The card of a model and what can be done with it."""
    usable = entry is not None and not entry.problem
    can_go = entry is not None and entry.kind in DELETABLE
    none = NONE_CHOSEN if is_there else ""
    return {
        tab.card: model_card(entry) if entry else none,
        tab.as_slim: gr.update(visible=usable),
        tab.as_dense: gr.update(visible=usable),
        tab.delete: gr.update(visible=can_go, value=_DELETE),
        tab.sure: "",
    }


def find(context: AppContext, key: object) -> ModelEntry:
    """The model of the list, as it is now; nothing else can be named.

    Raises `UsageError` when it is not there, or lies where the page may not go.
    """
    for entry in inventory(context.runs):
        if key_of(entry) == key:
            context.admit(entry.path, "model")
            return entry
    raise UsageError("no model is chosen, or it is not there any more; choose one from the list")


def name_in_compare(entry: ModelEntry, offered: Sequence[str]) -> str:
    """What Compare calls a model: a name of its lists, or else a folder's path."""
    return entry.name if entry.name in offered else str(entry.path)


def delete(context: AppContext, entry: ModelEntry) -> None:
    """Delete a model. Raises as `delete_model`, and `RunError` while it is being compared."""
    folder = entry.path.parent if entry.kind == SLIM else entry.path
    used = context.listening.in_use()
    if any(name == entry.name or Path(name).is_relative_to(folder) for name in used):
        raise RunError(f"{entry.name} is being compared; wait for its end")
    delete_model(entry, context.runs)


def press(tab: ModelsTab, context: AppContext, key: object, sure: object) -> Updates:
    """What Delete does: it asks first, and deletes when pressed again. Raises as `delete`."""
    entry = find(context, key)
    if sure != key:
        asked = _SURE_RUN if entry.kind == SLIM else _SURE
        return {tab.sure: key, tab.delete: gr.update(value=asked)}
    delete(context, entry)
    gr.Info(f"{entry.name} is gone.", title="Deleted")
    return see(tab, inventory(context.runs), None)


def start_fetch(context: AppContext, name: object) -> None:
    """Begin to fetch a model in the background. Raises as `check_fetch` does, and `RunError`."""
    wanted = fetching.check_fetch(context.runs, name)
    desk = fetching.prepare(FetchDesk(context.runs))
    context.command(desk, FETCH, [FETCH, wanted])


def connect_models(
    tab: ModelsTab,
    compare: CompareTab,
    context: AppContext,
    opened: Callable[..., Any],
    tabs: gr.Tabs,
    refresh: Callable[[Any], None],
) -> None:
    """Wire the tab. `opened` is the event that somebody looks at it, `refresh` redraws the runs."""
    desk = FetchDesk(context.runs)

    def listing(key: object) -> Updates:
        return see(tab, inventory(context.runs), key)

    def fetch_state() -> Updates:
        now = fetching.look(desk)
        return {
            tab.progress: fetch_html(now, fetching.without_network(context.runs)),
            tab.timer: gr.Timer(active=now.running),
        }

    def arrive(key: object) -> Updates:
        return {**listing(key), **fetch_state()}

    def choose(key: object) -> Updates:
        entries = inventory(context.runs)
        found = next((entry for entry in entries if key_of(entry) == key), None)
        return show(tab, found)

    @for_people
    def compare_slim(key: object) -> Updates:
        entry = find(context, key)
        names = slim_names(context)
        name = name_in_compare(entry, names)
        chosen_model(context, name)
        return {
            tabs: gr.update(selected="compare"),
            compare.slim: gr.update(choices=names, value=name),
            compare.dense: gr.update(**origin_update(context, name)),
            **engine_updates(compare, context, name, registry.OWN),
        }

    @for_people
    def compare_dense(key: object) -> Updates:
        entry = find(context, key)
        names = dense_choices(context)
        name = name_in_compare(entry, [value for _, value in names])
        chosen_model(context, name)
        return {
            tabs: gr.update(selected="compare"),
            compare.dense: gr.update(choices=names, value=name),
        }

    @for_people
    def press_delete(key: object, sure: str) -> Updates:
        return press(tab, context, key, sure)

    @for_people
    def fetch(name: object) -> Updates:
        start_fetch(context, name)
        return fetch_state()

    def follow(key: object) -> Updates:
        now = fetch_state()
        done = not fetching.look(desk).running
        return {**now, **listing(key)} if done else now

    acting: dict[str, Any] = {**_QUIET, "concurrency_id": "act", "concurrency_limit": 1}
    fetched = [tab.progress, tab.timer]
    opened(arrive, tab.choice, [*tab.listed(), *fetched], **_QUIET)
    tab.choice.input(choose, tab.choice, tab.chosen(), **_QUIET)
    sides = [compare.slim, compare.dense, compare.slim_engine, compare.engine_note, compare.third]
    tab.as_slim.click(compare_slim, tab.choice, [tabs, *sides], **acting)
    tab.as_dense.click(compare_dense, tab.choice, [tabs, compare.dense], **acting)
    refresh(tab.delete.click(press_delete, [tab.choice, tab.sure], tab.listed(), **acting))
    tab.fetch.click(fetch, tab.name, fetched, **acting)
    tab.name.submit(fetch, tab.name, fetched, **acting)
    tab.timer.tick(follow, tab.choice, [*tab.listed(), *fetched], concurrency_id="poll", **_QUIET)
