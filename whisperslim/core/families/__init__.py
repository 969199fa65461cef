"""Architectures that can be made smaller. A new one: a folder here and a `register` line."""

from typing import Any, cast

from torch import nn

from whisperslim.core.families.base import (
    AttentionSite,
    Family,
    Group,
    NarrowsHeads,
    OpensLinears,
    Slice,
    TakesCTCHead,
    UnitGroup,
    UnitSite,
    group_by_key,
    prunable_total,
    total_price,
    unlimited,
)
from whisperslim.core.families.parakeet.model import ParakeetFamily
from whisperslim.core.families.wav2vec2.model import (
    ConformerFamily,
    HubertFamily,
    Wav2Vec2Family,
)
from whisperslim.core.families.whisper.model import WhisperFamily
from whisperslim.core.families.whisper_ctc.model import WhisperCTCFamily
from whisperslim.errors import UsageError

__all__ = [
    "AttentionSite",
    "Family",
    "Group",
    "NarrowsHeads",
    "OpensLinears",
    "Slice",
    "TakesCTCHead",
    "UnitGroup",
    "UnitSite",
    "family_named",
    "family_of",
    "group_by_key",
    "prunable_total",
    "register",
    "total_price",
    "unlimited",
    "unregister",
]

_FAMILIES: dict[str, Family] = {}


def register(family: Family) -> None:
    """Add a family under its `model_type`. Refuses a type that is taken."""
    if family.model_type in _FAMILIES:
        raise UsageError(f"a family for {family.model_type!r} is registered already")
    _FAMILIES[family.model_type] = family


def unregister(model_type: str) -> None:
    """Remove a family, for tests and plug-ins that come and go."""
    del _FAMILIES[family_named(model_type).model_type]


def family_of(model: nn.Module) -> Family:
    """The family of a transformers model, by its `config.model_type`."""
    return family_named(cast(Any, model).config.model_type)


def family_named(model_type: str) -> Family:
    """The family of that name. Raises `UsageError` naming those there are."""
    if model_type not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        raise UsageError(f"models of type {model_type!r} are not supported; supported: {known}")
    return _FAMILIES[model_type]


register(WhisperFamily())
register(WhisperCTCFamily())
register(Wav2Vec2Family())
register(HubertFamily())
register(ConformerFamily())
register(ParakeetFamily())
