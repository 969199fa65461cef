"""wav2vec 2.0, HuBERT and Conformers as one graph: samples in, scores of frames out.

What is padding behind a clip is cut off at the start, which gives what masks give in transformers,
and its states are put back as zeros at the end. Models without masks hear their padding, and the
convolutions of Conformer layers hear it in any case: there it stays, and is hidden from attention.
Sub-layers that were taken out leave no trace; every layer has its own number of units.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.families.wav2vec2.units import (
    AbsentAttention,
    AbsentBlock,
    AbsentLayer,
    receptive_field,
)
from whisperslim.core.families.whisper.onnx import GraphBuilder, linear, side_by_side
from whisperslim.errors import ExportError
from whisperslim.exported.names import FEATURES, LOGITS, STATES

_END = 2**62
_HIDDEN = -1e9  # leaves nothing of a weight
_ACTIVATIONS = ("gelu", "silu", "swish", "relu")


def write_samples(model: PreTrainedModel, to: GraphBuilder) -> None:
    """`features` `(1, samples)` -> `states` `(1, positions, width)` and `logits`."""
    config: Any = model.config
    inner: Any = model.get_submodule(model.base_model_prefix)
    given = to.input(FEATURES, (1, "samples"))
    whole = _positions(to, samples_of(to, given), config)
    masked = config.feat_extract_norm == "layer"
    heard = cut_to(to, given, heard_samples(to, given, receptive_field(config)), 1)
    if config.do_normalize:
        heard = _normalized(to, heard)
    x = heard if masked else filled(to, heard, samples_of(to, given), 1)
    x = _feature_encoder(to, x, inner.feature_extractor.conv_layers, config)
    projection = inner.feature_projection
    if getattr(projection, "feat_proj_layer_norm", True):
        x = to.norm(x, "projection.norm", projection.layer_norm)
    x = to.product(x, "projection", projection.projection.weight, projection.projection.bias)
    if not hasattr(inner.encoder, "embed_positions"):
        x = _transformer(to, x, inner.encoder)
        x = filled(to, x, whole, 1) if masked else x
    elif masked:
        (heard,) = to.node("Shape", x, start=1, end=2)
        hidden = _hidden(to, heard, whole)
        x = _conformer(to, filled(to, x, whole, 1), inner.encoder, hidden)
        x = filled(to, cut_to(to, x, heard, 1), whole, 1)
    else:
        x = _conformer(to, x, inner.encoder, "")
    write_scores(to, x, cast(nn.Linear, model.get_submodule("lm_head")))


def write_scores(to: GraphBuilder, states: str, head: nn.Linear | nn.Conv1d) -> None:
    """The two outputs of a graph that scores frames."""
    to.output(states, STATES, (1, "positions", int(head.weight.shape[1])))
    weight = head.weight.flatten(1)
    logits = to.product(states, "head", weight, head.bias)
    to.output(logits, LOGITS, (1, "scored", int(weight.shape[0])))


def samples_of(to: GraphBuilder, given: str) -> str:
    """How many samples there are, `(1,)`."""
    return to.node("Shape", given, start=1, end=2)[0]


def heard_samples(to: GraphBuilder, samples: str, least: int) -> str:
    """Samples up to the last that is not zero, `(1,)`; at least `least`."""
    (sizes,) = to.node("Abs", samples)
    (loud,) = to.node("Greater", sizes, number(to, 0.0))
    (places,) = to.node("NonZero", loud)
    (places,) = to.node("Gather", places, to.numbers(1), axis=0)
    (places,) = to.node("Reshape", places, to.numbers(-1))
    (places,) = to.node("Concat", places, to.numbers(least - 1), axis=0)
    (last,) = to.node("ReduceMax", places, keepdims=1)
    return to.node("Add", last, to.numbers(1))[0]


def cut_to(to: GraphBuilder, x: str, length: str, axis: int) -> str:
    """The first `length` `(1,)` along an axis."""
    return to.node("Slice", x, to.numbers(0), length, to.numbers(axis))[0]


def filled(to: GraphBuilder, x: str, length: str, axis: int) -> str:
    """With zeros behind, up to `length` `(1,)` along an axis."""
    (present,) = to.node("Shape", x, start=axis, end=axis + 1)
    (missing,) = to.node("Sub", length, present)
    (pads,) = to.node("Concat", to.numbers(0), missing, axis=0)
    return to.node("Pad", x, pads, "", to.numbers(axis))[0]


def number(to: GraphBuilder, value: float) -> str:
    """A constant without dimensions."""
    return to.stored(f"number {value!r}", torch.tensor(value), exact=True)


def activated(to: GraphBuilder, x: str, name: str) -> str:
    """An activation by the name that transformers has for it. Raises `ExportError`."""
    if name not in _ACTIVATIONS:
        raise ExportError(
            f"the model has the activation {name}; a graph can be written with one of: "
            f"{', '.join(_ACTIVATIONS)}"
        )
    if name == "gelu":
        return to.node("Gelu", x)[0]
    if name == "relu":
        return to.node("Relu", x)[0]
    return to.node("Mul", x, to.node("Sigmoid", x)[0])[0]


def feed_forward(
    to: GraphBuilder,
    x: str,
    name: str,
    inner: nn.Module,
    outer: nn.Module,
    activation: str,
    share: float = 1.0,
) -> str:
    """What a block adds, times `share`."""
    x = activated(to, linear(to, x, f"{name}.inner", inner), activation)
    return linear(to, x, f"{name}.outer", outer, share)


def relative_positions(to: GraphBuilder, x: str, width: int) -> str:
    """Sine and cosine in turn of distances from the longest down, `(1, 2 * positions - 1, width)`.

    As Transformer-XL has them (Dai et al., 2019, appendix B).
    """
    (length,) = to.node("Squeeze", to.node("Shape", x, start=1, end=2)[0])
    (minus,) = to.node("Squeeze", to.numbers(-1))
    (first,) = to.node("Add", length, minus)
    (last,) = to.node("Neg", length)
    (places,) = to.node("Range", first, last, minus)
    (places,) = to.node("Cast", places, to=1)  # float32
    (places,) = to.node("Reshape", places, to.numbers(-1, 1))
    rates = 1.0 / (10_000.0 ** (torch.arange(0, width, 2, dtype=torch.float) / width))
    (angles,) = to.node("Mul", places, to.stored("position rates", rates[None], exact=True))
    (angles,) = to.node("Unsqueeze", angles, to.numbers(2))
    (sine,), (cosine,) = to.node("Sin", angles), to.node("Cos", angles)
    (both,) = to.node("Concat", sine, cosine, axis=2)
    return to.node("Reshape", both, to.numbers(1, -1, width))[0]


def relative_attention(
    to: GraphBuilder,
    x: str,
    places: str,
    name: str,
    projections: Sequence[nn.Module],
    biases: Sequence[torch.Tensor],
    scale: float,
    hidden: str = "",
) -> str:
    """Heads that hear what there is and how far away it is, before their projection back.

    Args:
        to: Where it is written.
        x: `(1, positions, width)`, normed.
        places: What `relative_positions` gives.
        name: Of the module.
        projections: To queries, keys and values, and of relative positions.
        biases: Added to queries that are compared with keys, and with positions; `(heads, width)`.
        scale: Of the products.
        hidden: Added to the scores of each position, `(positions,)`; empty: nothing is.
    """
    *inputs, relative = projections
    heads, width = biases[0].shape
    query, keys, values = side_by_side(to, x, f"{name}.qkv", *inputs)
    by_content, by_place = (
        to.node("Add", query, to.stored(f"{name}.{kind}", bias.flatten()))[0]
        for kind, bias in zip(("content", "place"), biases, strict=True)
    )
    far = linear(to, places, f"{name}.far", relative)
    (far,) = to.node("Reshape", far, to.numbers(1, -1, heads, width))
    (far,) = to.node("Transpose", far, perm=(0, 2, 3, 1))
    (by_place,) = to.node("Reshape", by_place, to.numbers(1, -1, heads, width))
    (by_place,) = to.node("Transpose", by_place, perm=(0, 2, 1, 3))
    (scores,) = to.node("MatMul", by_place, far)
    scores = _shifted(to, scores, heads, to.node("Shape", x, start=1, end=2)[0])
    (scores,) = to.node("Mul", scores, number(to, scale))
    if hidden:
        scores = add(to, scores, hidden)
    return to.node(
        "MultiHeadAttention", by_content, keys, values, "", "", scores, domain="com.microsoft",
        num_heads=heads, scale=scale,
    )[0]  # fmt: skip


def _shifted(to: GraphBuilder, scores: str, heads: int, length: str) -> str:
    """Scores by distance `(1, heads, n, 2 * n - 1)` as scores by position `(1, heads, n, n)`."""
    (scores,) = to.node("Pad", scores, to.numbers(1, 0), "", to.numbers(3))
    (shape,) = to.node("Concat", to.numbers(1, heads, -1), length, axis=0)
    (scores,) = to.node("Reshape", scores, shape)
    (scores,) = to.node("Slice", scores, to.numbers(1), to.numbers(_END), to.numbers(2))
    (shape,) = to.node("Concat", to.numbers(1, heads), length, to.numbers(-1), axis=0)
    (scores,) = to.node("Reshape", scores, shape)
    return cut_to(to, scores, length, 3)


def convolution_module(
    to: GraphBuilder, x: str, name: str, module: Any, norm: nn.BatchNorm1d, activation: str
) -> str:
    """What a Conformer's convolution module adds, of its normed input."""
    first, middle, last = module.pointwise_conv1, module.depthwise_conv, module.pointwise_conv2
    count = int(middle.weight.shape[0])
    both = to.product(x, f"{name}.glu", first.weight.flatten(1), first.bias)
    value, gate = to.node("Split", both, to.numbers(count, count), outputs=2, axis=-1)
    (x,) = to.node("Mul", value, to.node("Sigmoid", gate)[0])
    (x,) = to.node("Transpose", x, perm=(0, 2, 1))
    # The norm is of fixed statistics: a factor and a shift for each channel.
    factor, shift = _of_fixed_norm(norm)
    bias = shift if middle.bias is None else shift + middle.bias * factor
    weight, edge = middle.weight * factor[:, None, None], int(middle.weight.shape[2]) // 2
    x = to.convolution(x, f"{name}.filters", weight, bias, strides=(1,), pads=(edge, edge),
                       groups=count)  # fmt: skip
    (x,) = to.node("Transpose", activated(to, x, activation), perm=(0, 2, 1))
    return to.product(x, f"{name}.outer", last.weight.flatten(1), last.bias)


