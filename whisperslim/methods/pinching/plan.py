"""From thresholds to scores and to a plan that meets its target exactly.

In the last phase of self-pinching thresholds stand still: the model trains as it will be cut.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import Slice, UnitSite, prunable_total
from whisperslim.core.plan.plan import PruningPlan, Scores, ZeroRule
from whisperslim.core.surgery.gates import plan_masks
from whisperslim.core.surgery.units import kept_of, matrices
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.pinching.thresholds import Thresholds
from whisperslim.methods.shared.reach import check_removed, frozen_note, room_for_zeros
from whisperslim.methods.shared.units import hold_zeros


@torch.no_grad()
def ratio_scores(
    groups: Sequence[UnitSite],
    thresholds: Thresholds,
    worth: Callable[[UnitSite], torch.Tensor],
) -> Scores:
    """Each unit's worth in its group's threshold: one is where the gate closes.

    `worth` gives the square of what the thresholds are compared with.

    Groups without a threshold are frozen; their units rank behind all others.
    """
    values = thresholds.by_group(thresholds.values())
    sizes = {group.key: worth(group).sqrt() for group in groups}
    scores = {key: sizes[key] / value for key, value in values.items()}
    top = max(float(own.max()) for own in scores.values())
    frozen = {key: 2 * top + own for key, own in sizes.items() if key not in scores}
    return {group.key: {**scores, **frozen}[group.key] for group in groups}


def check_reach(
    groups: Sequence[UnitSite],
    gated: Sequence[UnitSite],
    target: Target,
    floor: float,
) -> None:
    """Raise `PlanError` with the reachable range when the gated groups cannot give the target."""
    check_removed(target.removed, groups, gated)
    # `floor` of every matrix stays.
    limit = max(0.0, (1 - floor) * room_for_zeros(groups, gated, target.removed))
    if not 0.0 <= target.zeroed <= limit:
        raise PlanError(
            f"cannot zero {target.zeroed} of the prunable weights: after a removal of "
            f"{target.removed} the groups being trained allow 0 to {limit:.4f}"
            f"{frozen_note(len(groups) - len(gated))}; lower zeroed, removed or floor"
        )


@torch.no_grad()
def with_pinched_zeros(
    model: nn.Module,
    groups: Sequence[UnitSite],
    plan: PruningPlan,
    share: float,
    thresholds: Thresholds,
    floor: float,
) -> PruningPlan:
    """`plan` with rules `|w| < c * t` added; one `c` for all groups hits the share.

    `share` is of the prunable weights of the dense model, as a target's is. The largest `floor`
    of each matrix stay, so that none is zeroed whole. Groups without a threshold are frozen and
    keep their elements.

    Raises:
        PlanError: when fewer weights than that are left after the cut.
    """
    if share <= 0:
        return plan
    values = thresholds.by_group(thresholds.values())
    ratios, ceilings = [], {}
    for key, part in _matrices(groups, values):
        kept = kept_of(model.get_parameter(part.parameter), part, plan.keep[key])
        sizes = kept.abs().flatten()
        ceiling = _largest(sizes, floor)
        ratios.append((sizes / values[key]).masked_fill_(sizes >= ceiling, math.inf))
        ceilings[part.parameter] = float(ceiling)
    scale = _scale_for(torch.cat(ratios), share, prunable_total(tuple(groups)))
    rules = {
        part.parameter: ZeroRule(0.0, min(scale * values[key], ceilings[part.parameter]))
        for key, part in _matrices(groups, values)
    }
    return replace(plan, zero=rules)


def _scale_for(ratios: torch.Tensor, share: float, total: int) -> float:
    """The `c` below which lie the share's many ratios; infinite ones are out of reach."""
    wanted, free = round(share * total), int(torch.isfinite(ratios).sum())
    if wanted > free:
        raise PlanError(
            f"cannot zero {share} of the prunable weights: {free / total:.4f} may be zeroed after "
            "the cut; lower zeroed, removed or floor"
        )
    # `kthvalue` counts from 1 and the rule is strict, so the next value up is the threshold.
    return float(torch.kthvalue(ratios, wanted + 1).values)


def _largest(sizes: torch.Tensor, floor: float) -> torch.Tensor:
    """The size above which lies `floor` of them, one at least; scalar."""
    stay = max(1, math.ceil(floor * sizes.numel()))
    return torch.kthvalue(sizes, sizes.numel() - stay + 1).values


def _matrices(groups: Sequence[UnitSite], values: Mapping[str, float]) -> list[tuple[str, Slice]]:
    return [(group.key, part) for group, part in matrices(groups) if group.key in values]


class SettledMasks:
    """A plan's masks on the model it was made for.

    Closed units stay closed. Closed elements are set to zero where they stand, and again after each
    step.

    Attributes:
        scores: What the plan was made of; the same plan can be made of them again.
    """

    def __init__(self, model: nn.Module, groups: Sequence[UnitSite]) -> None:
        self._model, self._groups = model, tuple(groups)
        self.scores: dict[str, torch.Tensor] = {}
        self._masks: dict[str, torch.Tensor] = {}
        self._zeros: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def take(self, scores: Scores, plan: PruningPlan) -> None:
        """Remember the masks of a plan, and the scores behind it; zero what it closes."""
        self.scores = dict(scores)
        masks = plan_masks(self._groups, plan)
        self._masks = {key: mask.to(scores[key].device) for key, mask in masks.items()}
        self._zeros = {
            name: self._model.get_parameter(name).abs() < rule.radius
            for name, rule in plan.zero.items()
        }
        self.hold_zeros()

    def mask(self, group: UnitSite) -> torch.Tensor:
        """A group's mask of 0 and 1, `(count,)`."""
        return self._masks[group.key]

    def hold_zeros(self) -> None:
        """Put the closed elements back to zero, in place."""
        hold_zeros(self._model, self._zeros)

    def unit_densities(self) -> Mapping[str, float]:
        """Share of each group's units that is open."""
        return {key: float(mask.mean()) for key, mask in self._masks.items()}

    def element_densities(self) -> Mapping[str, float]:
        """Share of each group's elements that is open, those of closed units counted alike."""
        shares = {}
        for group in self._groups:
            names = [part.parameter for part in group.slices if part.parameter in self._zeros]
            closed = sum(int(self._zeros[name].sum()) for name in names)
            shares[group.key] = 1 - closed / (group.count * group.weights_per_unit)
        return shares

    def state_dict(self) -> dict[str, Any]:
        """Scores, masks of units, and which elements are closed."""
        return {"scores": self.scores, "masks": self._masks, "zeros": self._zeros}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.scores, self._masks = dict(state["scores"]), dict(state["masks"])
        self._zeros = dict(state["zeros"])
