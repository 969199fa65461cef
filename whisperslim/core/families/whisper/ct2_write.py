"""A Whisper, whole or cut, as CTranslate2's own specification: the inverse of `ct2_read`.

CTranslate2 keeps one number of heads for a stack, which the decoder's self- and cross-attention
share; the width of a head and of a feed-forward block is read off the matrices. The scale of the
scores would follow from the model's width, which a cut model no longer fits, so it is stored.

Absent layers are left out. An absent sub-layer of a layer that stays is written so that it adds
exactly zero: a feed-forward block one unit wide, an attention with heads one element wide, both
with an output of zeros. An absent cross-attention is left out where the runtime allows it, which
is everywhere but in the first decoder layer (there it crashes the process).
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec
from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec
from ctranslate2.specs.transformer_spec import FeedForwardSpec
from torch import nn

from whisperslim.core.families.whisper.decoder import as_whisper
from whisperslim.core.families.whisper.units import AbsentAttention, AbsentLayer, AbsentLinear

ACTIVATION = "gelu"  # the exact one; CTranslate2's specification of Whisper has no other
_STACKS = ("encoder", "decoder")


def to_ctranslate2(model: nn.Module, heads: Mapping[str, int]) -> WhisperSpec:
    """All tensors of `model`, copied, in CTranslate2's layout.

    Args:
        model: Whole or cut, in float32, with as many heads in each attention as `heads` says.
        heads: "encoder", "decoder" -> heads of every attention module in it.

    Returns:
        A specification without vocabulary and settings, not validated yet.
    """
    whisper: Any = as_whisper(model).model
    layers = {stack: present_layers(model, stack) for stack in _STACKS}
    spec = WhisperSpec(
        len(layers["encoder"]), heads["encoder"], len(layers["decoder"]), heads["decoder"]
    )
    _linear(spec.encoder.conv1, whisper.encoder.conv1)
    _linear(spec.encoder.conv2, whisper.encoder.conv2)
    spec.decoder.embeddings.weight = _copy(whisper.decoder.embed_tokens.weight)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    for stack in _STACKS:
        there, ours = getattr(spec, stack), getattr(whisper, stack)
        there.position_encodings.encodings = _copy(ours.embed_positions.weight)
        _norm(there.layer_norm, ours.layer_norm)
        for target, index in zip(there.layer, layers[stack], strict=True):
            _self_attention(target, ours.layers[index], heads[stack])
            _feed_forward(target.ffn, ours.layers[index])
    for place, index in enumerate(layers["decoder"]):
        ours = whisper.decoder.layers[index]
        _cross_attention(spec.decoder.layer[place], ours, heads["decoder"], place)
    return spec


def present_layers(model: nn.Module, stack: str) -> list[int]:
    """Indices of the layers of a stack that were not taken out."""
    layers = cast(nn.ModuleList, model.get_submodule(f"model.{stack}.layers"))
    return [i for i, layer in enumerate(layers) if not isinstance(layer, AbsentLayer)]


def cross_attention_layers(model: nn.Module) -> list[int]:
    """Which of the decoder layers that stay, counted again, attend to the encoder."""
    layers: Any = model.get_submodule("model.decoder.layers")
    kept = [layers[i] for i in present_layers(model, "decoder")]
    return [i for i, layer in enumerate(kept) if not _is_absent(layer.encoder_attn)]


def holds_half(model: nn.Module) -> bool:
    """Whether every weight is a float16 number already, so that half the bytes lose nothing."""
    return all(torch.equal(p, p.half().to(p.dtype)) for p in model.parameters())


def _self_attention(target: Any, layer: Any, heads: int) -> None:
    ours = layer.self_attn
    spec = target.self_attention = _attention(ours, self_attention=True)
    if _is_absent(ours):
        _fill_attention(spec, heads, layer.embed_dim)
        return
    _norm(spec.layer_norm, layer.self_attn_layer_norm)
    _stacked(spec.linear[0], ours.q_proj, ours.k_proj, ours.v_proj)
    _linear(spec.linear[1], ours.out_proj)


def _cross_attention(target: Any, layer: Any, heads: int, place: int) -> None:
    ours = layer.encoder_attn
    if _is_absent(ours) and place:
        del target.attention
        return
    spec = target.attention = _attention(ours, self_attention=False)
    if _is_absent(ours):
        _fill_attention(spec, heads, layer.embed_dim)
        return
    _norm(spec.layer_norm, layer.encoder_attn_layer_norm)
    _linear(spec.linear[0], ours.q_proj)
    _stacked(spec.linear[1], ours.k_proj, ours.v_proj)
    _linear(spec.linear[2], ours.out_proj)


def _attention(ours: Any, self_attention: bool) -> MultiHeadAttentionSpec:
    """One without weights. Absent heads are one element wide."""
    width, scale = (1, 1.0) if _is_absent(ours) else (ours.head_dim, ours.scaling)
    # The width is read off the matrices, but with a single head it is taken from here.
    spec = MultiHeadAttentionSpec(self_attention=self_attention, head_dim=width)
    spec.queries_scale = np.float32(scale)
    return spec


def _fill_attention(spec: MultiHeadAttentionSpec, heads: int, width: int) -> None:
    """Heads one element wide, and an output of zeros."""
    *inputs, output = spec.linear
    for linear, parts in zip(inputs, (3,) if len(inputs) == 1 else (1, 2), strict=True):
        _fill(linear, parts * heads, width)
    _fill(output, width, heads)
    _fill_norm(spec.layer_norm, width)


def _feed_forward(spec: FeedForwardSpec, layer: Any) -> None:
    if isinstance(layer.fc1, AbsentLinear):
        _fill(spec.linear_0, 1, layer.embed_dim)
        _fill(spec.linear_1, layer.embed_dim, 1)
        _fill_norm(spec.layer_norm, layer.embed_dim)
        return
    _linear(spec.linear_0, layer.fc1)
    _linear(spec.linear_1, layer.fc2)
    _norm(spec.layer_norm, layer.final_layer_norm)


def _is_absent(attention: nn.Module) -> bool:
    return isinstance(attention, AbsentAttention)


def _linear(spec: Any, module: nn.Linear | nn.Conv1d) -> None:
    spec.weight, spec.bias = _copy(module.weight), _copy(cast(torch.Tensor, module.bias))


def _stacked(spec: LinearSpec, *modules: nn.Linear) -> None:
    """Projections of the same input as one. Whisper's k has no bias; CTranslate2 wants zeros."""
    rows = [module.out_features for module in modules]
    biases = [
        np.zeros(count, np.float32) if module.bias is None else _copy(module.bias)
        for count, module in zip(rows, modules, strict=True)
    ]
    spec.weight = np.concatenate([_copy(module.weight) for module in modules])
    spec.bias = np.concatenate(biases)


def _norm(spec: LayerNormSpec, module: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _copy(module.weight), _copy(module.bias)


def _fill(spec: LinearSpec, rows: int, columns: int) -> None:
    spec.weight = np.zeros((rows, columns), np.float32)
    spec.bias = np.zeros(rows, np.float32)


def _fill_norm(spec: LayerNormSpec, width: int) -> None:
    spec.gamma, spec.beta = np.ones(width, np.float32), np.zeros(width, np.float32)


def _copy(tensor: torch.Tensor) -> np.ndarray:
    # CTranslate2's quantizer multiplies in place; it must not reach the model's own memory.
    return tensor.detach().float().cpu().numpy().copy()
