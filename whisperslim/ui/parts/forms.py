"""Recipe fields as form controls: made from `FieldSpec`, read back as recipe values.

Nothing here knows a knob by name. A field's control follows from its default value's type, its
choices and its bounds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from whisperslim.fields import FieldSpec
from whisperslim.ui.parts.updates import Update, Updates, Values

Control = gr.Checkbox | gr.Dropdown | gr.Number | gr.Slider | gr.Textbox

Offered = str | tuple[str, str]
"""A suggestion: a value, or what people call it and the value."""

# A slider with more stops than this is hard to set by hand.
_MOST_STOPS = 1000


@dataclass(frozen=True)
class FieldInput:
    """One control. `method` is the method it belongs to, empty for fields of every method."""

    dotted: str
    method: str
    spec: FieldSpec
    default: Any
    component: Control

    @property
    def section(self) -> str:
        """The recipe section, empty at the top."""
        return self.dotted.rpartition(".")[0]

    def applies_to(self, method: str) -> bool:
        """Whether the field is part of a recipe with this method."""
        return self.method in ("", method)


def make_input(
    dotted: str,
    spec: FieldSpec,
    default: Any,
    *,
    method: str = "",
    suggestions: Sequence[Offered] = (),
) -> FieldInput:
    """A control for one field, in the Blocks context now open.

    With `suggestions`, a text field becomes a list that also accepts other text.
    """
    common: dict[str, Any] = {
        "label": label_of(dotted, spec),
        "info": spec.help,
        "elem_id": _element_id(dotted, method),
        "min_width": 190,
    }
    return FieldInput(dotted, method, spec, default, _component(spec, default, suggestions, common))


def label_of(dotted: str, spec: FieldSpec) -> str:
    """The declared label, or the field's name as words; with the unit."""
    name = spec.label or dotted.rpartition(".")[2].replace("_", " ").capitalize()
    return f"{name} ({spec.unit})" if spec.unit and spec.unit.lower() not in name.lower() else name


def to_widget(value: Any) -> Any:
    """A recipe value as a control shows it: lists have one entry per line."""
    return "\n".join(value) if isinstance(value, (list, tuple)) else value


def to_value(shown: Any, default: Any) -> Any:
    """A control's content as a recipe value; what cannot be one is left to the recipe's check."""
    if isinstance(default, (list, tuple)):
        if isinstance(shown, list):
            return shown
        lines = str(shown or "").splitlines()
        return [line.strip() for line in lines if line.strip()]
    if isinstance(default, bool):
        return shown
    if isinstance(default, int) and isinstance(shown, float) and shown.is_integer():
        return int(shown)
    if isinstance(default, float) and isinstance(shown, int) and not isinstance(shown, bool):
        return float(shown)
    if isinstance(default, str):
        return "" if shown is None else str(shown).strip()
    return shown


def read_form(fields: Sequence[FieldInput], shown: Values) -> dict[str, Any]:
    """Dotted values of the fields that belong to the chosen method."""
    method = chosen_method(fields, shown)
    own = [field for field in fields if field.applies_to(method)]
    return {field.dotted: to_value(shown[field.component], field.default) for field in own}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`, as recipes are written."""
    mapping: dict[str, Any] = {}
    for dotted, value in values.items():
        section, _, key = dotted.rpartition(".")
        if section:
            mapping.setdefault(section, {})[key] = value
        else:
            mapping[key] = value
    return mapping


def chosen_method(fields: Sequence[FieldInput], shown: Values) -> str:
    """The method's name as the form stands."""
    return str(next(shown[f.component] for f in fields if f.dotted == "method.name"))


def show_values(
    fields: Sequence[FieldInput], shown: Values, values: Mapping[str, Any], method: str
) -> Updates:
    """Puts `values` into the form; controls that show them already do not change.

    Neither do controls of other methods.
    """
    wanted = {
        f.component: _shown(f.spec, values[f.dotted])
        for f in fields
        if f.applies_to(method) and f.dotted in values
    }
    return {each: gr.update(value=value) for each, value in wanted.items() if shown[each] != value}


def wrong(problem: str) -> Update:
    """An update that marks a control and shows the problem in place of its help."""
    return gr.update(info=f"⚠ {problem}", elem_classes=["ws-wrong"])


def fresh(field: FieldInput) -> Update:
    """An update that restores a control's help and removes its mark."""
    return gr.update(info=field.spec.help, elem_classes=[])


def _shown(spec: FieldSpec, value: Any) -> Any:
    several = spec.choices and isinstance(value, (list, tuple))
    return list(value) if several else to_widget(value)


def _element_id(dotted: str, method: str) -> str:
    name = dotted.replace(".", "-").replace("_", "-")
    return f"field-{name}-{method}" if method else f"field-{name}"


def _component(
    spec: FieldSpec, default: Any, suggestions: Sequence[Offered], common: dict[str, Any]
) -> Control:
    if isinstance(default, bool):
        return gr.Checkbox(value=default, **common)
    if spec.choices:
        several = isinstance(default, (list, tuple))
        value = _shown(spec, default)
        return gr.Dropdown(
            choices=[(spec.words.get(one, one), one) for one in spec.choices],
            value=value,
            multiselect=several or None,
            **common,
        )
    if suggestions:
        own = [] if default in [_value(each) for each in suggestions] else [default]
        choices = [*suggestions, *own]
        return gr.Dropdown(choices=choices, value=default, allow_custom_value=True, **common)
    if isinstance(default, (int, float)):
        return _number(spec, default, common)
    lines = 2 if isinstance(default, (list, tuple)) else 1
    return gr.Textbox(value=to_widget(default), lines=lines, max_lines=6, **common)


def _value(offered: Offered) -> str:
    return offered if isinstance(offered, str) else offered[1]


def _number(spec: FieldSpec, default: float, common: dict[str, Any]) -> Control:
    if _slidable(spec):
        bounds: Any = {"minimum": spec.minimum, "maximum": spec.maximum, "step": spec.step}
        return gr.Slider(value=default, buttons=[], **bounds, **common)
    # No bounds on the control: the recipe's own check reports beside the field.
    return gr.Number(value=default, **common)


def _slidable(spec: FieldSpec) -> bool:
    if spec.minimum is None or spec.maximum is None or not spec.step:
        return False
    return (spec.maximum - spec.minimum) / spec.step <= _MOST_STOPS + 0.5
