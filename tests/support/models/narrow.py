"""A tiny Whisper with narrower heads, fitted to noise."""

from collections.abc import Sequence
from typing import Any

import torch

from tests.support.tiny import VOCABULARY
from whisperslim.core.families import AttentionSite, NarrowsHeads, family_of
from whisperslim.core.surgery.head_width import SortedHeads, sorted_heads, watching
from whisperslim.core.surgery.moments import Moments, MomentWatch
from whisperslim.core.surgery.shrink import narrow_heads


def noise_inputs() -> dict[str, torch.Tensor]:
    """Features and tokens of three clips, as the model's forward pass takes them."""
    generator = torch.Generator().manual_seed(1)
    return {
        "input_features": torch.randn(3, 80, 3000, generator=generator),
        "decoder_input_ids": torch.randint(0, VOCABULARY, (3, 12), generator=generator),
    }


def attentions(model: Any) -> tuple[AttentionSite, ...]:
    """All attentions of a model whose family has heads of any width."""
    family = family_of(model)
    assert isinstance(family, NarrowsHeads)
    return family.attentions(model)


@torch.no_grad()
def sorted_on_noise(model: Any) -> list[SortedHeads]:
    """Every attention of the model, sorted on `noise_inputs`."""
    moments = _moments(model)
    return [sorted_heads(model, site, moments) for site in attentions(model)]


def narrow_to(model: Any, widths: Sequence[int]) -> None:
    """Give the heads of each attention, in order, so many dimensions."""
    found = sorted_on_noise(model)
    named = {each.site.key: width for each, width in zip(found, widths, strict=True)}
    narrow_heads(model, found, named)


def _moments(model: Any) -> dict[str, Moments]:
    watch = MomentWatch(watching(attentions(model)))
    watch.attach(model)
    model(**noise_inputs())
    watch.detach()
    return watch.moments()
