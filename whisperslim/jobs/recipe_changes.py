"""What one set of recipe values has otherwise than another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Change:
    """One knob, by dotted name, as it was and as it is."""

    dotted: str
    before: Any
    after: Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Knobs of both whose values differ, in the order of `after`.

    With another method, its own knobs have nothing to be compared with: the method alone is told.
    """
    same_method = before.get("method.name") == after.get("method.name")
    compared = [n for n in after if n in before and (same_method or not _of_method(n))]
    return [Change(n, before[n], after[n]) for n in compared if not _same(before[n], after[n])]


def _of_method(dotted: str) -> bool:
    return dotted.startswith("method.") and dotted != "method.name"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) == list(other)
    # True is 1 to Python, and not to a recipe.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
