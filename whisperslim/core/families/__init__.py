"""Architectures that can be made smaller. A new one is a file here and a line in `_FAMILIES`."""

from typing import Any, cast

from torch import nn

from whisperslim.core.families.base import Family, Slice, UnitGroup, group_by_key, prunable_total
from whisperslim.core.families.whisper import WhisperFamily
from whisperslim.errors import UsageError

__all__ = ["Family", "Slice", "UnitGroup", "family_of", "group_by_key", "prunable_total"]

_FAMILIES: dict[str, Family] = {family.model_type: family for family in (WhisperFamily(),)}


def family_of(model: nn.Module) -> Family:
    """The family of a transformers model, by its `config.model_type`."""
    model_type = cast(Any, model).config.model_type
    if model_type not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        raise UsageError(f"models of type {model_type!r} are not supported; supported: {known}")
    return _FAMILIES[model_type]
