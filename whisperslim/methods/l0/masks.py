"""Hard concrete masks over units, sub-layers and layers, and the expected size under them.

A unit counts as open when its own mask, its sub-layer's and its layer's are: the three are drawn
independently, so their probabilities multiply.

The hard concrete distribution: masks that are exactly 0 or 1 often, and yet have gradients.

From Louizos et al., "Learning sparse neural networks through L0 regularization" (arXiv
1712.01312), with that paper's constants:

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta),   u uniform in (0, 1)
    z = clamp(s * (zeta - gamma) + gamma, 0, 1)
    P(z > 0) = sigmoid(log_alpha - beta * log(-gamma / zeta))
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from whisperslim.core import ranks
from whisperslim.core.families import UnitGroup
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.methods.l0.options import L0Options
from whisperslim.methods.shared.units import per_weight

GAMMA, ZETA, BETA = -0.1, 1.1, 2.0 / 3.0
# P(z > 0) is a sigmoid of log_alpha moved by this much.
SHIFT = -BETA * math.log(-GAMMA / ZETA)
# Noise at 0 or 1 has an infinite logit, whose gradient is not a number.
_EDGE = 1e-6


def draw_noise(size: int, device: torch.device) -> torch.Tensor:
    """Uniform noise in (0, 1), `(size,)`, drawn on the CPU: the same numbers on every device."""
    return torch.rand(size).clamp(_EDGE, 1.0 - _EDGE).to(device)


def sample(log_alpha: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Masks in [0, 1] for uniform `noise` of `log_alpha`'s shape, with gradient to `log_alpha`."""
    return _stretch(torch.sigmoid((torch.logit(noise) + log_alpha) / BETA))


def deterministic(log_alpha: torch.Tensor) -> torch.Tensor:
    """The mask used where nothing is drawn, in [0, 1] (equation 13 of the paper)."""
    return _stretch(torch.sigmoid(log_alpha))


def log_probability_open(log_alpha: torch.Tensor) -> torch.Tensor:
    """`log P(z > 0)`, exact where the probability is nearly 0 or 1."""
    return torch.nn.functional.logsigmoid(log_alpha + SHIFT)


def log_alpha_for(probability: float) -> float:
    """The `log_alpha` at which `P(z > 0)` is `probability`, a number in (0, 1)."""
    return math.log(probability / (1.0 - probability)) - SHIFT


def _stretch(values: torch.Tensor) -> torch.Tensor:
    return (values * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)


# Masks over blocks and layers start as open as CoFi's (Xia et al., arXiv 2204.00408), and the masks
# of units at most this far, in deviations of their log information, from where all would start.
_COARSE_START = 10.0
_MOST_DEVIATIONS = 3.0


