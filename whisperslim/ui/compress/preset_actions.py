"""What the preset list and its buttons do, and the check after every change of the form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.recipe.own_presets import FOLDER, OwnPresets
from whisperslim.jobs.recipe.recipe import Recipe, dotted_values
from whisperslim.ui.compress import preset_fields
from whisperslim.ui.compress.check import (
    Marked,
    changes_html,
    form_changes,
    mark_changes,
    marked_now,
    problems_in,
    problems_of,
    recipe_of,
)
from whisperslim.ui.compress.form import RecipeForm
from whisperslim.ui.compress.preset_fields import DOWNLOAD, OWN, PresetFields
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.parts.forms import chosen_method, show_values
from whisperslim.ui.parts.updates import Updates, Values

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class FormEvents:
    """What others connect to: `filled` are events after which the form has other values.

    `look_after` checks the form after an event that changes it.
    """

    filled: Sequence[Any]
    look_after: Callable[[Any], None]


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
) -> FormEvents:
    """Wire the list and the buttons. `problems` sums up what is wrong, `marked` marks where."""
    own = own_presets(context)
    checked = [fields.changes, *form.components, problems, marked]
    inputs: set[Block] = {fields.choice, marked, *form.components}

    def fill(choice: str, shown: Values) -> Updates:
        recipe = preset_fields.chosen_recipe(own, choice)
        now = Marked(recipe.method, problems_in(context, recipe))
        return {
            **preset_fields.chosen_updates(fields, own, choice),
            **filled(form, shown, shown[marked], recipe, now),
            fields.changes: changes_html(form, (), preset_fields.title(choice)),
            problems: "",
            marked: now,
        }

    @for_people
    def choose(shown: Values) -> Updates:
        return fill(shown[fields.choice], shown)

    @for_people
    def take(shown: Values) -> Updates:
        return fill(preset_fields.taken(own, shown[fields.take]), shown)

    @for_people
    def delete(shown: Values) -> Updates:
        choice = str(shown[fields.choice])
        own.delete(choice.removeprefix(OWN) if choice.startswith(OWN) else None)
        return fill(preset_fields.first_preset(), shown)

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

    filling = {"inputs": inputs, "outputs": [*fields.chosen(), *form.swapped, *checked], **_QUIET}
    # Gradio reports `input` of a list twice for one choice.
    chosen = gr.on([fields.choice.select, fields.back.click], choose, **filling)
    taken = fields.take.upload(take, **{**filling, "inputs": {fields.take, *inputs}})
    deleted = fields.delete.click(delete, **filling)
    fields.share.click(share, set(form.components), fields.shared, **_QUIET).success(
        None, fields.shared, None, js=DOWNLOAD
    )
    saved = fields.save.click(save, {fields.name, *form.components}, fields.chosen(), **_QUIET)
    looking = {"inputs": inputs, "outputs": checked, **_QUIET}
    saved.success(look, **looking)
    # While someone types or drags, only the latest state of the form is worth an answer. Only what
    # people change: a preset changes thirty controls, and would be looked at thirty times.
    gr.on(
        [field.component.input for field in form.fields],
        look,
        trigger_mode="always_last",
        concurrency_id="check",
        concurrency_limit=4,
        **looking,
    )

    def arrive() -> Updates:
        preset = preset_fields.title(preset_fields.first_preset())
        return {
            fields.choice: gr.update(choices=preset_fields.choices(own)),
            fields.changes: changes_html(form, (), preset),
        }

    blocks.load(arrive, None, [fields.choice, fields.changes], **_QUIET)

    def look_after(event: Any) -> None:
        event.success(look, **looking)

    return FormEvents([chosen, taken, deleted], look_after)


def filled(form: RecipeForm, shown: Values, before: Marked, recipe: Recipe, now: Marked) -> Updates:
    """The form with a recipe's values and marks; controls that have them already are not sent.

    A browser takes tenths of a second for each that is sent when the machine is busy.
    """
    marks = mark_changes(form, before, now)
    values = show_values(form.fields, shown, dotted_values(recipe), recipe.method)
    both = {each: {**marks.get(each, {}), **values.get(each, {})} for each in {**marks, **values}}
    was = chosen_method(form.fields, shown)
    return {**both, **(form.shown_parts(recipe.method) if was != recipe.method else {})}


def _changes(form: RecipeForm, own: OwnPresets, choice: str, shown: Values) -> str:
    try:
        preset = preset_fields.chosen_recipe(own, choice)
    except WhisperSlimError:  # deleted in another window: nothing to compare with
        return ""
    return changes_html(form, form_changes(form, shown, preset), preset_fields.title(choice))
