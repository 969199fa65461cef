"""Masks of self-pinching gates: hard going forward, soft going backward.

With `x = w^2` of an element, or the mean of the squares of a unit's weights,

    M = sigmoid((x - t^2) / (2 tau))    forward: 1[x >= t^2]
    dM/dw = (w / tau) M (1 - M)         dM/dt = -(t / tau) M (1 - M)

That the forward is hard is known from reviews of the paper only; the straight-through backward is
our choice. Nothing of a matrix's size is kept for the backward pass but the masked matrix itself:
the soft mask is computed anew.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core.families import UnitGroup
from whisperslim.methods.unit_norms import as_units


class MaskedWeight(torch.autograd.Function):
    """`w * 1[|w| >= t]`, with the gradient of `w * M` in which `M`'s value is the hard mask."""

    @staticmethod
    def forward(
        ctx: Any, weight: torch.Tensor, threshold: torch.Tensor, tau: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(weight, threshold, tau)
        return hard_masked(weight, threshold)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        weight, threshold, tau = ctx.saved_tensors
        (grad,) = grads
        through = _slope(weight, threshold, tau).mul_(weight).mul_(grad)
        to_threshold = -threshold * through.sum()
        to_weight = through.mul_(weight).add_(grad.masked_fill(weight.abs() < threshold, 0.0))
        return to_weight, to_threshold, None


class SoftCount(torch.autograd.Function):
    """Sum of `M` over a matrix's elements, each unit's counted `opened` times; a scalar.

    Arguments: the matrix, `t`, `tau`, `opened` of shape `(count,)`, and the slice's `dim` and
    `block`. Differentiable in the matrix and `t`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: torch.Tensor,
        threshold: torch.Tensor,
        tau: torch.Tensor,
        opened: torch.Tensor,
        dim: int,
        block: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(weight, threshold, tau, opened)
        ctx.layout = (dim, block)
        soft = soft_mask(weight.square(), threshold, tau)
        return as_units(soft, dim, block).sum(dim=(0, 2, 3)).mul(opened).sum()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weight, threshold, tau, opened = ctx.saved_tensors
        slope = _slope(weight, threshold, tau)
        as_units(slope, *ctx.layout).mul_((grads[0] * opened)[:, None, None])
        to_threshold = -threshold * slope.sum()
        return slope.mul_(weight), to_threshold, None, None, None, None


def soft_mask(squares: torch.Tensor, threshold: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    """`M` of squared elements, or of units' mean squares; shape of `squares`."""
    return torch.sigmoid((squares - threshold.square()) / (2 * tau))


def hard_masked(weight: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    """The matrix with its elements below the threshold at zero."""
    return weight.masked_fill(weight.abs() < threshold, 0.0)


def straight_through(
    squares: torch.Tensor, soft: torch.Tensor, threshold: torch.Tensor
) -> torch.Tensor:
    """Units' mask, exactly 0 or 1, whose gradient is that of `soft`; `(count,)`."""
    hard = (squares >= threshold.square()).to(soft.dtype)
    return hard + (soft - soft.detach())


def unit_mean_squares(model: nn.Module, group: UnitGroup) -> torch.Tensor:
    """Mean of the squares of each unit's matrix elements, differentiable; `(count,)`.

    Biases are left out: Whisper's FFN biases are several times its weights in size and would
    decide alone.
    """
    sums = [
        as_units(model.get_parameter(part.parameter), part.dim, part.block)
        .float()
        .square()
        .sum(dim=(0, 2, 3))
        for part in group.slices
        if part.parameter.endswith(".weight")
    ]
    return torch.stack(sums).sum(0) / group.weights_per_unit


def attach_weight_masks(
    model: nn.Module, names: Iterable[str], mask: Callable[[str], torch.Tensor | None]
) -> list[RemovableHandle]:
    """Let the modules owning the parameters `names` compute with `mask(name)` in their place.

    The stand-in is put before the module's forward pass and taken away after it, also when that
    raises. It shadows the parameter as an instance attribute: the parameter itself, its name, its
    optimizer and its checkpoints never notice. None from `mask` leaves the parameter in use.
    """
    handles = []
    for name in names:
        owner, leaf = name.rsplit(".", 1)
        module = model.get_submodule(owner)
        handles.append(module.register_forward_pre_hook(_shadow(name, leaf, mask)))
        handles.append(module.register_forward_hook(_unshadow(leaf), always_call=True))
    return handles


def _shadow(
    name: str, leaf: str, mask: Callable[[str], torch.Tensor | None]
) -> Callable[[nn.Module, Any], None]:
    def put(module: nn.Module, _inputs: Any) -> None:
        masked = mask(name)
        if masked is not None:
            # Not setattr, which refuses a tensor in a parameter's place.
            module.__dict__[leaf] = masked

    return put


def _unshadow(leaf: str) -> Callable[[nn.Module, Any, Any], None]:
    def take_away(module: nn.Module, _inputs: Any, _output: Any) -> None:
        module.__dict__.pop(leaf, None)

    return take_away


def _slope(weight: torch.Tensor, threshold: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
    """`M (1 - M) / tau` of every element, in fresh memory."""
    soft = soft_mask(weight.square(), threshold, tau)
    return soft.mul_(1 - soft).div_(tau)
