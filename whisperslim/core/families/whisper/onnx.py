"""Whisper as two graphs an ONNX runtime can hold: what was heard, and one decoding step.

The encoder graph ends in the keys and values of every cross-attention, so that they are computed
once for a recording. The decoder graph takes them, the keys and values of the tokens so far, and
new tokens. Sub-layers and layers that were taken out leave no trace in either, and every layer has
its own number of heads.

The graphs are written operator by operator rather than traced: what is multiplied with the same
input is one product, attention is one operator, and every weight passes through one of the
builder's methods, which decides how it is stored. The arithmetic is transformers' own but for the
order of additions. The two convolutions are products with windows of the sequence, so that they
can be stored as the other products are.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import nn
from transformers import PreTrainedModel, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import sinusoids

from whisperslim.core.families.factors import FactoredLinear
from whisperslim.core.families.whisper.timing import timing_heads
from whisperslim.core.families.whisper.units import AbsentAttention, AbsentLayer, AbsentLinear
from whisperslim.exported.names import (
    CROSS,
    FEATURES,
    LOGITS,
    PAST,
    POSITIONS,
    PRESENT,
    QUERIES,
    STATES,
    TOKENS,
)

# Sine and cosine in float32 differ by this much between libraries, for arguments up to 1500.
_SINUSOID_ERROR = 1e-3


class GraphBuilder(Protocol):
    """Writes operators; a value is known by its name. Every method that computes returns one."""

    def input(self, name: str, shape: Sequence[int | str], *, integer: bool = False) -> str:
        """An input of the graph; lengths that vary are symbols."""
        ...

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Declare `value` an output called `name`."""
        ...

    def node(
        self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> tuple[str, ...]:
        """Any operator; an empty input name is one left out."""
        ...

    def numbers(self, *values: int) -> str:
        """A constant vector of integers."""
        ...

    def zeros(self, *shape: int) -> str:
        """A constant of zeros."""
        ...

    def stored(self, name: str, tensor: torch.Tensor, *, exact: bool = False) -> str:
        """A constant; without `exact` in half precision where other weights are rounded."""
        ...

    def convolution(
        self,
        x: str,
        name: str,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        strides: Sequence[int],
        pads: Sequence[int],
        groups: int = 1,
    ) -> str:
        """Of `(batch, channels, ...)`; `pads` as ONNX has them, all starts and then all ends."""
        ...

    def product(
        self, x: str, name: str, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> str:
        """`x @ weight.T + bias`, weight `(outputs, inputs)`."""
        ...

    def norm(self, x: str, name: str, norm: nn.LayerNorm) -> str:
        """Layer normalization over the last dimension."""
        ...

    def rows(self, name: str, weight: torch.Tensor, ids: str) -> str:
        """Rows of a table; it may also be the weight of a product of the same name."""
        ...

    def sinusoids(self, name: str, weight: torch.Tensor, *, exact: bool) -> str:
        """The table of the encoder's positions; `exact` says that `sinusoids` would give it."""
        ...


class Caches(Protocol):
    """Where the keys and values of a decoder step come from and go to.

    Each is `(1, heads, tokens, width)`, unless something else is said.
    """

    def past(self, index: int, attention: Any) -> tuple[str, str]:
        """Of the earlier tokens, for layer `index`'s attention to them."""
        ...

    def keep(self, index: int, attention: Any, keys: str, values: str) -> None:
        """Of the earlier tokens and the new ones."""
        ...

    def heard(self, index: int, attention: Any) -> tuple[str, str]:
        """Of what was heard; `(1, positions, heads * width)` will do as well."""
        ...


@dataclass(frozen=True)
class _Separate:
    """An input and an output for each, in their own shape."""

    to: GraphBuilder

    def past(self, index: int, attention: Any) -> tuple[str, str]:
        return _cache(self.to, PAST, index, attention, "old")

    def keep(self, index: int, attention: Any, keys: str, values: str) -> None:
        for value, cache in zip((keys, values), _cache_names(PRESENT, index), strict=True):
            self.to.output(value, cache, (1, attention.num_heads, "total", head_width(attention)))

    def heard(self, index: int, attention: Any) -> tuple[str, str]:
        return _cache(self.to, CROSS, index, attention, "heard")


def write_encoder(model: WhisperForConditionalGeneration, to: GraphBuilder) -> None:
    """Log-mel `features` `(1, n_mels, frames)` -> `states`, and keys and values they make.

    Frames are even. States are `(1, frames / 2, d_model)`; `cross_keys_L` and `cross_values_L`
    of decoder layer L are `(1, heads, frames / 2, width)`.
    """
    width = int(model.config.d_model)
    x = write_states(model, to)
    to.output(x, STATES, (1, "positions", width))
    for index, attention in crossing(model):
        _heard(to, x, index, attention)


def write_states(
    model: PreTrainedModel, to: GraphBuilder, *, name: str = FEATURES, odd: bool = False
) -> str:
    """Log-mel `features` `(1, n_mels, frames)` -> the encoder's states, of Whisper's encoder.

    `name` is of the input. With `odd`, frames need not be even.
    """
    config: Any = model.config
    encoder: Any = model.get_submodule("model.encoder")
    width = int(config.d_model)
    mel = to.input(name, (1, int(config.num_mel_bins), "frames"))
    (x,) = to.node("Transpose", mel, perm=(0, 2, 1))
    x = _convolution(to, _windows(to, x, int(config.num_mel_bins)), "conv1", encoder.conv1)
    x = _made_even(to, x, width) if odd else x
    x = _convolution(to, _every_other_window(to, x, width), "conv2", encoder.conv2)
    x = _add_positions(to, x, encoder.embed_positions.weight)
    for name, layer in _present(model, "encoder"):
        if _attends(layer.self_attn):
            x = _add(to, x, _own_attention(to, x, name, layer, caches=None))
        x = _feed_forward(to, x, name, layer)
    return to.norm(x, "encoder.norm", encoder.layer_norm)


def write_decoder(model: WhisperForConditionalGeneration, to: GraphBuilder) -> None:
    """New tokens and caches -> logits of the last token, and caches with the new tokens in.

    Inputs: `tokens` `(1, new)`, their `positions` `(new,)`, `past_keys_L` and `past_values_L`
    `(1, heads, old, width)` of the earlier tokens, and the encoder graph's keys and values.
    Outputs: `logits` `(1, vocabulary)`, `present_keys_L` and `present_values_L`; and of layers
    that tell when words were said `cross_queries_L` `(1, new, heads * width)`.
    """
    where = timing_heads(model)
    timing = {layer for layer, _ in where.heads} if where else set()
    tokens = to.input(TOKENS, (1, "new"), integer=True)
    positions = to.input(POSITIONS, ("new",), integer=True)
    logits = write_step(model, to, tokens, positions, _Separate(to), timing)
    to.output(logits, LOGITS, (1, int(model.config.vocab_size)))


def write_step(
    model: WhisperForConditionalGeneration,
    to: GraphBuilder,
    tokens: str,
    positions: str,
    caches: Caches,
    timing: Set[int] = frozenset(),
) -> str:
    """Logits of the last of the new tokens, `(1, vocabulary)`.

    `timing` are the layers whose queries of what was heard are outputs, too.
    """
    decoder: Any = model.model.decoder
    embedding = decoder.embed_tokens.weight
    x = _add(
        to,
        to.rows("embedding", embedding, tokens),
        to.rows("decoder.positions", decoder.embed_positions.weight, positions),
    )
    for index, (name, layer) in _numbered(_present(model, "decoder")):
        if _attends(layer.self_attn):
            x = _add(to, x, _own_attention(to, x, name, layer, caches, index))
        if _attends(layer.encoder_attn):
            heard = caches.heard(index, layer.encoder_attn)
            x = _add(to, x, _cross_attention(to, x, name, layer, index, heard, index in timing))
        x = _feed_forward(to, x, name, layer)
    (last,) = to.node("Gather", x, to.numbers(-1), axis=1)
    (last,) = to.node("Reshape", last, to.numbers(1, int(model.config.d_model)))
    last = to.norm(last, "decoder.norm", decoder.layer_norm)
    return to.product(last, "embedding", embedding)


def _present(model: nn.Module, stack: str) -> Iterator[tuple[str, Any]]:
    layers = cast(nn.ModuleList, model.get_submodule(f"model.{stack}.layers"))
    for index, layer in enumerate(layers):
        if not isinstance(layer, AbsentLayer):
            yield f"{stack}.{index}", layer


def _numbered(layers: Iterator[tuple[str, Any]]) -> Iterator[tuple[int, tuple[str, Any]]]:
    for name, layer in layers:
        yield int(name.rpartition(".")[2]), (name, layer)


def attending(model: nn.Module) -> Iterator[tuple[int, Any]]:
    """Decoder layers that attend to earlier tokens, and what does."""
    for index, (_, layer) in _numbered(_present(model, "decoder")):
        if _attends(layer.self_attn):
            yield index, layer.self_attn


def crossing(model: nn.Module) -> Iterator[tuple[int, Any]]:
    """Decoder layers that attend to what was heard, and what does."""
    for index, (_, layer) in _numbered(_present(model, "decoder")):
        if _attends(layer.encoder_attn):
            yield index, layer.encoder_attn


def _attends(attention: nn.Module) -> bool:
    return not isinstance(attention, AbsentAttention)


def head_width(attention: Any) -> int:
    """Dimensions of each of its heads."""
    return int(attention.q_proj.out_features) // int(attention.num_heads)


def _add(to: GraphBuilder, x: str, y: str) -> str:
    return to.node("Add", x, y)[0]


def _feed_forward(to: GraphBuilder, x: str, name: str, layer: Any) -> str:
    if isinstance(layer.fc1, AbsentLinear):
        return x
    normed = to.norm(x, f"{name}.ffn.norm", layer.final_layer_norm)
    inner = linear(to, normed, f"{name}.ffn.inner", layer.fc1)
    (inner,) = to.node("Gelu", inner)
    return _add(to, x, linear(to, inner, f"{name}.ffn.outer", layer.fc2))


def _own_attention(
    to: GraphBuilder,
    x: str,
    name: str,
    layer: Any,
    caches: Caches | None,
    index: int = -1,
) -> str:
    """Of a sequence to itself; with caches, to what came before as well, and never ahead."""
    attention = layer.self_attn
    normed = to.norm(x, f"{name}.self.norm", layer.self_attn_layer_norm)
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    query, keys, values = side_by_side(to, normed, f"{name}.self.qkv", *projections)
    if caches is None:
        mixed = _attention(to, attention, query, keys, values)[0]
    else:
        past = caches.past(index, attention)
        mixed, *present = _attention(to, attention, query, keys, values, past)
        caches.keep(index, attention, *present)
    return linear(to, mixed, f"{name}.self.out", attention.out_proj)


def _cross_attention(
    to: GraphBuilder,
    x: str,
    name: str,
    layer: Any,
    index: int,
    heard: tuple[str, str],
    timing: bool,
) -> str:
    attention = layer.encoder_attn
    normed = to.norm(x, f"{name}.cross.norm", layer.encoder_attn_layer_norm)
    query = linear(to, normed, f"{name}.cross.query", attention.q_proj)
    if timing:
        to.output(query, f"{QUERIES}_{index}", (1, "new", int(attention.q_proj.out_features)))
    mixed = _attention(to, attention, query, *heard)[0]
    return linear(to, mixed, f"{name}.cross.out", attention.out_proj)


def linear(to: GraphBuilder, x: str, name: str, module: Any, share: float = 1.0) -> str:
    """A linear layer, of one matrix or of two; times `share`."""
    bias = None if module.bias is None else module.bias * share
    if not isinstance(module, FactoredLinear):
        return to.product(x, name, module.weight * share, bias)
    between = to.product(x, f"{name}.first", module.first)
    return to.product(between, f"{name}.second", module.second * share, bias)


def side_by_side(to: GraphBuilder, x: str, name: str, *modules: Any) -> tuple[str, ...]:
    """Linear layers of the same states; one product where all have one matrix."""
    if any(isinstance(each, FactoredLinear) for each in modules):
        return tuple(linear(to, x, f"{name}.{place}", each) for place, each in enumerate(modules))
    found = to.product(x, name, *_joined(modules))
    sizes = [int(each.out_features) for each in modules]
    return to.node("Split", found, to.numbers(*sizes), outputs=len(sizes), axis=-1)


def _attention(
    to: GraphBuilder,
    attention: Any,
    query: str,
    keys: str,
    values: str,
    caches: tuple[str, str] | None = None,
) -> tuple[str, ...]:
    past = () if caches is None else ("", "", "", *caches)
    return to.node(
        "MultiHeadAttention", query, keys, values, *past,
        outputs=1 if caches is None else 3, domain="com.microsoft",
        num_heads=int(attention.num_heads), scale=float(attention.scaling),
        unidirectional=0 if caches is None else 1,
    )  # fmt: skip


def _heard(to: GraphBuilder, states: str, index: int, attention: Any) -> None:
    """Keys and values of one cross-attention, computed together, as the runtime caches them."""
    heads, width = int(attention.num_heads), head_width(attention)
    both = keys_and_values(to, states, index, attention)
    (both,) = to.node("Reshape", both, to.numbers(-1, 2 * heads, width))
    (both,) = to.node("Transpose", both, perm=(1, 0, 2))
    (both,) = to.node("Reshape", both, to.numbers(2, heads, -1, width))
    parts = to.node("Split", both, to.numbers(1, 1), outputs=2, axis=0)
    for value, name in zip(parts, _cache_names(CROSS, index), strict=True):
        to.output(value, name, (1, heads, "heard", width))


def keys_and_values(to: GraphBuilder, states: str, index: int, attention: Any) -> str:
    """Of one cross-attention, side by side: `(1, positions, 2 * heads * width)`."""
    name, projections = f"decoder.{index}.cross.kv", (attention.k_proj, attention.v_proj)
    if any(isinstance(each, FactoredLinear) for each in projections):
        return to.node("Concat", *side_by_side(to, states, name, *projections), axis=-1)[0]
    return to.product(states, name, *_joined(projections))


def _joined(modules: Sequence[nn.Linear]) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases one below the other; zeros for a bias that is not there."""
    biases: list[torch.Tensor] = [
        each.weight.new_zeros(each.out_features) if each.bias is None else each.bias
        for each in modules
    ]
    weights: list[torch.Tensor] = [each.weight for each in modules]
    return torch.cat(weights), torch.cat(biases)


def _cache_names(kind: str, layer: int) -> tuple[str, str]:
    return f"{kind}_keys_{layer}", f"{kind}_values_{layer}"


def _cache(to: GraphBuilder, kind: str, layer: int, attention: Any, length: str) -> tuple[str, str]:
    shape = (1, int(attention.num_heads), length, head_width(attention))
    keys, values = _cache_names(kind, layer)
    return to.input(keys, shape), to.input(values, shape)


def _add_positions(to: GraphBuilder, x: str, weight: torch.Tensor) -> str:
    stock = sinusoids(*weight.shape).to(weight)
    exact = float((weight - stock).abs().max()) <= _SINUSOID_ERROR
    table = to.sinusoids("encoder.positions", weight, exact=exact)
    (length,) = to.node("Shape", x, start=1, end=2)
    (part,) = to.node("Slice", table, to.numbers(0), length, to.numbers(0))
    return _add(to, x, part)


def _convolution(to: GraphBuilder, windows: str, name: str, conv: nn.Conv1d) -> str:
    """Of windows of three positions, oldest first, channels together."""
    weight = conv.weight.permute(0, 2, 1).reshape(conv.out_channels, -1)
    return to.node("Gelu", to.product(windows, f"encoder.{name}", weight, conv.bias))[0]


def _windows(to: GraphBuilder, x: str, width: int) -> str:
    """Each position with its neighbors: `(1, n, c)` -> `(1, n, 3 * c)`, zeros beyond the ends."""
    edge, axis = to.zeros(1, 1, width), to.numbers(1)
    (all_but_last,) = to.node("Slice", x, to.numbers(0), to.numbers(-1), axis)
    (all_but_first,) = to.node("Slice", x, to.numbers(1), to.numbers(2**62), axis)
    (before,) = to.node("Concat", edge, all_but_last, axis=1)
    (after,) = to.node("Concat", all_but_first, edge, axis=1)
    return to.node("Concat", before, x, after, axis=2)[0]


def _made_even(to: GraphBuilder, x: str, width: int) -> str:
    """A position of zeros behind an odd number of them, as the second convolution pads."""
    (length,) = to.node("Shape", x, start=1, end=2)
    (half,) = to.node("Div", _add(to, length, to.numbers(1)), to.numbers(2))
    (even,) = to.node("Mul", half, to.numbers(2))
    (longer,) = to.node("Concat", x, to.zeros(1, 1, width), axis=1)
    return to.node("Slice", longer, to.numbers(0), even, to.numbers(1))[0]


def _every_other_window(to: GraphBuilder, x: str, width: int) -> str:
    """`_windows` of positions 0, 2, 4, ...: `(1, 2 * n, c)` -> `(1, n, 3 * c)`."""
    (pairs,) = to.node("Reshape", x, to.numbers(1, -1, 2 * width))
    ends, axes = to.numbers(-1, 2**62), to.numbers(1, 2)
    (odd,) = to.node("Slice", pairs, to.numbers(0, width), ends, axes)
    (before,) = to.node("Concat", to.zeros(1, 1, width), odd, axis=1)
    return to.node("Concat", before, pairs, axis=2)[0]
