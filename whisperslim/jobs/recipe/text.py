"""Recipes as text: strict YAML in, complete YAML out, `--set a.b=c`, and what differs."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whisperslim.core.disk.untrusted import MOST_YAML_BYTES, read_plain, yaml_of
from whisperslim.errors import RecipeError

_TRUTH = {"true": True, "false": False}


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key given twice; plain YAML would silently keep the last."""


def _unique_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is not text", key_node.start_mark
            )
        if key in mapping:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is given twice; keep one of them", key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def from_yaml(path: Path, *, links: bool = True) -> dict[str, Any]:
    """The mapping in a YAML file, which may be behind `links`.

    Raises `RecipeError` for anything else.
    """
    try:
        text = read_plain(path.resolve() if links else path, MOST_YAML_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise RecipeError({str(path): f"cannot be read: {error}"}) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, called: str) -> dict[str, Any]:
    """The mapping in YAML text, named `called` in messages. Raises `RecipeError` for anything
    else.
    """
    try:
        loaded = yaml_of(text, _StrictLoader)
    except ValueError as error:
        raise RecipeError({called: f"not valid YAML: {error}"}) from error
    if not isinstance(loaded, dict):
        raise RecipeError({called: "is not a recipe; expected sections such as `data:`"})
    return loaded


def to_text(mapping: Mapping[str, Any]) -> str:
    """Nested plain values as YAML, in their own order."""
    text: str = yaml.safe_dump(dict(mapping), sort_keys=False, allow_unicode=True, width=1000)
    return text


def plain(options: Any) -> dict[str, Any]:
    """An options instance as YAML's own types: tuples become lists."""
    values = dataclasses.asdict(options)
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def flatten(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`, one level deep as recipes are."""
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            flat[name] = value
    return flat


def parse_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """`["train.steps=30"]` as `{"train.steps": "30"}`. Raises `RecipeError`; a later one wins."""
    values, wrong = {}, {}
    for text in overrides:
        name, mark, value = text.partition("=")
        if not mark or not name.strip():
            wrong[text] = "write section.key=value, for example train.steps=100"
        values[name.strip()] = value.strip()
    if wrong:
        raise RecipeError(wrong)
    return values


def coerce(value: Any, default: Any, *, from_text: bool = False) -> Any:
    """`value` in the type of `default` where that loses nothing; otherwise as it is.

    YAML 1.1 reads `3e-5` as text, and has no tuples. With `from_text`, the value was typed on a
    command line: numbers, true/false and lists are read from the text. Raises `ValueError` for a
    typed list that is not valid.
    """
    if isinstance(default, tuple):
        return _typed_list(value) if from_text else _as_tuple(value)
    if isinstance(default, bool):
        return _TRUTH.get(value.lower(), value) if from_text else value
    if isinstance(default, int) and from_text:
        return _number(value, int)
    if isinstance(default, float):
        return _as_float(value)
    return value


def _as_tuple(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _typed_list(text: str) -> tuple[str, ...]:
    """Entries between commas, or a list of YAML or JSON. A bare entry may end in a slice, `[:9]`.

    Raises `ValueError` when a bracket or a quote is left open, or an entry is no text.
    """
    found: Any = None
    if text.startswith(("[", '"', "'")):
        found = _yaml_list(text if text.startswith("[") else f"[{text}]")
    elif text.count("[") == text.count("]"):
        found = text.split(",")
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise ValueError(f'{text!r} is not a list; write a,b or [a,b] or \'["a","b"]\'')
    return tuple(entry.strip() for entry in found if entry.strip())


def _yaml_list(text: str) -> Any:
    try:
        # The base loader keeps every entry as text: `no` and `1` may be names of folders.
        return yaml_of(text, yaml.BaseLoader)
    except ValueError:
        return None


def _as_float(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return _number(value, float) if whole or isinstance(value, str) else value


def _number(value: Any, kind: type[int] | type[float]) -> Any:
    try:
        return kind(value)
    except (ValueError, OverflowError):
        return value


@dataclass(frozen=True)
class Change:
    """One knob, by dotted name, before and after."""

    dotted: str
    before: Any
    after: Any


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Knobs of both whose values differ, in the order of `after`.

    With another method, only the method is listed: its own knobs have nothing to compare with.
    """
    same_method = before.get("method.name") == after.get("method.name")
    compared = [n for n in after if n in before and (same_method or not _of_method(n))]
    return [Change(n, before[n], after[n]) for n in compared if not _same(before[n], after[n])]


def _of_method(dotted: str) -> bool:
    return dotted.startswith("method.") and dotted != "method.name"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) == list(other)
    # True equals 1 in Python, but not in a recipe.
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
