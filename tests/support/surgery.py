"""A model cut by a plan beside the same model masked by it, which must compute the same."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from tests.support.models.inputs import WHISPERS
from tests.support.tiny_job import same, weights
from whisperslim.core.families.base import UnitSite
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.store.checkpoint import count_parameters, describe_cut, save_slim
from whisperslim.core.surgery.gates import masked
from whisperslim.core.surgery.shrink import cut
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.batching import Batch, make_batch
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.forward import decode_targets, encode_batch, targets_of

DEMO = Path(__file__).parents[2] / "assets" / "demo_hi"
T = TypeVar("T")


class Computed(NamedTuple):
    """Encoder states of a batch, logits of its texts, and the texts that the model writes."""

    states: torch.Tensor
    logits: torch.Tensor
    texts: object


def masked_and_cut(
    model: nn.Module,
    sites: Sequence[UnitSite],
    plan: PruningPlan,
    compute: Callable[[nn.Module], T],
) -> tuple[nn.Module, T, T]:
    """A cut copy of `model`, and what `compute` gives for the masked and for the cut model."""
    smaller = deepcopy(model)
    cut(smaller, sites, plan)
    with torch.no_grad(), masked(model, sites, plan):
        wanted = compute(model)
    with torch.no_grad():
        return smaller, wanted, compute(smaller)


def cut_copy(speech: SpeechModel, plan: PruningPlan) -> SpeechModel:
    smaller = replace(speech, model=deepcopy(speech.model))
    cut(smaller.model, speech.groups(), plan)
    return smaller


def computed(speech: SpeechModel, batch: Batch) -> Computed:
    states = encode_batch(speech, batch)
    logits = decode_targets(speech, states, targets_of(speech, batch, "hi")).logits
    texts = speech.family.decode(speech.model, speech.tokens, states, batch.seconds, "hi")
    return Computed(states, logits, texts)


def checked_cut(
    speech: SpeechModel, plan: PruningPlan, batch: Batch, within: float = 1e-5
) -> SpeechModel:
    """A cut copy of `speech`, once masked equals cut: in states, logits and texts.

    `within` is the largest difference, as a share of the largest value: the order of sums differs.
    """
    model, wanted, found = masked_and_cut(
        speech.model, speech.groups(), plan, lambda m: computed(replace(speech, model=m), batch)
    )
    for ours, theirs in zip(found[:2], wanted[:2], strict=True):
        assert (ours - theirs).abs().max() <= within * theirs.abs().max()
    assert found.texts == wanted.texts
    return replace(speech, model=model)


def reloaded(
    whole: SpeechModel, smaller: SpeechModel, plan: PruningPlan, folder: Path
) -> SpeechModel:
    """`smaller`, which `plan` cut, saved to `folder` and loaded again: the same to the bit."""
    record = describe_cut("tiny", whole.groups(), count_parameters(whole.model), plan, "hi")
    save_slim(folder, smaller.model, record, side_files=whole.path)
    again = load_model(str(folder))
    again.model.set_attn_implementation(smaller.model.config._attn_implementation)
    assert same(weights(again), weights(smaller))
    assert same(dict(again.model.named_buffers()), dict(smaller.model.named_buffers()))
    return again


def demo_batch() -> Batch:
    """One clip of speech, for Whisper-base."""
    item = load_items(str(DEMO))[0]
    return make_batch([item], [decode(item.path)], WindowPolicy(), input_spec=WHISPERS)
