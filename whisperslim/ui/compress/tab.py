"""The Compress tab: a recipe, its expected size, and the buttons that start and stop its run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from whisperslim.core.plan.counting import NOT_OWN, OF_WEIGHTS, Counting
from whisperslim.errors import RecipeError, SourceError, WhisperSlimError
from whisperslim.jobs.models.languages import languages_of_model
from whisperslim.jobs.run.folder import RunDir
from whisperslim.text.languages import choices
from whisperslim.text.scripts import LANGUAGES
from whisperslim.ui.compress.check import (
    Marked,
    check_places,
    mark_changes,
    marked_now,
    recipe_of,
)
from whisperslim.ui.compress.forecast import PUBLISHED, forecast_html, unknown_html, unplanned_html
from whisperslim.ui.compress.form import RecipeForm, lay_out
from whisperslim.ui.compress.preset_actions import connect_presets, own_presets
from whisperslim.ui.compress.preset_fields import PresetFields, first_preset, lay_out_presets
from whisperslim.ui.compress.try_it import TryCard, lay_out_card
from whisperslim.ui.context.choices import model_choices
from whisperslim.ui.context.context import AppContext, for_people, warn_when_busy
from whisperslim.ui.context.models import ModelSize
from whisperslim.ui.guard.folders import is_path
from whisperslim.ui.parts.forms import read_form
from whisperslim.ui.parts.markup import note
from whisperslim.ui.parts.updates import Updates, Values

_FORECAST_FIELDS = (
    "model", "target.removed", "target.zeroed", "export.dtype", "vocabulary.languages",
    "vocabulary.timestamps", "target.currency", "method.name", "method.currency", "export.engine",
    "export.quantize", "target.head_width",
)  # fmt: skip
_NARROWER = "Narrower heads take off more. How much is known when they are chosen, in stage narrow."


@dataclass(frozen=True)
class CompressTab:
    """The components other tabs and `build` wire up."""

    trial: TryCard
    presets: PresetFields
    form: RecipeForm
    forecast: gr.HTML
    start: gr.Button
    stop: gr.Button
    problems: gr.HTML
    current: gr.HTML
    marked: gr.State

    def problem_outputs(self) -> list[Block]:
        """What `problem_updates` fills."""
        return [*self.form.components, self.form.advanced, self.problems, self.marked]


def lay_out_compress(context: AppContext) -> CompressTab:
    """Make the tab's components in the open Blocks context."""
    trial = lay_out_card()
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=320):
            presets = lay_out_presets(own_presets(context))
            form = lay_out(first_preset(), model_choices(context))
        with gr.Column(scale=2, min_width=300, elem_classes=["ws-side"]):
            gr.HTML('<h3 class="ws-section">Expected size</h3>')
            forecast = gr.HTML("", elem_id="forecast")
            with gr.Row():
                start = gr.Button("Start", variant="primary", elem_id="start")
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="stop")
            problems = gr.HTML("", elem_id="problems")
            current = gr.HTML("", elem_id="current-run")
    marked = gr.State(Marked())
    return CompressTab(
        trial, presets, form, forecast, start, stop, problems, current, marked
    )  # fmt: skip


def connect_compress(
    tab: CompressTab, context: AppContext, blocks: gr.Blocks
) -> Callable[[Any], None]:
    """Wire what stays within the tab. `start` and `stop` affect other tabs: `build` wires them.

    Returns what checks the form after an event of another tab that fills it.
    """
    form = tab.form

    @for_people
    def choose_method(name: str) -> Updates:
        return form.shown_parts(name)

    said = [field for field in form.fields if field.dotted in _FORECAST_FIELDS]

    def show_forecast(shown: Values) -> str:
        return forecast_of(context, read_form(said, shown))

    events = connect_presets(tab.presets, form, context, blocks, tab.problems, tab.marked)
    form.component("method.name").input(
        choose_method,
        form.component("method.name"),
        form.swapped,
        api_visibility="private",
        show_progress="hidden",
        queue=False,
    )
    form.component("model").change(
        lambda model: gr.update(choices=choices(_known(context, model))),
        form.component("model"),
        form.component("language"),
        api_visibility="private",
        show_progress="hidden",
    )
    expected: dict[str, Any] = {
        "fn": show_forecast,
        "inputs": {field.component for field in said},
        "outputs": tab.forecast,
        "show_progress": "hidden",
        "concurrency_id": "forecast",
        "api_visibility": "private",
    }
    changed = [blocks.load, *(field.component.input for field in said)]
    # Sliders fire while they are dragged; only the latest position needs an answer.
    gr.on(changed, **expected, trigger_mode="always_last")
    for event in events.filled:
        event.success(**expected)
    return events.look_after


