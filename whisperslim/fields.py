"""One declaration per knob: the recipe key, the command-line help and the slider all read it.

Leaf module. An options class is a frozen dataclass whose fields are made by `option(...)` and whose
`__post_init__` calls `check(self)`, which reports every wrong field at once.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from whisperslim.errors import RecipeError

_T = TypeVar("_T")
# Names in records of earlier versions -> today's.
_OLD_SPELLING = {"normaliser": "normalizer", "centre": "center"}


@dataclass(frozen=True)
class FieldSpec:
    """What a form, a help text and a check need to know about one field.

    `minimum` and `maximum` are inclusive. `step` is the slider's step. `advanced` fields are
    folded away in the app. Of a list, every entry is one of `choices`; `words` has what people call
    them, of those that have such a name.
    """

    help: str
    unit: str = ""
    label: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    advanced: bool = True
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)


def option(
    default: Any,
    help: str | Callable[[], str],
    *,
    unit: str = "",
    label: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    step: float | None = None,
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = (),
    advanced: bool = True,
    before: Any = None,
    words: Mapping[str, str] | None = None,
) -> Any:
    """Declare a dataclass field together with its `FieldSpec`. Returns what `field` returns.

    `help` and `choices` may be functions, for what a registry knows: they are called when needed.
    `before` is the value for runs older than the option, where that is not the default.
    """

    def spec() -> FieldSpec:
        now = _asked(help), unit, label, minimum, maximum, step, _asked(choices), advanced
        return FieldSpec(*now, words=words or {})

    return dataclasses.field(default=default, metadata={"spec": spec, "before": before})


def specs(options: Any) -> dict[str, FieldSpec]:
    """The `FieldSpec` of every declared field of an options class or instance, in order."""
    declared = [f for f in dataclasses.fields(options) if "spec" in f.metadata]
    return {f.name: f.metadata["spec"]() for f in declared}


def values_before(options: Any) -> dict[str, Any]:
    """By option name, the value for runs older than the option."""
    found = {f.name: f.metadata.get("before") for f in dataclasses.fields(options)}
    return {name: value for name, value in found.items() if value is not None}


def problems(options: Any, prefix: str = "") -> dict[str, str]:
    """Dotted field name -> what is wrong with its value; empty when all is well."""
    found = {}
    for field in dataclasses.fields(options):
        spec = field.metadata.get("spec")
        if spec is not None:
            message = _problem(getattr(options, field.name), field.default, spec())
            if message:
                found[prefix + field.name] = message
    return found


def spelled_now(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the names of today, also when an earlier version wrote it."""
    return {_OLD_SPELLING.get(name, name): value for name, value in record.items()}


def check(options: Any) -> None:
    """Raise `RecipeError` naming every wrong field of `options`."""
    found = problems(options)
    if found:
        raise RecipeError(found)


def _asked(value: _T | Callable[[], _T]) -> _T:
    return value() if callable(value) else value


def _problem(value: Any, default: Any, spec: FieldSpec) -> str:
    wrong_type = _type_problem(value, default)
    if wrong_type:
        return wrong_type
    chosen = value if isinstance(value, tuple) else (value,)
    for one in chosen if spec.choices else ():
        if one not in spec.choices:
            return f"{one!r} is not one of {', '.join(spec.choices)}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _range_problem(value, spec)
    return ""


def _type_problem(value: Any, default: Any) -> str:
    if value is None and default is not None:
        return "is empty; give a value"
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else f"{value!r} is not true or false"
    if isinstance(default, int):
        ok = isinstance(value, int) and not isinstance(value, bool)
        return "" if ok else f"{value!r} is not a whole number"
    if isinstance(default, float):
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        return "" if ok else f"{value!r} is not a number"
    if isinstance(default, str):
        return "" if isinstance(value, str) else f"{value!r} is not text"
    if isinstance(default, tuple):
        ok = isinstance(value, tuple) and all(isinstance(v, str) for v in value)
        return "" if ok else f"{value!r} is not a list of texts"
    return ""


def _range_problem(value: float, spec: FieldSpec) -> str:
    if not math.isfinite(value):
        return f"{value} is not a finite number"
    low, high = spec.minimum, spec.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
        return f"{value} is outside {bounds}{' ' + spec.unit if spec.unit else ''}"
    return ""
