"""Architectures that can be made smaller. A new one is a file here and a line in `_FAMILIES`."""

from typing import Any, cast

from torch import nn

from whisperslim.core.families.base import (
    Family,
    Group,
    Slice,
    UnitGroup,
    UnitSite,
    group_by_key,
    prunable_total,
    total_price,
    unlimited,
)
from whisperslim.core.families.whisper.model import WhisperFamily
from whisperslim.errors import UsageError

__all__ = [
    "Family",
    "Group",
    "Slice",
    "UnitGroup",
    "UnitSite",
    "family_named",
    "family_of",
    "group_by_key",
    "prunable_total",
    "total_price",
    "unlimited",
]

_FAMILIES: dict[str, Family] = {family.model_type: family for family in (WhisperFamily(),)}


def family_of(model: nn.Module) -> Family:
    """The family of a transformers model, by its `config.model_type`."""
    return family_named(cast(Any, model).config.model_type)


def family_named(model_type: str) -> Family:
    """The family of that name. Raises `UsageError` naming those there are."""
    if model_type not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        raise UsageError(f"models of type {model_type!r} are not supported; supported: {known}")
    return _FAMILIES[model_type]
