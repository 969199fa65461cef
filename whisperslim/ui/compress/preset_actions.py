"""What the presets' list and buttons do, and the check that follows every change of the form."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.recipe.own_presets import FOLDER, OwnPresets
from whisperslim.jobs.recipe.recipe import Recipe, dotted_values
from whisperslim.ui.compress import check as form_check
from whisperslim.ui.compress import preset_fields
from whisperslim.ui.compress.check import Marked
from whisperslim.ui.compress.form import RecipeForm
from whisperslim.ui.compress.preset_fields import DOWNLOAD, OWN, PresetFields
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.parts.forms import show_values

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def own_presets(context: AppContext) -> OwnPresets:
    """The user's presets: beside the runs, so that they go where the runs go."""
    return OwnPresets(context.runs / FOLDER)


def connect_presets(
    fields: PresetFields,
    form: RecipeForm,
    context: AppContext,
    blocks: gr.Blocks,
    checked: Sequence[Any],
) -> None:
    """Wire the list and the buttons. `checked` are the summary of problems and the marks."""
    own = own_presets(context)
    filled = [*fields.chosen(), *form.components, *form.swapped, *checked]

    def fill(choice: str) -> list[Any]:
        recipe = preset_fields.chosen_recipe(own, choice)
        return [*preset_fields.chosen_updates(own, choice), *_form_of(form, recipe), "", Marked()]

    @for_people
    def choose(choice: str) -> list[Any]:
        return fill(choice)

    @for_people
    def take(raw: object) -> list[Any]:
        return fill(preset_fields.taken(own, raw))

    @for_people
    def delete(choice: str) -> list[Any]:
        own.delete(str(choice).removeprefix(OWN) if str(choice).startswith(OWN) else None)
        return fill(preset_fields.first_preset())

    @for_people
    def save(name: str, *shown: Any) -> list[Any]:
        path = own.save(name, form_check.recipe_of(form, shown))
        return preset_fields.chosen_updates(own, OWN + path.stem)

    @for_people
    def share(*shown: Any) -> str:
        return preset_fields.shared_file(form_check.recipe_of(form, shown))

    gr.on([fields.choice.input, fields.back.click], choose, fields.choice, filled, **_QUIET)
    fields.take.upload(take, fields.take, filled, **_QUIET)
    fields.delete.click(delete, fields.choice, filled, **_QUIET)
    fields.share.click(share, form.components, fields.shared, **_QUIET).success(
        None, fields.shared, None, js=DOWNLOAD
    )
    saved = fields.save.click(save, [fields.name, *form.components], fields.chosen(), **_QUIET)
    look = _check(form, context, own)
    outputs = [*form.components, fields.changes, *checked]
    inputs = [fields.choice, checked[-1], *form.components]
    saved.success(look, inputs, outputs, **_QUIET)
    # While somebody types or drags, only the latest state of the form is worth an answer. Not for a
    # fresh page, which is as the preset: Gradio makes whoever has once been an input costly.
    gr.on(
        [component.change for component in form.components],
        look,
        inputs,
        outputs,
        trigger_mode="always_last",
        concurrency_id="check",
        concurrency_limit=4,
        **_QUIET,
    )

    def arrive() -> list[Any]:
        untouched = form_check.changes_html(
            form, (), preset_fields.title(preset_fields.first_preset())
        )
        return [gr.update(choices=preset_fields.choices(own)), untouched]

    blocks.load(arrive, None, [fields.choice, fields.changes], **_QUIET)


def _check(form: RecipeForm, context: AppContext, own: OwnPresets) -> Callable[..., list[Any]]:
    def look(choice: str, before: Marked, *shown: Any) -> list[Any]:
        problems = form_check.problems_of(context, form, shown)
        now = form_check.marked_now(form, shown, problems)
        marks = form_check.mark_changes(form, before, now)
        summary = gr.skip() if problems else ""
        return [*marks, _changes(form, own, choice, shown), summary, now]

    return for_people(look)


def _changes(form: RecipeForm, own: OwnPresets, choice: str, shown: Sequence[Any]) -> str:
    try:
        preset = preset_fields.chosen_recipe(own, choice)
    except WhisperSlimError:  # deleted in another window: there is nothing to compare with
        return ""
    found = form_check.form_changes(form, shown, preset)
    return form_check.changes_html(form, found, preset_fields.title(choice))


def _form_of(form: RecipeForm, recipe: Recipe) -> list[Any]:
    values = show_values(form.fields, dotted_values(recipe), recipe.method)
    return [*values, *form.shown_parts(recipe.method)]
