"""Attention whose gradient is fast in bf16 on a CPU.

PyTorch's fused attention has a backward pass for CPUs that hardly uses their bf16 units: in a
training step of Whisper-base on 8 s of audio it took a quarter of the time. Here the forward pass
is the fused one, so that states are what they are without gradients, and the backward pass is
written as matrix products:

    P = softmax(s Q K^T),   dV = P^T dO,   dS = P * (dO V^T - rowsum(P * dO V^T)),
    dQ = s dS K,   dK = s dS^T Q
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "whisperslim_bf16_training"
# Of one block of weights P, in bytes: a few heads at a time stay in the cache of a core.
_BLOCK_BYTES = 4 << 20


@contextmanager
def fast_gradients(model: PreTrainedModel) -> Iterator[None]:
    """Use this attention inside the block; afterwards the model's own is set again."""
    before = model.config._attn_implementation
    if before != "sdpa":  # asked for by name, which is kept
        yield
        return
    model.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' `sdpa`, which computes all but unmasked bf16 on a CPU with gradient.

    Args:
        query: `(batch, heads, queries, head_dim)`; `key` and `value` likewise, over the keys.
        options: `scaling`, `dropout`, `is_causal` and others, as transformers passes them.

    Returns:
        `(batch, queries, heads, head_dim)`, and None for the weights.
    """
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    ours = (
        query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and torch.is_grad_enabled()
        and attention_mask is None
        and not causal
        and not options.get("dropout")
    )
    if not ours:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    scaling = options.get("scaling")
    scaling = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    out: torch.Tensor = _Attention.apply(query, key, value, scaling)
    return out.transpose(1, 2).contiguous(), None


class _Attention(torch.autograd.Function):
    """The fused forward pass, and the backward pass of the module's docstring."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scaling = scaling
        return F.scaled_dot_product_attention(query, key, value, scale=scaling)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value = (tensor.flatten(0, 1) for tensor in ctx.saved_tensors)
        query = query * ctx.scaling
        upstream = gradients[0].to(query.dtype).flatten(0, 1)
        found = tuple(torch.empty_like(tensor) for tensor in (query, key, value))
        rows = max(1, _BLOCK_BYTES // (2 * query.shape[1] * key.shape[1]))
        parts = zip(*(t.split(rows) for t in (query, key, value, upstream, *found)), strict=True)
        for q, k, v, g, d_query, d_key, d_value in parts:
            weights = torch.bmm(q, k.transpose(1, 2)).softmax(-1)
            d_value.copy_(torch.bmm(weights.transpose(1, 2), g))
            d_weights = torch.bmm(g, v.transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            d_query.copy_(torch.bmm(d_scores, k))
            d_key.copy_(torch.bmm(d_scores.transpose(1, 2), q))
        found[0].mul_(ctx.scaling)
        shapes = (tensor.shape for tensor in ctx.saved_tensors)
        return *(t.view(shape) for t, shape in zip(found, shapes, strict=True)), None


AttentionInterface.register(_NAME, attend)
AttentionMaskInterface.register(_NAME, sdpa_mask)
