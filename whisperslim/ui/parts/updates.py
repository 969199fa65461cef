"""What handlers take from the page and return to it: values by component, never by position."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import gradio as gr
from gradio.blocks import Block

T = TypeVar("T")

Update = dict[str, Any]
"""What `gr.update(...)` returns: the properties of one component that change."""

Updates = dict[Block, Any]
"""Component -> its new value, or `gr.update(...)`. Components left out stay as they are."""

Values = Mapping[Block, Any]
"""Component -> its value, as Gradio passes it to a handler whose inputs are a set."""


def unchanged() -> Updates:
    """No component changes: what a handler returns instead of an empty dict.

    Gradio treats an empty dict as too few values and raises. Do not merge it with updates.
    """
    nothing: Updates = gr.skip()
    return nothing


def inputs_of(kind: type, components: object) -> set[Block]:
    """The components that `read` reads: those named as the fields of the dataclass `kind`."""
    return {getattr(components, each.name) for each in fields(kind)}


def read(kind: type[T], components: object, values: Values) -> T:
    """A `kind`, a dataclass, with the values of the components of the same names.

    The values are unchecked: a browser may send anything.
    """
    # mypy has no type for "a class that is a dataclass".
    named = {each.name: values[getattr(components, each.name)] for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**named)
