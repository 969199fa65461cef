"""Whisper as two graphs whose caches are one tensor for all layers, as sherpa-onnx passes them.

Of layers with fewer or narrower heads the last channels are zeros, so that every cut has a place in
it. What is never written has a logit of minus infinity in the graph itself: that runtime suppresses
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import WhisperForConditionalGeneration

from whisperslim.core.families.whisper.onnx import (
    GraphBuilder,
    attending,
    crossing,
    head_width,
    keys_and_values,
    write_states,
    write_step,
)
from whisperslim.exported.bounds import DecoderRules
from whisperslim.exported.names import LOGITS, STACKED, STATES, TOKENS


@dataclass(frozen=True)
class CacheShape:
    """Layers and channels of the caches of earlier tokens."""

    layers: int
    channels: int


def cache_shape(model: WhisperForConditionalGeneration) -> CacheShape:
    """As many layers as attend to earlier tokens, as wide as the widest; one at least."""
    widths = [_channels(attention) for _, attention in attending(model)]
    return CacheShape(max(1, len(widths)), max(widths, default=1))


def write_stacked_encoder(model: WhisperForConditionalGeneration, to: GraphBuilder) -> None:
    """Log-mel `mel` `(1, n_mels, frames)` -> keys and values of all cross-attentions, and states.

    The first two are `(layers, 1, positions, channels)`. Frames may be odd.
    """
    states = write_states(model, to, name=STACKED.features, odd=True)
    found = list(crossing(model))
    channels = max((_channels(attention) for _, attention in found), default=1)
    parts: tuple[list[str], list[str]] = ([], [])
    for index, attention in found:
        size = _channels(attention)
        both = keys_and_values(to, states, index, attention)
        split = to.node("Split", both, to.numbers(size, size), outputs=2, axis=-1)
        for part, value in zip(parts, split, strict=True):
            part.append(_layer(to, _padded(to, value, channels - size)))
    for part, name in zip(parts, STACKED.heard, strict=True):
        shape = (len(found), 1, "positions", channels)
        to.output(_stack(to, part), name, shape)
    to.output(states, STATES, (1, "positions", int(model.config.d_model)))


def write_stacked_decoder(
    model: WhisperForConditionalGeneration, to: GraphBuilder, rules: DecoderRules
) -> None:
    """New tokens and all caches -> logits of the last one `(1, 1, vocabulary)`, and the caches.

    Inputs: `tokens` `(1, new)`, caches `(layers, 1, positions, channels)` of which the first
    `offset` `(1,)` tokens are there, and what the encoder made.
    """
    shape, heard = cache_shape(model), list(crossing(model))
    widest = max((_channels(attention) for _, attention in heard), default=1)
    tokens = to.input(TOKENS, (1, "new"), integer=True)
    places: tuple[int | str, ...] = (shape.layers, 1, rules.positions, shape.channels)
    past = tuple(to.input(name, places) for name in STACKED.past)
    across: tuple[int | str, ...] = (len(heard), 1, "heard", widest)
    cross = tuple(to.input(name, across) for name in STACKED.heard)
    offset = to.input(STACKED.offset, (1,), integer=True)
    (new,) = to.node("Shape", tokens, start=1, end=2)
    (total,) = to.node("Add", offset, new)
    caches = _Stacked(to, model, rules.positions, past, cross, offset, total)
    (positions,) = to.node("Range", *(_scalar(to, each) for each in (offset, total)), _one(to))
    logits = write_step(model, to, tokens, positions, caches)
    vocabulary = int(model.config.vocab_size)
    (logits,) = to.node("Add", logits, _suppressed(to, rules, vocabulary, offset))
    (logits,) = to.node("Reshape", logits, to.numbers(1, 1, vocabulary))
    to.output(logits, LOGITS, (1, 1, vocabulary))
    for kept, name, given in zip(caches.kept, STACKED.present, past, strict=True):
        to.output(_stack(to, kept) if kept else given, name, places)


@dataclass(frozen=True)
class _Stacked:
    """Layers of a stack, each with its own number of heads."""

    to: GraphBuilder
    model: WhisperForConditionalGeneration
    positions: int
    stacks: Sequence[str]
    cross: Sequence[str]
    offset: str
    total: str
    kept: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))

    def past(self, index: int, attention: Any) -> tuple[str, str]:
        place = [layer for layer, _ in attending(self.model)].index(index)
        to, size = self.to, _channels(attention)
        starts, axes = to.numbers(place, 0, 0), to.numbers(0, 2, 3)
        (ends,) = to.node("Concat", to.numbers(place + 1), self.offset, to.numbers(size), axis=0)
        heads = to.numbers(0, 0, int(attention.num_heads), head_width(attention))
        found: list[str] = []
        for stack in self.stacks:
            (part,) = to.node("Slice", stack, starts, ends, axes)
            (part,) = to.node("Squeeze", part, to.numbers(1))
            (part,) = to.node("Reshape", part, heads)
            found += to.node("Transpose", part, perm=(0, 2, 1, 3))
        return found[0], found[1]

    def keep(self, index: int, attention: Any, keys: str, values: str) -> None:
        to, size = self.to, _channels(attention)
        channels = cache_shape(self.model).channels
        (free,) = to.node("Sub", to.numbers(self.positions), self.total)
        (room,) = to.node(
            "Concat", to.numbers(0, 0, 0, 0), free, to.numbers(channels - size), axis=0
        )
        for stack, value in zip(self.kept, (keys, values), strict=True):
            (part,) = to.node("Transpose", value, perm=(0, 2, 1, 3))
            (part,) = to.node("Reshape", part, to.numbers(0, 0, size))
            stack.append(_layer(to, to.node("Pad", part, room)[0]))

    def heard(self, index: int, attention: Any) -> tuple[str, str]:
        place = [layer for layer, _ in crossing(self.model)].index(index)
        to, axes = self.to, self.to.numbers(0, 3)
        starts, ends = to.numbers(place, 0), to.numbers(place + 1, _channels(attention))
        found: list[str] = []
        for stack in self.cross:
            (part,) = to.node("Slice", stack, starts, ends, axes)
            found += to.node("Squeeze", part, to.numbers(1))
        return found[0], found[1]


def _channels(attention: Any) -> int:
    return int(attention.num_heads) * head_width(attention)


def _padded(to: GraphBuilder, value: str, channels: int) -> str:
    """Zeros behind the last channel of `(1, positions, ...)`."""
    return to.node("Pad", value, to.numbers(0, 0, 0, 0, 0, channels))[0] if channels else value


def _layer(to: GraphBuilder, value: str) -> str:
    return to.node("Unsqueeze", value, to.numbers(0))[0]


def _stack(to: GraphBuilder, layers: Sequence[str]) -> str:
    return to.node("Concat", *layers, axis=0)[0]


def _scalar(to: GraphBuilder, vector: str) -> str:
    return to.node("Squeeze", vector, to.numbers(0))[0]


def _one(to: GraphBuilder) -> str:
    return _scalar(to, to.numbers(1))


def _suppressed(to: GraphBuilder, rules: DecoderRules, vocabulary: int, offset: str) -> str:
    """What is added to logits `(vocabulary,)`: at the start of a text more is forbidden."""
    never = torch.zeros(vocabulary)
    never[list(rules.suppress)] = -torch.inf
    at_start = never.clone()
    at_start[list(rules.suppress_at_start)] = -torch.inf
    (begins,) = to.node("Equal", offset, to.numbers(0))
    first = to.stored("suppressed_at_start", at_start, exact=True)
    return to.node("Where", begins, first, to.stored("suppressed", never, exact=True))[0]
