"""A cut model that differs from the masked one is not let through."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.tiny_job import Workshop, drop_some
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import ParityError
from whisperslim.events import (
    Event,
    StepDone,
)
from whisperslim.jobs.stages import prune as stage_prune
from whisperslim.methods.base import Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import load_items


def plain() -> Plain:
    return Plain(PlainOptions(), Target(0.0, 0.0))


def steps_of(seen: Sequence[Event]) -> list[StepDone]:
    return [event for event in seen if isinstance(event, StepDone)]


def parity_context(shop: Workshop) -> Any:
    """As much of a stage's context as the comparison of masked and cut reads."""
    items = load_items(str(shop.folder / "corpus"))
    return SimpleNamespace(
        chosen=lambda part: items,
        audio_cache=shop.folder / "cache",
        window=WindowPolicy(),
        recipe=SimpleNamespace(language="hi"),
    )


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda m: m.model.encoder.layers[0].fc1.bias.data.add_(0.1), "encoder states differ"),
        (lambda m: m.model.encoder.conv1.bias.data.fill_(math.nan), "differ by nan"),
        (lambda m: m.model.decoder.layer_norm.weight.data.neg_(), "same tokens: False"),
    ],
)
def test_a_cut_model_that_differs_from_the_masked_is_not_let_through(
    shop: Workshop, harm: Callable[[Any], Any], message: str
) -> None:
    speech, smaller = shop.student(), shop.student()
    groups, plan = speech.groups(), drop_some(speech)
    cut(smaller.model, groups, plan)
    context = parity_context(shop)
    assert stage_prune.check_parity(context, speech, smaller, groups, plan)["same_tokens"]
    harm(smaller.model)
    with pytest.raises(ParityError, match=message):
        stage_prune.check_parity(context, speech, smaller, groups, plan)