def add(to: GraphBuilder, x: str, y: str) -> str:
    """The sum of two."""
    return to.node("Add", x, y)[0]


def _of_fixed_norm(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    mean, variance = cast(torch.Tensor, norm.running_mean), cast(torch.Tensor, norm.running_var)
    factor = norm.weight / (variance + norm.eps).sqrt()
    return factor, norm.bias - mean * factor


def _positions(to: GraphBuilder, samples: str, config: Any) -> str:
    """How many the convolutions make of so many samples, `(1,)`."""
    count = samples
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        (count,) = to.node("Sub", count, to.numbers(kernel))
        (count,) = to.node("Div", count, to.numbers(stride))
        (count,) = to.node("Add", count, to.numbers(1))
    return count


def _normalized(to: GraphBuilder, samples: str) -> str:
    """Mean 0 and variance 1; the number added to it is the feature extractor's."""
    (mean,) = to.node("ReduceMean", samples, to.numbers(1), keepdims=1)
    (samples,) = to.node("Sub", samples, mean)
    (variance,) = to.node("ReduceMean", to.node("Mul", samples, samples)[0], to.numbers(1))
    (size,) = to.node("Sqrt", add(to, variance, number(to, 1e-7)))
    return to.node("Div", samples, size)[0]


def _feature_encoder(to: GraphBuilder, x: str, layers: Any, config: Any) -> str:
    """Convolutions over samples `(1, samples)` -> `(1, positions, channels)`."""
    (x,) = to.node("Unsqueeze", x, to.numbers(1))
    for index, layer in enumerate(layers):
        name, norm = f"convolutions.{index}", getattr(layer, "layer_norm", None)
        conv = layer.conv
        x = to.convolution(x, name, conv.weight, conv.bias, strides=conv.stride, pads=(0, 0))
        if isinstance(norm, nn.GroupNorm):  # one group a channel
            scale = to.stored(f"{name}.norm.scale", norm.weight, exact=True)
            shift = to.stored(f"{name}.norm.shift", norm.bias, exact=True)
            (x,) = to.node("InstanceNormalization", x, scale, shift, epsilon=norm.eps)
        elif norm is not None:
            (x,) = to.node("Transpose", x, perm=(0, 2, 1))
            (x,) = to.node("Transpose", to.norm(x, f"{name}.norm", norm), perm=(0, 2, 1))
        x = activated(to, x, config.feat_extract_activation)
    return to.node("Transpose", x, perm=(0, 2, 1))[0]


def _transformer(to: GraphBuilder, x: str, encoder: Any) -> str:
    config = encoder.config
    x = add(to, x, _placed(to, x, encoder.pos_conv_embed, config.feat_extract_activation))
    before = bool(config.do_stable_layer_norm)
    if not before:
        x = to.norm(x, "encoder.norm", encoder.layer_norm)
    for index, layer in enumerate(encoder.layers):
        if isinstance(layer, AbsentLayer):
            continue
        name = f"encoder.{index}"
        if not isinstance(layer.attention, AbsentAttention):
            given = to.norm(x, f"{name}.self.norm", layer.layer_norm) if before else x
            x = add(to, x, _attention(to, given, f"{name}.self", layer.attention))
        if not before:
            x = to.norm(x, f"{name}.self.norm", layer.layer_norm)
        if not isinstance(layer.feed_forward, AbsentBlock):
            given = to.norm(x, f"{name}.ffn.norm", layer.final_layer_norm) if before else x
            x = add(to, x, _block(to, given, f"{name}.ffn", layer.feed_forward, config, 1.0))
        if not before:
            x = to.norm(x, f"{name}.ffn.norm", layer.final_layer_norm)
    return to.norm(x, "encoder.norm", encoder.layer_norm) if before else x


def _placed(to: GraphBuilder, x: str, embedding: Any, activation: str) -> str:
    """Positions by a convolution over neighbors; of an even number the last is not there."""
    norm, conv = getattr(embedding, "batch_norm", None), embedding.conv
    if norm is not None:  # before the convolution, whose edges are zeros: not to be folded in
        factor, shift = _of_fixed_norm(norm)
        (x,) = to.node("Mul", x, to.stored("positions.factor", factor))
        x = add(to, x, to.stored("positions.shift", shift))
    (x,) = to.node("Transpose", x, perm=(0, 2, 1))
    width = int(conv.kernel_size[0])
    pads = (width // 2, width - 1 - width // 2)
    x = to.convolution(x, "positions", conv.weight, conv.bias, strides=(1,), pads=pads,
                       groups=int(conv.groups))  # fmt: skip
    return to.node("Transpose", activated(to, x, activation), perm=(0, 2, 1))[0]


def _attention(to: GraphBuilder, x: str, name: str, attention: Any) -> str:
    size, width = int(attention.q_proj.out_features), int(attention.head_dim)
    projections = attention.q_proj, attention.k_proj, attention.v_proj
    parts = side_by_side(to, x, f"{name}.qkv", *projections)
    (mixed,) = to.node("MultiHeadAttention", *parts, domain="com.microsoft",
                       num_heads=size // width, scale=float(attention.scaling))  # fmt: skip
    return linear(to, mixed, f"{name}.out", attention.out_proj)


def _block(to: GraphBuilder, x: str, name: str, block: Any, config: Any, share: float) -> str:
    layers = block.intermediate_dense, block.output_dense
    return feed_forward(to, x, name, *layers, config.hidden_act, share)


def _hidden(to: GraphBuilder, heard: str, whole: str) -> str:
    """What hides the positions from `heard` to `whole`, both `(1,)`, added to scores."""
    zero, one = (to.node("Squeeze", to.numbers(n))[0] for n in (0, 1))
    (places,) = to.node("Range", zero, to.node("Squeeze", whole)[0], one)
    (within,) = to.node("Less", places, heard)
    return to.node("Where", within, number(to, 0.0), number(to, _HIDDEN))[0]


def _conformer(to: GraphBuilder, x: str, encoder: Any, hidden: str) -> str:
    config, kind = encoder.config, encoder.config.position_embeddings_type
    places = _conformer_places(to, x, encoder) if kind else ""
    for index, layer in enumerate(encoder.layers):
        name = f"encoder.{index}"
        if not isinstance(layer.ffn1, AbsentBlock):
            normed = to.norm(x, f"{name}.ffn1.norm", layer.ffn1_layer_norm)
            x = add(to, x, _block(to, normed, f"{name}.ffn1", layer.ffn1, config, 0.5))
        if not isinstance(layer.self_attn, AbsentAttention):
            normed = to.norm(x, f"{name}.self.norm", layer.self_attn_layer_norm)
            x = add(to, x, _conformer_attention(to, normed, places, name, layer.self_attn, hidden))
        if not isinstance(layer.conv_module, AbsentBlock):
            module = layer.conv_module
            normed = to.norm(x, f"{name}.conv.norm", module.layer_norm)
            x = add(to, x, convolution_module(
                to, normed, f"{name}.conv", module, module.batch_norm, config.hidden_act
            ))  # fmt: skip
        if not isinstance(layer.ffn2, AbsentBlock):
            normed = to.norm(x, f"{name}.ffn2.norm", layer.ffn2_layer_norm)
            x = add(to, x, _block(to, normed, f"{name}.ffn2", layer.ffn2, config, 0.5))
        x = to.norm(x, f"{name}.norm", layer.final_layer_norm)
    return to.norm(x, "encoder.norm", encoder.layer_norm)


def _conformer_places(to: GraphBuilder, x: str, encoder: Any) -> str:
    """Distances; or of rotary ones the angles, `(1, positions, 1, width of a head)`."""
    config = encoder.config
    if config.position_embeddings_type == "relative":
        return relative_positions(to, x, int(config.hidden_size))
    (length,) = to.node("Squeeze", to.node("Shape", x, start=1, end=2)[0])
    zero, one = (to.node("Squeeze", to.numbers(n))[0] for n in (0, 1))
    (places,) = to.node("Cast", to.node("Range", zero, length, one)[0], to=1)
    (places,) = to.node("Reshape", places, to.numbers(1, -1, 1, 1))
    rates = encoder.embed_positions.inv_freq
    return to.node("Mul", places, to.stored("rates", torch.cat((rates, rates)), exact=True))[0]


def _conformer_attention(
    to: GraphBuilder, x: str, places: str, name: str, attention: Any, hidden: str
) -> str:
    out, scale = attention.linear_out, float(attention.scaling)
    inputs = [attention.linear_q, attention.linear_k, attention.linear_v]
    if attention.position_embeddings_type == "relative":
        biases = attention.pos_bias_u, attention.pos_bias_v
        projections = [*inputs, attention.linear_pos]
        mixed = relative_attention(
            to, x, places, f"{name}.self", projections, biases, scale, hidden
        )  # fmt: skip
    else:
        turned = _turned(to, x, places, attention) if places else x
        size = int(attention.linear_q.out_features)
        query, keys = side_by_side(to, turned, f"{name}.self.qk", *inputs[:2])
        values = linear(to, x, f"{name}.self.v", inputs[2])
        scores = ("", "", _for_each_pair(to, hidden, x)) if hidden else ()
        (mixed,) = to.node(
            "MultiHeadAttention", query, keys, values, *scores, domain="com.microsoft",
            num_heads=size // int(attention.head_size), scale=scale,
        )  # fmt: skip
    return linear(to, mixed, f"{name}.self.out", out)


def _for_each_pair(to: GraphBuilder, hidden: str, x: str) -> str:
    """What is added to scores, `(1, 1, positions, positions)`."""
    (length,) = to.node("Shape", x, start=1, end=2)
    (shape,) = to.node("Concat", to.numbers(1, 1), length, length, axis=0)
    return to.node("Expand", hidden, shape)[0]


def _turned(to: GraphBuilder, x: str, angles: str, attention: Any) -> str:
    """A layer's input turned by its positions, in all heads that there were before any cut."""
    heads, width = int(attention.num_heads), int(attention.head_size)
    (x,) = to.node("Reshape", x, to.numbers(1, -1, heads, width))
    begin, end = to.node("Split", x, to.numbers(width // 2, width // 2), outputs=2, axis=-1)
    (across,) = to.node("Concat", to.node("Neg", end)[0], begin, axis=-1)
    (straight,) = to.node("Mul", x, to.node("Cos", angles)[0])
    (across,) = to.node("Mul", across, to.node("Sin", angles)[0])
    return to.node("Reshape", add(to, straight, across), to.numbers(1, -1, heads * width))[0]
