"""Self-pinching gates at work on a model: on units' activations, and on single weights."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from whisperslim.core.families import UnitGroup, prunable_total, total_price
from whisperslim.methods.pinching_masks import (
    MaskedWeight,
    SoftCount,
    soft_mask,
    straight_through,
)
from whisperslim.methods.pinching_thresholds import (
    Thresholds,
    element_range,
    matrices_of,
    unit_range,
    weight_sizes,
)


class UnitGates:
    """Masks over heads and FFN units: `1[s >= t^2]`, with `s` a unit's worth, squared."""

    def __init__(
        self,
        groups: Sequence[UnitGroup],
        thresholds: Thresholds,
        floor: float,
        worth: Callable[[UnitGroup], torch.Tensor],
    ) -> None:
        self._groups, self._floor, self._worth = tuple(groups), floor, worth
        self.thresholds = thresholds
        self._soft: dict[str, torch.Tensor] = {}
        # Masks of the last forward pass, 0 and 1. A look at other weights, such as their average,
        # leaves that look's: every pass with gradient must write its own.
        self._open: dict[str, torch.Tensor] = {}

    def mask(self, group: UnitGroup) -> torch.Tensor | None:
        """A group's mask, `(count,)`; None for a group without a threshold."""
        if group.key not in self.thresholds:
            return None
        if not torch.is_grad_enabled():
            # Decoding asks at every token: worked out once per step.
            if group.key not in self._open:
                self._open[group.key] = self._hard_mask(group)
            return self._open[group.key]
        squares = self._worth(group)
        threshold = self.thresholds.at(group.key)
        soft = soft_mask(squares, threshold, self.thresholds.tau_at(group.key))
        mask = straight_through(squares, soft, threshold)
        self._soft[group.key], self._open[group.key] = soft, mask.detach()
        return mask

    def opened(self, group: UnitGroup) -> torch.Tensor:
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
        """Keep every threshold within reach of its units; the step's masks are void then."""
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
    def _hard_mask(self, group: UnitGroup) -> torch.Tensor:
        """A gated group's mask by the weights as they stand."""
        squares = self._worth(group)
        return (squares >= self.thresholds.at(group.key).square()).to(squares.dtype)

    def _soft_of(self, group: UnitGroup) -> torch.Tensor:
        # The forward pass has made it, and shares its graph.
        if group.key not in self._soft:
            self.mask(group)
        return self._soft.pop(group.key)


class ElementGates:
    """Masks over single weights: `1[w^2 >= t^2]`."""

    def __init__(
        self, model: nn.Module, groups: Sequence[UnitGroup], thresholds: Thresholds, floor: float
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

    def _soft_count(self, group: UnitGroup, opened: torch.Tensor) -> torch.Tensor:
        threshold = self.thresholds.at(group.key)
        tau = self.thresholds.tau_at(group.key)
        counts = [
            SoftCount.apply(
                self._model.get_parameter(part.parameter),
                threshold,
                tau,
                opened,
                part.dim,
                part.block,
            )
            for part in group.slices
            if part.parameter.endswith(".weight")
        ]
        return torch.stack(counts).sum()

    def _opened(self, group: UnitGroup, units: UnitGates | None) -> torch.Tensor:
        if units is not None:
            return units.opened(group)
        return torch.ones(group.count, device=self.thresholds.tau.device)


def _gated(groups: Sequence[UnitGroup], thresholds: Thresholds) -> tuple[UnitGroup, ...]:
    """The groups with a threshold, in the thresholds' order."""
    return tuple(group for group in groups if group.key in thresholds)


def _columns(
    ranges: Sequence[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor]:
    lowest, highest = zip(*ranges, strict=True)
    return torch.stack(lowest), torch.stack(highest)
