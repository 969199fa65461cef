"""The learnable thresholds of self-pinching gates: where they start and how far they may go."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitSite
from whisperslim.core.surgery.units import matrices
from whisperslim.methods.pinching.options import SelfPinchingOptions

_SAMPLE = 65_536
_NEVER_BELOW = 0.02  # of the root mean square: at zero a threshold has no gradient


class Thresholds:
    """One threshold per group, `t = pace * raw`, with `raw` what the optimizer moves.

    Attributes:
        keys: Group keys, in the order of the tensors, each `(len(keys),)`.
        raw: The learnable parameter.
        pace: Weights' units per unit of `raw`, so that one rate suits groups of every spread.
        tau: Softness, in squared weights' units, fixed from the start.
        clamped: At how many steps each threshold had to be held back.
    """

    def __init__(
        self, keys: Sequence[str], values: torch.Tensor, pace: torch.Tensor, tau: torch.Tensor
    ) -> None:
        self.keys = tuple(keys)
        self.raw = nn.Parameter(values / pace)
        self.pace, self.tau = pace, tau
        self.clamped = torch.zeros_like(values)
        self._place = {key: index for index, key in enumerate(self.keys)}

    def __contains__(self, key: str) -> bool:
        return key in self._place

    def at(self, key: str) -> torch.Tensor:
        """A group's threshold, with gradient; scalar."""
        place = self._place[key]
        return self.raw[place] * self.pace[place]

    def tau_at(self, key: str) -> torch.Tensor:
        """A group's softness; scalar."""
        return self.tau[self._place[key]]

    def values(self) -> torch.Tensor:
        """Every threshold, without gradient."""
        return self.raw.detach() * self.pace

    def by_group(self, tensor: torch.Tensor) -> dict[str, float]:
        """Group key -> its element of `tensor`."""
        return dict(zip(self.keys, tensor.tolist(), strict=True))

    @torch.no_grad()
    def clamp(self, lowest: torch.Tensor, highest: torch.Tensor) -> None:
        """Hold every threshold between the two, and count those that ran past `highest`."""
        values = self.values()
        # A little less than the k-th largest, or rounding would close that one too.
        highest = highest * (1 - 1e-5)
        self.clamped += values > highest
        held = torch.minimum(torch.maximum(values, lowest), highest)
        self.raw.copy_(torch.where(held == values, self.raw, held / self.pace))

    @torch.no_grad()
    def restart(self, other: "Thresholds") -> None:
        """Become `other`, of the same groups; `raw` stays the optimizer's parameter."""
        self.raw.copy_(other.raw)
        self.pace, self.tau = other.pace, other.tau

    def state_dict(self) -> dict[str, Any]:
        """Keys and tensors."""
        return {
            "keys": list(self.keys),
            "raw": self.raw.detach(),
            "pace": self.pace,
            "tau": self.tau,
            "clamped": self.clamped,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`; `raw` stays the optimizer's parameter where it can."""
        self.keys = tuple(state["keys"])
        self._place = {key: index for index, key in enumerate(self.keys)}
        # When planning nothing is frozen, so a model attached to then has more groups than here.
        if self.raw.shape == state["raw"].shape:
            self.raw.data.copy_(state["raw"])
        else:
            self.raw = nn.Parameter(state["raw"].clone())
        self.pace, self.tau = state["pace"], state["tau"]
        self.clamped = state["clamped"].clone()


@torch.no_grad()
def start_units(
    model: nn.Module,
    groups: Sequence[UnitSite],
    options: SelfPinchingOptions,
    worth: Callable[[UnitSite], torch.Tensor],
) -> Thresholds:
    """Thresholds on units' worth, of which `worth` gives the square.

    They move slower than those on elements by as much as the units' worths lie closer together
    than the elements' sizes do, so that one rate serves both. Worth by Fisher information can be
    compared between layers, so start, pace and softness are then the whole model's (both ours).
    """
    starts, paces, taus = [], [], []
    every = [worth(group) for group in groups]
    spreads = [weight_sizes(model, group).std(unbiased=False).clamp_min(1e-12) for group in groups]
    if options.measures:
        every = [torch.cat(every)] * len(every)
        spreads = [torch.stack(spreads).mean()] * len(spreads)
    for squares, weights in zip(every, spreads, strict=True):
        sizes = squares.sqrt()
        starts.append(torch.quantile(sizes, options.start_quantile))
        spread = sizes.std(unbiased=False).clamp_min(1e-3 * sizes.mean() + 1e-12)
        paces.append(spread / weights)
        own = squares.std(unbiased=False).clamp_min(1e-3 * squares.mean() + 1e-12)
        taus.append(options.unit_tau_factor * own)
    return _thresholds(groups, starts, paces, taus)


@torch.no_grad()
def start_elements(
    model: nn.Module, groups: Sequence[UnitSite], options: SelfPinchingOptions
) -> Thresholds:
    """Thresholds on the sizes of single weights."""
    starts, paces, taus = [], [], []
    for group in groups:
        sizes = weight_sizes(model, group)
        least = _NEVER_BELOW * sizes.square().mean().sqrt()
        starts.append(torch.maximum(torch.quantile(sizes, options.start_quantile), least))
        paces.append(torch.ones_like(least))
        taus.append(options.tau_factor * variance(model, group).clamp_min(1e-12))
    return _thresholds(groups, starts, paces, taus)


def unit_range(
    squares: torch.Tensor, tau: torch.Tensor, floor: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest sensible threshold on units of the given mean squares; scalars.

    The lowest still feels the smallest unit, or it could never come back; the highest leaves
    `floor` of the units, and one at least.
    """
    lowest = torch.maximum(squares.min() - 6 * tau, _NEVER_BELOW**2 * squares.mean())
    stay = max(1, math.ceil(floor * len(squares)))
    return lowest.sqrt(), torch.topk(squares, stay).values[-1].sqrt()


def element_range(sizes: torch.Tensor, floor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Lowest and highest sensible threshold on elements of the given sizes; scalars."""
    stay = max(1, math.ceil(floor * len(sizes)))
    lowest = _NEVER_BELOW * sizes.square().mean().sqrt()
    return lowest, torch.topk(sizes, stay).values[-1]


def weight_sizes(model: nn.Module, group: UnitSite) -> torch.Tensor:
    """|w| of a group's matrices, or of an even sample of about 65,536 of them; 1-D."""
    # Odd, so that it does not walk along one column of matrices as wide as a power of two.
    stride = (group.count * group.weights_per_unit // _SAMPLE) | 1
    return torch.cat([matrix.flatten()[::stride].abs() for matrix in matrices_of(model, group)])


def variance(model: nn.Module, group: UnitSite) -> torch.Tensor:
    """Variance of all elements of a group's matrices together; scalar."""
    count = group.count * group.weights_per_unit
    matrices = matrices_of(model, group)
    mean = torch.stack([matrix.sum() for matrix in matrices]).sum() / count
    return torch.stack([(matrix - mean).square().sum() for matrix in matrices]).sum() / count


def matrices_of(model: nn.Module, group: UnitSite) -> list[torch.Tensor]:
    """A group's weight matrices, without gradient."""
    return [model.get_parameter(part.parameter).detach() for _, part in matrices([group])]


def _thresholds(
    groups: Sequence[UnitSite],
    starts: list[torch.Tensor],
    paces: list[torch.Tensor],
    taus: list[torch.Tensor],
) -> Thresholds:
    keys = [group.key for group in groups]
    return Thresholds(keys, torch.stack(starts), torch.stack(paces), torch.stack(taus))
