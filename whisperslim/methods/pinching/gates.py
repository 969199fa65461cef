"""Self-pinching gates at work on a model: on units' activations, and on single weights.

Masks of self-pinching gates: hard going forward, soft going backward.

With `x = w^2` of an element, or the mean of the squares of a unit's weights,

    M = sigmoid((x - t^2) / (2 tau))    forward: 1[x >= t^2]
    dM/dw = (w / tau) M (1 - M)         dM/dt = -(t / tau) M (1 - M)

That the forward is hard is known from reviews of the paper only; the straight-through backward is
our choice. Nothing of a matrix's size is kept for the backward pass but the masked matrix itself:
the soft mask is computed again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core.families import Slice, UnitSite, prunable_total, total_price
from whisperslim.core.surgery.units import as_units, matrices
from whisperslim.methods.pinching.thresholds import (
    Thresholds,
    element_range,
    matrices_of,
    unit_range,
    weight_sizes,
)


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

    Arguments: the matrix, `t`, `tau`, `opened` of shape `(count,)`, and the matrix's slice.
    Differentiable in the matrix and `t`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: torch.Tensor,
        threshold: torch.Tensor,
        tau: torch.Tensor,
        opened: torch.Tensor,
        part: Slice,
    ) -> torch.Tensor:
        ctx.save_for_backward(weight, threshold, tau, opened)
        ctx.part = part
        soft = soft_mask(weight.square(), threshold, tau)
        return as_units(soft, part).sum(dim=(0, 2, 3)).mul(opened).sum()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        weight, threshold, tau, opened = ctx.saved_tensors
        slope = _slope(weight, threshold, tau)
        as_units(slope, ctx.part).mul_((grads[0] * opened)[:, None, None])
        to_threshold = -threshold * slope.sum()
        return slope.mul_(weight), to_threshold, None, None, None


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


def unit_mean_squares(model: nn.Module, group: UnitSite) -> torch.Tensor:
    """Mean of the squares of each unit's matrix elements, differentiable; `(count,)`.

    Biases are left out: Whisper's FFN biases are several times its weights in size and would
    decide alone.
    """
    sums = [
        as_units(model.get_parameter(part.parameter), part).float().square().sum(dim=(0, 2, 3))
        for _, part in matrices([group])
    ]
    return torch.stack(sums).sum(0) / group.weights_per_unit


def attach_weight_masks(
    model: nn.Module, names: Iterable[str], mask: Callable[[str], torch.Tensor | None]
) -> list[RemovableHandle]:
    """Let the modules owning the parameters `names` compute with `mask(name)` in their place.

    The stand-in is put before the module's forward pass and taken away after it, also when that
    raises. It shadows the parameter as an instance attribute: the parameter itself, its name, its
    optimizer and its checkpoints are unaffected. None from `mask` leaves the parameter in use.
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