class L0Masks:
    """All masks of a model. Their `log_alpha` is one vector: units, sub-layers, layers.

    A mask is open until `redraw` is called for the first time; then drawn where gradients are
    wanted and deterministic elsewhere, until `harden` makes it 0 or 1 for good.
    """

    def __init__(
        self, groups: Sequence[UnitGroup], options: L0Options, device: torch.device
    ) -> None:
        self._groups = tuple(groups)
        self._units: dict[str, slice] = {}
        self._outer: dict[str, tuple[slice, ...]] = {}
        size = self._lay_out(options)
        self._units_end = sum(group.count for group in self._groups)
        start = log_alpha_for(options.open_at_start)
        self.log_alpha = nn.Parameter(torch.full((size,), start, device=device))
        self.noise = torch.empty(0, device=device)
        self.hard = torch.empty(0, device=device)

    def _lay_out(self, options: L0Options) -> int:
        """Give every mask its place in the vector; returns the vector's length."""
        size = 0
        for group in self._groups:
            self._units[group.key] = slice(size, size + group.count)
            self._outer[group.key] = ()
            size += group.count
        owners: dict[str, slice] = {}
        for group in self._groups:
            layer = f"{group.stack}.{group.layer}"
            for owner, wanted in ((group.key, options.sublayers), (layer, options.layers)):
                if wanted and owner not in owners:
                    owners[owner] = slice(size, size + 1)
                    size += 1
                if wanted:
                    self._outer[group.key] += (owners[owner],)
        return size

    @property
    def settled(self) -> bool:
        """Whether masks are hard and fixed."""
        return self.hard.numel() > 0

    @torch.no_grad()
    def start_from(self, information: Mapping[str, torch.Tensor]) -> None:
        """Start each unit's mask by the Fisher information of the unit, `(count,)` per group.

        `log_alpha = a + z`, with `a` where all would start and `z` the unit's log information per
        weight, standardized over all units: those that hardly change the loss close first. Masks
        over blocks and layers start wide open.
        """
        found = per_weight(information, self._groups)
        logs = torch.cat([each.clamp_min(1e-30).log() for each in found.values()])
        deviations = (logs - logs.mean()) / logs.std().clamp_min(1e-12)
        units = self.log_alpha[: self._units_end]
        units.add_(deviations.clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS).to(units))
        self.log_alpha[self._units_end :] = _COARSE_START

    def redraw(self) -> None:
        """New noise, from the CPU's random state; one draw serves all passes until the next.

        Of processes that train together, the first one draws.
        """
        noise = draw_noise(self.log_alpha.numel(), torch.device("cpu"))
        self.noise = ranks.from_first(noise).to(self.log_alpha.device)

    def harden(self, plan: PruningPlan) -> None:
        """From now on a unit's mask is 1 where `plan` keeps it, and 0 elsewhere."""
        hard = torch.zeros(sum(g.count for g in self._groups), device=self.log_alpha.device)
        for group in self._groups:
            hard[self._units[group.key]][list(plan.keep[group.key])] = 1.0
        self.hard = hard

    def unit_gate(self, group: UnitGroup, activation: torch.Tensor) -> torch.Tensor | None:
        """Masks of a group's units, `(count,)`, for `attach_gates`."""
        if not self.noise.numel():
            return None
        place = self._units[group.key]
        values = self.hard[place] if self.settled else self._value(place)
        return values.to(activation.dtype)

    def outer_gate(self, group: UnitGroup, output: torch.Tensor) -> torch.Tensor | None:
        """Its sub-layer's mask times its layer's, of one element, for `attach_output_gates`.

        Once masks are hard it is 0 where no unit is left: the output bias goes with the last one.
        """
        if not self.noise.numel():
            return None
        if self.settled:
            return self.hard[self._units[group.key]].amax().to(output.dtype)
        factor = torch.ones(1, device=output.device)
        for place in self._outer[group.key]:
            factor = factor * self._value(place)
        return factor.to(output.dtype)

    def log_open(self, group: UnitGroup) -> torch.Tensor:
        """Log probability that each unit's masks are all open, `(count,)`, with gradient."""
        units = log_probability_open(self.log_alpha[self._units[group.key]])
        return units + self.log_outer_open(group)

    def log_outer_open(self, group: UnitGroup) -> torch.Tensor:
        """Log probability that its sub-layer's and its layer's mask are open, `(1,)`."""
        total = torch.zeros(1, device=self.log_alpha.device)
        for place in self._outer[group.key]:
            total = total + log_probability_open(self.log_alpha[place])
        return total

    def expected_removed(self, costs: Mapping[str, float]) -> torch.Tensor:
        """Share of the cost of all units that is expected to be closed, a scalar with gradient."""
        total = sum(group.count * costs[group.key] for group in self._groups)
        shares = [
            self.log_open(group).exp().sum() * (costs[group.key] / total) for group in self._groups
        ]
        return 1.0 - torch.stack(shares).sum()

    @torch.no_grad()
    def density(self, group: UnitGroup) -> torch.Tensor:
        """Share of a group's units that is open: expected, or counted once masks are hard."""
        if self.settled:
            return self.hard[self._units[group.key]].mean()
        return self.log_open(group).exp().mean()

    def _value(self, place: slice) -> torch.Tensor:
        if torch.is_grad_enabled():
            return sample(self.log_alpha[place], self.noise[place])
        return deterministic(self.log_alpha[place])
