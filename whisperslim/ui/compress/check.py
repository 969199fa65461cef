"""Checks while the form is changed: which controls are wrong, what differs from the preset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whisperslim.errors import RecipeError
from whisperslim.jobs.recipe.paths import language_problem, with_absolute_paths
from whisperslim.jobs.recipe.recipe import Recipe, dotted_values, from_mapping
from whisperslim.jobs.recipe.text import Change, changes
from whisperslim.ui.compress.form import RecipeForm
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.guard.folders import refused_paths
from whisperslim.ui.parts.forms import chosen_method, fresh, nested, read_form, to_widget, wrong
from whisperslim.ui.parts.markup import text
from whisperslim.ui.parts.updates import Updates, Values

_MOST_LISTED = 8


@dataclass(frozen=True)
class Marked:
    """Which controls of a page are marked as wrong, and with what message."""

    method: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)

    def at(self, dotted: str) -> str | None:
        """The message at a field."""
        return self.problems.get(dotted)


def recipe_of(form: RecipeForm, shown: Values) -> Recipe:
    """The recipe as the form stands. Raises `RecipeError` with every problem by dotted name."""
    return from_mapping(nested(read_form(form.fields, shown)))


def problems_of(context: AppContext, form: RecipeForm, shown: Values) -> Mapping[str, str]:
    """Problems for which Start would refuse, by dotted name; empty when there are none."""
    try:
        return problems_in(context, recipe_of(form, shown))
    except RecipeError as error:
        return error.problems


def problems_in(context: AppContext, recipe: Recipe) -> Mapping[str, str]:
    """As `problems_of`, for a recipe."""
    try:
        # Before any path is accessed: what is elsewhere on this computer must not be revealed.
        check_places(context, recipe)
        with_absolute_paths(recipe)
    except RecipeError as error:
        return error.problems
    return {}


def check_places(context: AppContext, recipe: Recipe) -> None:
    """Raise `RecipeError` for paths that the page may not open, and then for the language, too.

    The language is looked up in the model's folder, so not where that is among those paths.
    """
    found = refused_paths(context.folders.around(context.runs), recipe)
    if not found:
        return
    if "model" not in found and (problem := language_problem(recipe)):
        found["language"] = problem
    raise RecipeError(found)


def mark_changes(form: RecipeForm, before: Marked, now: Marked) -> Updates:
    """Marks to set and remove; unchanged controls are not sent.

    A page of a hundred controls that are all sent again while someone types would stutter.
    """
    updates: Updates = {}
    for each in form.fields:
        was = before.at(each.dotted) if each.applies_to(before.method) else None
        is_now = now.at(each.dotted) if each.applies_to(now.method) else None
        if was != is_now:
            updates[each.component] = wrong(is_now) if is_now is not None else fresh(each)
    return updates


def marked_now(form: RecipeForm, shown: Values, problems: Mapping[str, str]) -> Marked:
    """The marks for these problems."""
    return Marked(chosen_method(form.fields, shown), dict(problems))


def form_changes(form: RecipeForm, shown: Values, preset: Recipe) -> list[Change]:
    """Where the form differs from a preset, in the order of the page."""
    return changes(dotted_values(preset), read_form(form.fields, shown))


def changes_html(form: RecipeForm, found: Sequence[Change], preset: str) -> str:
    """The changes as text, the first few in full."""
    if not found:
        return f'<p class="ws-small ws-changes">Unchanged from {text(preset)}.</p>'
    count = "1 change" if len(found) == 1 else f"{len(found)} changes"
    lines = "".join(f"<li>{_line(form, change)}</li>" for change in found[:_MOST_LISTED])
    more = len(found) - _MOST_LISTED
    rest = f"<li>and {more} more</li>" if more > 0 else ""
    return (
        f'<div class="ws-changes"><p class="ws-small">{count} from {text(preset)}:</p>'
        f"<ul>{lines}{rest}</ul></div>"
    )


def _line(form: RecipeForm, change: Change) -> str:
    title = form.title_of(change.dotted)
    return f"{text(title)}: <s>{_value(change.before)}</s> → <b>{_value(change.after)}</b>"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return text(", ".join(str(one) for one in value)) or "nothing"
    return text(to_widget(value)) if value not in ("", None) else "nothing"