def _known(context: AppContext, model: object) -> tuple[str, ...]:
    """Codes that the model of the form knows; all there are while it says none."""
    try:
        place = str(context.admit(model, "model")) if is_path(str(model)) else str(model)
        return languages_of_model(place) or LANGUAGES
    except WhisperSlimError:  # the check beside the field says what is wrong
        return LANGUAGES


def forecast_of(context: AppContext, values: Mapping[str, Any]) -> str:
    """The expected size for a form's values by dotted name, as HTML."""
    counting = Counting.of(
        values["target.currency"],
        values.get("method.currency", NOT_OWN),
        values["export.engine"],
        values["export.quantize"],
    )
    shown = forecast(
        context,
        values["model"],
        values["target.removed"],
        values["target.zeroed"],
        values["export.dtype"],
        values["vocabulary.languages"],
        values["vocabulary.timestamps"],
        counting.words,
    )
    return shown + note(_NARROWER) if values["target.head_width"] else shown


def forecast(
    context: AppContext,
    model: str,
    removed: float,
    zeroed: float,
    dtype: str,
    languages: Sequence[str] = (),
    timestamps: bool = False,
    counted: str = OF_WEIGHTS,
) -> str:
    """The expected size as HTML; without the model's own size where that is not known.

    `counted` is what `removed` is a share of, as text.
    """
    try:
        size = _size(context, str(model))
        tokens, note = _tokens(context, str(model), languages, timestamps)
        if counted != OF_WEIGHTS:
            return unplanned_html(size, float(removed), float(zeroed), counted, tokens, note)
        return forecast_html(size, float(removed), float(zeroed), dtype, tokens, note)
    except WhisperSlimError as error:
        return unknown_html(float(removed), float(zeroed), str(error), counted)


def _tokens(
    context: AppContext, model: str, languages: Sequence[str], timestamps: bool
) -> tuple[int, str]:
    """Elements of the embedding to be removed, and a note when that is not known yet."""
    if not languages:
        return 0, ""
    try:
        if is_path(model):
            context.admit(model, "model")
        embedding = context.embeddings.get(model)
    except SourceError:
        return 0, (
            "Tokens of other languages are removed as well; how much that saves is shown once the "
            "model has been fetched."
        )
    return embedding.without_others([str(code) for code in languages], bool(timestamps)), ""


def _size(context: AppContext, model: str) -> ModelSize:
    if model in PUBLISHED:
        return PUBLISHED[model]
    # Moving a slider must not fetch a model, so hub names are not looked up.
    folder = context.admit(model, "model") if is_path(model) else None
    if folder is None or not folder.is_dir():
        raise SourceError(f"The size of {model!r} is known once its weights are in a folder here.")
    return context.measures.get(str(folder))


@dataclass(frozen=True)
class Started:
    """The outcome of Start: a run, or problems beside their fields."""

    run: RunDir | None
    problems: Mapping[str, str]


def start_run(context: AppContext, form: RecipeForm, shown: Values) -> Started:
    """Make the recipe, the run and its worker. Raises `RunError` when the worker does not start."""
    try:
        recipe = recipe_of(form, shown)
        check_places(context, recipe)
        run = RunDir.create(context.runs, recipe)
    except RecipeError as error:
        return Started(None, error.problems)
    warn_when_busy(context)
    context.start(run)
    return Started(run, {})


def problem_updates(tab: CompressTab, shown: Values, problems: Mapping[str, str]) -> Updates:
    """Marks at the controls, the fold around them, and the summary above Start."""
    form, now = tab.form, marked_now(tab.form, shown, problems)
    updates = mark_changes(form, shown[tab.marked], now)
    if any(form.is_folded(name) for name in problems):
        updates[form.advanced] = gr.update(open=True)
    return {**updates, tab.problems: _summary(form, problems), tab.marked: now}


def _summary(form: RecipeForm, problems: Mapping[str, str]) -> str:
    if not problems:
        return ""
    lines = [f"{form.title_of(name)}: {message}" for name, message in problems.items()]
    return note("\n".join(["Not started. Please fix:", *lines]), "bad")
