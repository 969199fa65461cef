"""The last phase of self-pinching: thresholds stand still, the model trains as it will be cut."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitGroup
from whisperslim.core.gates import plan_masks
from whisperslim.core.plan import PruningPlan, Scores
from whisperslim.methods.pinching_masks import hard_masked
from whisperslim.methods.pinching_thresholds import matrices_of


class SettledMasks:
    """A plan's masks on the model it was made for.

    Closed units stay closed. A closed element has no gradient and stays closed too; an open one
    that falls below its radius closes.

    Attributes:
        scores: What the plan was made of; the same plan can be made of them again.
    """

    def __init__(self, model: nn.Module, groups: Sequence[UnitGroup]) -> None:
        self._model, self._groups = model, tuple(groups)
        self.scores: dict[str, torch.Tensor] = {}
        self._masks: dict[str, torch.Tensor] = {}
        self._radii: dict[str, float] = {}

    def take(self, scores: Scores, plan: PruningPlan) -> None:
        """Remember the masks of a plan, and the scores behind it."""
        self.scores = dict(scores)
        masks = plan_masks(self._groups, plan)
        self._masks = {key: mask.to(scores[key].device) for key, mask in masks.items()}
        self._radii = {name: rule.radius for name, rule in plan.zero.items()}

    def mask(self, group: UnitGroup) -> torch.Tensor:
        """A group's mask of 0 and 1, `(count,)`."""
        return self._masks[group.key]

    def masked(self, name: str) -> torch.Tensor | None:
        """The matrix `name` with its closed elements at zero; None without a rule."""
        if name not in self._radii:
            return None
        return hard_masked(self._model.get_parameter(name), self._radii[name])

    def unit_densities(self) -> Mapping[str, float]:
        """Share of each group's units that is open."""
        return {key: float(mask.mean()) for key, mask in self._masks.items()}

    def element_densities(self) -> Mapping[str, float]:
        """Share of each group's elements that is open, those of closed units counted alike."""
        shares = {}
        for group in self._groups:
            names = [part.parameter for part in group.slices if part.parameter.endswith(".weight")]
            left = sum(
                int((matrix.abs() >= self._radii.get(name, 0.0)).sum())
                for name, matrix in zip(names, matrices_of(self._model, group), strict=True)
            )
            shares[group.key] = left / (group.count * group.weights_per_unit)
        return shares

    def state_dict(self) -> dict[str, Any]:
        """Scores, masks and radii."""
        return {"scores": self.scores, "masks": self._masks, "radii": self._radii}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.scores, self._masks = dict(state["scores"]), dict(state["masks"])
        self._radii = dict(state["radii"])