class UnitGates:
    """Masks over heads and FFN units: `1[s >= t^2]`, with `s` a unit's worth, squared."""

    def __init__(
        self,
        groups: Sequence[UnitSite],
        thresholds: Thresholds,
        floor: float,
        worth: Callable[[UnitSite], torch.Tensor],
    ) -> None:
        self._groups, self._floor, self._worth = tuple(groups), floor, worth
        self.thresholds = thresholds
        self._soft: dict[str, torch.Tensor] = {}
        # Masks of the last forward pass, 0 and 1. A pass with other weights, such as their average,
        # leaves masks of those: every pass with gradient must write its own.
        self._open: dict[str, torch.Tensor] = {}

    def mask(self, group: UnitSite) -> torch.Tensor | None:
        """A group's mask, `(count,)`; None for a group without a threshold."""
        if group.key not in self.thresholds:
            return None
        if not torch.is_grad_enabled():
            # Decoding asks at every token: computed once per step.
            if group.key not in self._open:
                self._open[group.key] = self._hard_mask(group)
            return self._open[group.key]
        squares = self._worth(group)
        threshold = self.thresholds.at(group.key)
        soft = soft_mask(squares, threshold, self.thresholds.tau_at(group.key))
        mask = straight_through(squares, soft, threshold)
        self._soft[group.key], self._open[group.key] = soft, mask.detach()
        return mask

    def opened(self, group: UnitSite) -> torch.Tensor:
        """The mask that a gated group had in the forward pass, without gradient; `(count,)`."""
        return self._open[group.key]

    def density(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Soft shares of the dense model that are open: of the price of all units, which a target
        counts, and of the prunable weights; scalars with gradient.
        """
        groups = _gated(self._groups, self.thresholds)
        opened = [self._soft_of(group).sum() for group in groups]
        prices = [own * group.unit_price for own, group in zip(opened, groups, strict=True)]
        sizes = [own * group.weights_per_unit for own, group in zip(opened, groups, strict=True)]
        price, size = total_price(self._groups), prunable_total(self._groups)
        return (
            (torch.stack(prices).sum() + price - total_price(groups)) / price,
            (torch.stack(sizes).sum() + size - prunable_total(groups)) / size,
        )

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep every threshold within reach of its units; the step's masks no longer apply then."""
        ranges = [
            unit_range(self._worth(group), self.thresholds.tau_at(group.key), self._floor)
            for group in _gated(self._groups, self.thresholds)
        ]
        self.thresholds.clamp(*_columns(ranges))
        self._soft, self._open = {}, {}

    def densities(self) -> Mapping[str, float]:
        """Share of each gated group's units that are open."""
        groups = _gated(self._groups, self.thresholds)
        shares = torch.stack([self._hard_mask(group).mean() for group in groups])
        return self.thresholds.by_group(shares)

    @torch.no_grad()
    def _hard_mask(self, group: UnitSite) -> torch.Tensor:
        """A gated group's mask by the weights as they stand."""
        squares = self._worth(group)
        return (squares >= self.thresholds.at(group.key).square()).to(squares.dtype)

    def _soft_of(self, group: UnitSite) -> torch.Tensor:
        # The forward pass has made it, and shares its graph.
        if group.key not in self._soft:
            self.mask(group)
        return self._soft.pop(group.key)


class ElementGates:
    """Masks over single weights: `1[w^2 >= t^2]`."""

    def __init__(
        self, model: nn.Module, groups: Sequence[UnitSite], thresholds: Thresholds, floor: float
    ) -> None:
        self._model, self._groups, self._floor = model, tuple(groups), floor
        self.thresholds = thresholds
        self._owner = {part.parameter: group.key for group in groups for part in group.slices}

    def masked(self, name: str) -> torch.Tensor | None:
        """The matrix `name` with its closed elements at zero; None without a threshold."""
        key = self._owner[name]
        if key not in self.thresholds:
            return None
        weight = self._model.get_parameter(name)
        masked: torch.Tensor = MaskedWeight.apply(
            weight, self.thresholds.at(key), self.thresholds.tau_at(key)
        )
        return masked

    def density(self, units: UnitGates | None) -> torch.Tensor:
        """Size-weighted soft density, counted over the units that are open; scalar."""
        kept, present = [], []
        groups = _gated(self._groups, self.thresholds)
        for group in groups:
            opened = self._opened(group, units)
            kept.append(self._soft_count(group, opened))
            present.append(opened.sum() * group.weights_per_unit)
        frozen = prunable_total(self._groups) - prunable_total(groups)
        return (torch.stack(kept).sum() + frozen) / (torch.stack(present).sum() + frozen)

    @torch.no_grad()
    def clamp(self) -> None:
        """Keep every threshold within reach of its weights, by an even sample of them."""
        ranges = [
            element_range(weight_sizes(self._model, group), self._floor)
            for group in _gated(self._groups, self.thresholds)
        ]
        self.thresholds.clamp(*_columns(ranges))

    @torch.no_grad()
    def densities(self) -> Mapping[str, float]:
        """Share of each gated group's elements that are open."""
        shares = []
        for group in _gated(self._groups, self.thresholds):
            threshold = self.thresholds.at(group.key)
            matrices = matrices_of(self._model, group)
            counts = torch.stack([(matrix.abs() >= threshold).sum() for matrix in matrices])
            shares.append(counts.sum() / (group.count * group.weights_per_unit))
        return self.thresholds.by_group(torch.stack(shares))

    def _soft_count(self, group: UnitSite, opened: torch.Tensor) -> torch.Tensor:
        threshold = self.thresholds.at(group.key)
        tau = self.thresholds.tau_at(group.key)
        counts = [
            SoftCount.apply(
                self._model.get_parameter(part.parameter),
                threshold,
                tau,
                opened,
                part,
            )
            for _, part in matrices([group])
        ]
        return torch.stack(counts).sum()

    def _opened(self, group: UnitSite, units: UnitGates | None) -> torch.Tensor:
        if units is not None:
            return units.opened(group)
        return torch.ones(group.count, device=self.thresholds.tau.device)


def _gated(groups: Sequence[UnitSite], thresholds: Thresholds) -> tuple[UnitSite, ...]:
    """The groups with a threshold, in the thresholds' order."""
    return tuple(group for group in groups if group.key in thresholds)


def _columns(
    ranges: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:
    lowest, highest = zip(*ranges, strict=True)
    return torch.stack(lowest), torch.stack(highest)
