"""Tensors of layers in CTranslate2's own specification, for every family that is written for it.

CTranslate2 keeps one number of heads for a stack; the width of a head and of a feed-forward block
is read off the matrices. The scale of the scores would follow from the model's width, which a cut
model no longer fits, so it is stored. An absent sub-layer of a layer that stays is written so that
it adds exactly zero: a feed-forward block one unit wide, an attention with heads one element wide,
both with an output of zeros.
"""

from typing import Any, cast

import numpy as np
import torch
from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec
from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec
from ctranslate2.specs.transformer_spec import FeedForwardSpec
from torch import nn


def holds_half(model: nn.Module) -> bool:
    """Whether every weight is a float16 number already, so that half the bytes lose nothing."""
    return all(torch.equal(p, p.half().to(p.dtype)) for p in model.parameters())


def attention(width: int, scale: float, self_attention: bool) -> MultiHeadAttentionSpec:
    """One without weights, of heads so wide, whose scores are multiplied by `scale`."""
    # The width is read off the matrices, but with a single head it is taken from here.
    spec = MultiHeadAttentionSpec(self_attention=self_attention, head_dim=width)
    spec.queries_scale = np.float32(scale)
    return spec


def fill_attention(spec: MultiHeadAttentionSpec, heads: int, width: int) -> None:
    """Heads one element wide, and an output of zeros, in a model of so many channels."""
    *inputs, output = spec.linear
    for each, parts in zip(inputs, (3,) if len(inputs) == 1 else (1, 2), strict=True):
        _fill(each, parts * heads, width)
    _fill(output, width, heads)
    _fill_norm(spec.layer_norm, width)


def fill_feed_forward(spec: FeedForwardSpec, width: int) -> None:
    """One unit, and an output of zeros."""
    _fill(spec.linear_0, 1, width)
    _fill(spec.linear_1, width, 1)
    _fill_norm(spec.layer_norm, width)


def linear(spec: Any, module: nn.Linear | nn.Conv1d) -> None:
    """A product or a convolution, and its bias where there is one."""
    spec.weight = copied(module.weight)
    if module.bias is not None:
        spec.bias = copied(module.bias)


def stacked(spec: LinearSpec, *modules: nn.Linear) -> None:
    """Projections of the same input as one. Where one has no bias, CTranslate2 wants zeros."""
    rows = [module.out_features for module in modules]
    biases = [
        np.zeros(count, np.float32) if module.bias is None else copied(module.bias)
        for count, module in zip(rows, modules, strict=True)
    ]
    spec.weight = np.concatenate([copied(module.weight) for module in modules])
    spec.bias = np.concatenate(biases)


def norm(spec: LayerNormSpec, module: nn.LayerNorm) -> None:
    """Gain and bias."""
    spec.gamma, spec.beta = copied(module.weight), copied(cast(torch.Tensor, module.bias))


def copied(tensor: torch.Tensor) -> np.ndarray:
    """A copy: CTranslate2's quantizer multiplies in place, and must not reach the model's own."""
    return tensor.detach().float().cpu().numpy().copy()


def _fill(spec: LinearSpec, rows: int, columns: int) -> None:
    spec.weight = np.zeros((rows, columns), np.float32)
    spec.bias = np.zeros(rows, np.float32)


def _fill_norm(spec: LayerNormSpec, width: int) -> None:
    spec.gamma, spec.beta = np.ones(width, np.float32), np.zeros(width, np.float32)
