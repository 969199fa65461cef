"""What the preset list and its buttons do, and the check after every change of the form."""

from typing import Any

import gradio as gr

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.recipe.own_presets import FOLDER, OwnPresets
from whisperslim.jobs.recipe.recipe import dotted_values
from whisperslim.ui.compress import preset_fields
from whisperslim.ui.compress.check import (
    Marked,
    changes_html,
    form_changes,
    mark_changes,
    marked_now,
    problems_of,
    recipe_of,
)
from whisperslim.ui.compress.form import RecipeForm
from whisperslim.ui.compress.preset_fields import DOWNLOAD, OWN, PresetFields
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.parts.forms import show_values
from whisperslim.ui.parts.updates import Updates, Values

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def own_presets(context: AppContext) -> OwnPresets:
    """The user's presets, kept beside the runs so that they move with them."""
    return OwnPresets(context.runs / FOLDER)


def connect_presets(
    fields: PresetFields,
    form: RecipeForm,
    context: AppContext,
    blocks: gr.Blocks,
    problems: gr.HTML,
    marked: gr.State,
) -> None:
    """Wire the list and the buttons. `problems` sums up what is wrong, `marked` marks where."""
    own = own_presets(context)
    checked = [*form.components, problems, marked]
    filled = [*fields.chosen(), *form.swapped, *checked]

    def fill(choice: str) -> Updates:
        recipe = preset_fields.chosen_recipe(own, choice)
        return {
            **preset_fields.chosen_updates(fields, own, choice),
            **show_values(form.fields, dotted_values(recipe), recipe.method),
            **form.shown_parts(recipe.method),
            problems: "",
            marked: Marked(),
        }

    @for_people
    def choose(choice: str) -> Updates:
        return fill(choice)

    @for_people
    def take(raw: object) -> Updates:
        return fill(preset_fields.taken(own, raw))

    @for_people
    def delete(choice: str) -> Updates:
        own.delete(str(choice).removeprefix(OWN) if str(choice).startswith(OWN) else None)
        return fill(preset_fields.first_preset())

    @for_people
    def save(shown: Values) -> Updates:
        path = own.save(shown[fields.name], recipe_of(form, shown))
        return preset_fields.chosen_updates(fields, own, OWN + path.stem)

    @for_people
    def share(shown: Values) -> str:
        return preset_fields.shared_file(recipe_of(form, shown))

    @for_people
    def look(shown: Values) -> Updates:
        found = problems_of(context, form, shown)
        now = marked_now(form, shown, found)
        updates = mark_changes(form, shown[marked], now)
        updates[fields.changes] = _changes(form, own, shown[fields.choice], shown)
        updates[marked] = now
        if not found:  # only Start lists what is wrong; its list is removed when all is well
            updates[problems] = ""
        return updates

    gr.on([fields.choice.input, fields.back.click], choose, fields.choice, filled, **_QUIET)
    fields.take.upload(take, fields.take, filled, **_QUIET)
    fields.delete.click(delete, fields.choice, filled, **_QUIET)
    fields.share.click(share, set(form.components), fields.shared, **_QUIET).success(
        None, fields.shared, None, js=DOWNLOAD
    )
    saved = fields.save.click(save, {fields.name, *form.components}, fields.chosen(), **_QUIET)
    inputs = {fields.choice, marked, *form.components}
    outputs = [fields.changes, *checked]
    saved.success(look, inputs, outputs, **_QUIET)
    # While someone types or drags, only the latest state of the form is worth an answer. Not for a
    # fresh page, which is as the preset: in Gradio, being an input makes a component expensive.
    gr.on(
        [field.component.change for field in form.fields],
        look,
        inputs,
        outputs,
        trigger_mode="always_last",
        concurrency_id="check",
        concurrency_limit=4,
        **_QUIET,
    )

    def arrive() -> Updates:
        preset = preset_fields.title(preset_fields.first_preset())
        return {
            fields.choice: gr.update(choices=preset_fields.choices(own)),
            fields.changes: changes_html(form, (), preset),
        }

    blocks.load(arrive, None, [fields.choice, fields.changes], **_QUIET)


def _changes(form: RecipeForm, own: OwnPresets, choice: str, shown: Values) -> str:
    try:
        preset = preset_fields.chosen_recipe(own, choice)
    except WhisperSlimError:  # deleted in another window: nothing to compare with
        return ""
    return changes_html(form, form_changes(form, shown, preset), preset_fields.title(choice))
