"""wav2vec 2.0 or HuBERT, whole or cut, as CTranslate2's own specification.

CTranslate2 has one form of wav2vec 2.0, that of the published large models, with most sizes of the
convolutions fixed in its code (`layers/wav2vec2.cc`): what differs is refused. Layers that were
taken out are left out. It knows no padding: whoever runs it gives it the clip alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ctranslate2.specs.wav2vec2_spec import Wav2Vec2Spec
from transformers import PreTrainedModel

from whisperslim.core.families.flavours.ct2 import (
    attention,
    fill_attention,
    fill_feed_forward,
    linear,
    norm,
    stacked,
)
from whisperslim.core.families.wav2vec2.units import AbsentAttention, AbsentBlock, AbsentLayer
from whisperslim.errors import ExportError

_FIRST_STRIDE, _STRIDE = 5, 2
_POSITIONS, _POSITION_GROUPS = 128, 16
_EPSILON = 1e-5
_MOST_TOKENS = 2**15 - 1  # their number is stored in 16 bits


def check_held(model: PreTrainedModel) -> None:
    """Raise `ExportError` for another arithmetic than CTranslate2's."""
    config: Any = model.config
    strides = list(config.conv_stride)
    wrong = {
        "its layers have their norms behind sub-layers (do_stable_layer_norm false)":
            not config.do_stable_layer_norm,
        "its convolutions have a group norm (feat_extract_norm is not layer)":
            config.feat_extract_norm != "layer",
        "there is no norm before its projection (feat_proj_layer_norm false)":
            not getattr(config, "feat_proj_layer_norm", True),
        "its convolution of positions has a batch norm (conv_pos_batch_norm true)":
            bool(getattr(config, "conv_pos_batch_norm", False)),
        f"conv_stride is {strides}, and {_FIRST_STRIDE}, then {_STRIDE} in all others is needed":
            strides != [_FIRST_STRIDE, *[_STRIDE] * (len(strides) - 1)],
        f"num_conv_pos_embeddings is {config.num_conv_pos_embeddings}, of {_POSITIONS}":
            config.num_conv_pos_embeddings != _POSITIONS,
        f"num_conv_pos_embedding_groups is {config.num_conv_pos_embedding_groups}, of "
        f"{_POSITION_GROUPS}": config.num_conv_pos_embedding_groups != _POSITION_GROUPS,
        "its activations are not all gelu":
            {config.hidden_act, config.feat_extract_activation} != {"gelu"},
        f"layer_norm_eps is {config.layer_norm_eps}, and {_EPSILON} is needed":
            config.layer_norm_eps != _EPSILON,
        f"it has {config.vocab_size} tokens, of {_MOST_TOKENS} at most":
            config.vocab_size > _MOST_TOKENS,
    }  # fmt: skip
    if found := [words for words, is_so in wrong.items() if is_so]:
        raise ExportError(
            "CTranslate2 has wav2vec 2.0 in the form of the published large models alone, and this "
            f"one differs: {'; '.join(found)}. Export it for onnx, which holds any"
        )


def to_ctranslate2(model: PreTrainedModel, heads: int) -> Wav2Vec2Spec:
    """All tensors of `model`, copied, in CTranslate2's layout; the head is among them.

    Args:
        model: In float32, with so many heads in each attention; `check_held` has passed it.
        heads: Their number.

    Returns:
        A specification without vocabulary, not validated yet.
    """
    config: Any = model.config
    inner: Any = model.get_submodule(model.base_model_prefix)
    head: Any = model.get_submodule("lm_head")
    layers = [layer for layer in inner.encoder.layers if not isinstance(layer, AbsentLayer)]
    convolutions = inner.feature_extractor.conv_layers
    spec = Wav2Vec2Spec(len(convolutions), len(layers), heads, head.out_features, False)
    to = spec.encoder
    for target, ours in zip((to.feat_layer0, *to.feat_layer), convolutions, strict=True):
        linear(target.conv, ours.conv)
        norm(target.layer_norm, ours.layer_norm)
    norm(to.fp_layer_norm, inner.feature_projection.layer_norm)
    linear(to.fp_projection, inner.feature_projection.projection)
    linear(to.pos_conv_embed.conv, inner.encoder.pos_conv_embed.conv)
    for target, ours in zip(to.layer, layers, strict=True):
        _self_attention(target, ours, heads, int(config.hidden_size))
        _feed_forward(target.ffn, ours, int(config.hidden_size))
    norm(to.layer_norm, inner.encoder.layer_norm)
    linear(to.lm_head, head)
    return spec


def token_names(model: PreTrainedModel, known: Mapping[str, int]) -> list[str]:
    """A name for every row of the head, in order."""
    config: Any = model.config
    names = {number: name for name, number in known.items()}
    return [names.get(row, f"<unused {row}>") for row in range(config.vocab_size)]


def silence(model: PreTrainedModel) -> list[float]:
    """What the head scores where no state is: behind a clip they are zeros."""
    head: Any = model.get_submodule("lm_head")
    bias: np.ndarray = head.bias.detach().float().cpu().numpy()
    return [float(value) for value in bias]


def _self_attention(target: Any, layer: Any, heads: int, width: int) -> None:
    ours = layer.attention
    if isinstance(ours, AbsentAttention):
        target.self_attention = attention(1, 1.0, self_attention=True)
        fill_attention(target.self_attention, heads, width)
        return
    spec = target.self_attention = attention(ours.head_dim, ours.scaling, self_attention=True)
    norm(spec.layer_norm, layer.layer_norm)
    stacked(spec.linear[0], ours.q_proj, ours.k_proj, ours.v_proj)
    linear(spec.linear[1], ours.out_proj)


def _feed_forward(spec: Any, layer: Any, width: int) -> None:
    ours = layer.feed_forward
    if isinstance(ours, AbsentBlock):
        fill_feed_forward(spec, width)
        return
    norm(spec.layer_norm, layer.final_layer_norm)
    linear(spec.linear_0, ours.intermediate_dense)
    linear(spec.linear_1, ours.output_dense)
