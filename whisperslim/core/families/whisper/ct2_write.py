"""A Whisper, whole or cut, as CTranslate2's own specification: the inverse of `ct2_read`.

The decoder's self- and cross-attention share their number of heads. Absent layers are left out, and
so is an absent cross-attention where the runtime allows it, which is everywhere but in the first
decoder layer (there it crashes the process). What else is absent adds zeros, as `flavours.ct2` has
it.
"""

from collections.abc import Mapping
from typing import Any, cast

from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec
from ctranslate2.specs.transformer_spec import FeedForwardSpec
from torch import nn

from whisperslim.core.families.flavours.ct2 import (
    attention,
    copied,
    fill_attention,
    fill_feed_forward,
    linear,
    norm,
    stacked,
)
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
    linear(spec.encoder.conv1, whisper.encoder.conv1)
    linear(spec.encoder.conv2, whisper.encoder.conv2)
    spec.decoder.embeddings.weight = copied(whisper.decoder.embed_tokens.weight)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    for stack in _STACKS:
        there, ours = getattr(spec, stack), getattr(whisper, stack)
        there.position_encodings.encodings = copied(ours.embed_positions.weight)
        norm(there.layer_norm, ours.layer_norm)
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


def _self_attention(target: Any, layer: Any, heads: int) -> None:
    ours = layer.self_attn
    spec = target.self_attention = _attention(ours, self_attention=True)
    if _is_absent(ours):
        fill_attention(spec, heads, layer.embed_dim)
        return
    norm(spec.layer_norm, layer.self_attn_layer_norm)
    stacked(spec.linear[0], ours.q_proj, ours.k_proj, ours.v_proj)
    linear(spec.linear[1], ours.out_proj)


def _cross_attention(target: Any, layer: Any, heads: int, place: int) -> None:
    ours = layer.encoder_attn
    if _is_absent(ours) and place:
        del target.attention
        return
    spec = target.attention = _attention(ours, self_attention=False)
    if _is_absent(ours):
        fill_attention(spec, heads, layer.embed_dim)
        return
    norm(spec.layer_norm, layer.encoder_attn_layer_norm)
    linear(spec.linear[0], ours.q_proj)
    stacked(spec.linear[1], ours.k_proj, ours.v_proj)
    linear(spec.linear[2], ours.out_proj)


def _attention(ours: Any, self_attention: bool) -> MultiHeadAttentionSpec:
    """One without weights. Absent heads are one element wide."""
    width, scale = (1, 1.0) if _is_absent(ours) else (ours.head_dim, ours.scaling)
    return attention(width, scale, self_attention)


def _feed_forward(spec: FeedForwardSpec, layer: Any) -> None:
    if isinstance(layer.fc1, AbsentLinear):
        fill_feed_forward(spec, layer.embed_dim)
        return
    linear(spec.linear_0, layer.fc1)
    linear(spec.linear_1, layer.fc2)
    norm(spec.layer_norm, layer.final_layer_norm)


def _is_absent(attention: nn.Module) -> bool:
    return isinstance(attention, AbsentAttention)
