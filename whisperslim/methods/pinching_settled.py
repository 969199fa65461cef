"""The last phase of self-pinching: thresholds stand still, the model trains as it will be cut."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitGroup
from whisperslim.core.gates import plan_masks
from whisperslim.core.plan import PruningPlan, Scores
from whisperslim.methods.held_zeros import hold_zeros


class SettledMasks:
    """A plan's masks on the model it was made for.

    Closed units stay closed. Closed elements are set to zero where they stand, and again after each
    step.

    Attributes:
        scores: What the plan was made of; the same plan can be made of them again.
    """

    def __init__(self, model: nn.Module, groups: Sequence[UnitGroup]) -> None:
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

    def mask(self, group: UnitGroup) -> torch.Tensor:
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
