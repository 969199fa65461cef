"""The recipe as one long form: cards for what most people set, the rest folded by section."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from whisperslim import methods
from whisperslim.fields import FieldSpec
from whisperslim.jobs.recipe.recipe import Recipe, dotted_specs, dotted_values, load_recipe
from whisperslim.text.languages import choices
from whisperslim.ui.parts.forms import Control, FieldInput, Offered, label_of, make_input
from whisperslim.ui.parts.markup import text
from whisperslim.ui.parts.updates import Updates

# Sections in the order of the page; a section not named here comes after these.
_TITLES = {
    "": "What to make smaller",
    "target": "How much to remove",
    "head": "What writes the text",
    "vocabulary": "Which tokens stay",
    "method": "How it is found",
    "data": "Recordings",
    "prepare": "Tuning before compression",
    "train": "Training",
    "shrink": "At the cut",
    "recover": "Recovery after the cut",
    "interpolate": "Between before and after tuning",
    "distill": "Learning from a teacher",
    "augment": "Varied recordings",
    "evaluate": "Scoring",
    "export": "Saved model",
    "runtime": "Machine",
}


@dataclass(frozen=True)
class RecipeForm:
    """Every control, from top to bottom, and what shows or hides them."""

    fields: tuple[FieldInput, ...]
    method_parts: tuple[tuple[str, gr.Column], ...]
    summary: gr.HTML
    advanced: gr.Accordion

    @property
    def components(self) -> list[Block]:
        """The controls."""
        return [field.component for field in self.fields]

    def component(self, dotted: str) -> Control:
        """The control of one field that does not depend on the method."""
        return next(f.component for f in self.fields if f.dotted == dotted and not f.method)

    @property
    def swapped(self) -> list[Block]:
        """What depends on the method: its knobs and its summary."""
        return [self.summary, *(part for _, part in self.method_parts)]

    def shown_parts(self, method: str) -> Updates:
        """Updates that leave only this method's own knobs on the page.

        Raises `UsageError` when there is no such method.
        """
        summary = method_summary(method)
        updates: Updates = {self.summary: summary}
        for name, part in self.method_parts:
            updates[part] = gr.update(visible=name == method)
        return updates

    def title_of(self, dotted: str) -> str:
        """Where a field is on the page; its dotted name when it is not there."""
        section = dotted.rpartition(".")[0]
        for field in self.fields:
            if field.dotted == dotted:
                label = label_of(dotted, field.spec)
                return f"{_title(section)}, {label}" if section else label
        return dotted

    def is_folded(self, dotted: str) -> bool:
        """Whether a field is in the folded part."""
        return any(f.dotted == dotted and f.spec.advanced for f in self.fields)


def lay_out(preset: str, models: list[str]) -> RecipeForm:
    """The whole form with a preset's values, in the open Blocks context."""
    builder = _Builder(load_recipe(preset), {"model": models, "language": choices()})
    builder.cards()
    with gr.Accordion("Advanced options", open=False, elem_classes=["ws-advanced"]) as advanced:
        builder.folded()
    return RecipeForm(tuple(builder.fields), tuple(builder.parts), builder.summary, advanced)


def method_summary(method: str) -> str:
    """What a method does, as HTML. Raises `UsageError` when there is no such method."""
    return f'<p class="ws-lead">{text(methods.get(method).summary.rstrip("."))}.</p>'


class _Builder:
    def __init__(self, recipe: Recipe, suggestions: Mapping[str, Sequence[Offered]]) -> None:
        self._recipe = recipe
        self._values = dotted_values(recipe)
        self._suggestions = suggestions
        self.fields: list[FieldInput] = []
        self.parts: list[tuple[str, gr.Column]] = []
        self.summary: gr.HTML

    def cards(self) -> None:
        """Everything that is not advanced."""
        for section in self._sections():
            if section == "method" or self._wanted(section, advanced=False):
                self._title(section)
                self._fields_of(section, advanced=False)

    def folded(self) -> None:
        """The advanced fields, by section."""
        for section in self._sections():
            if self._has_advanced(section):
                self._title(section)
                self._fields_of(section, advanced=True)

    def _sections(self) -> list[str]:
        found = {name.rpartition(".")[0] for name in dotted_specs(self._recipe.method)}
        return [s for s in _TITLES if s in found] + sorted(found - set(_TITLES))

    def _has_advanced(self, section: str) -> bool:
        if section == "method":
            return any(self._knobs(name, advanced=True) for name in methods.names())
        return bool(self._wanted(section, advanced=True))

    def _title(self, section: str) -> None:
        gr.HTML(f'<h3 class="ws-section">{text(_title(section))}</h3>')

    def _fields_of(self, section: str, *, advanced: bool) -> None:
        shared = self._wanted(section, advanced=advanced)
        self._rows(shared, self._values, "")
        if section == "method":
            if not advanced:
                self.summary = gr.HTML(
                    method_summary(self._recipe.method), elem_id="method-summary"
                )
            for name in methods.names():
                self._method_part(name, advanced=advanced)

    def _wanted(self, section: str, *, advanced: bool) -> dict[str, FieldSpec]:
        """Fields of a section that every method has."""
        return {
            name: spec
            for name, spec in dotted_specs(self._recipe.method).items()
            if name.rpartition(".")[0] == section
            and spec.advanced == advanced
            and (section != "method" or name == "method.name")
        }

    def _knobs(self, method: str, *, advanced: bool) -> dict[str, FieldSpec]:
        return {
            name: spec
            for name, spec in dotted_specs(method).items()
            if name.startswith("method.") and name != "method.name" and spec.advanced == advanced
        }

    def _method_part(self, method: str, *, advanced: bool) -> None:
        knobs = self._knobs(method, advanced=advanced)
        if not knobs:
            return
        with gr.Column(visible=method == self._recipe.method) as part:
            self._rows(knobs, self._method_values(method), method)
        self.parts.append((method, part))

    def _method_values(self, method: str) -> dict[str, Any]:
        if method == self._recipe.method:
            return self._values
        return {f"method.{k}": v for k, v in vars(methods.get(method).options()).items()}

    def _rows(
        self, wanted: Mapping[str, FieldSpec], values: Mapping[str, Any], method: str
    ) -> None:
        items = list(wanted.items())
        across = 3 if len(items) == 3 else 2
        for first in range(0, len(items), across):
            with gr.Row():
                for name, spec in items[first : first + across]:
                    self.fields.append(
                        make_input(
                            name,
                            spec,
                            values[name],
                            method=method,
                            suggestions=self._suggestions.get(name, ()),
                        )
                    )


def _title(section: str) -> str:
    return _TITLES.get(section, section.replace("_", " ").capitalize())
