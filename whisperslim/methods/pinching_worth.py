"""What a unit's threshold is compared with: its weights' size, or also what the loss feels of it.

With Fisher information `F_u` of a unit's gate (`importance`) and `n_u` weights in it, the square
of what is compared is

    mean(w_u^2) * f_u^2      f_u = (F_u / n_u)^(1/4), divided by its mean over all gated units

a mean square weight times the root mean square of a gradient. The fourth root, because information
spans ten decades and a threshold moves along a scale. `f_u` is a constant for the gradients. All
of it is our choice: the paper compares the weights themselves.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitGroup
from whisperslim.methods.importance import FisherGates
from whisperslim.methods.pinching_masks import unit_mean_squares
from whisperslim.methods.self_pinching_options import SelfPinchingOptions


class UnitWorth:
    """Measures the factors while training goes on, and gives every unit's worth, squared."""

    def __init__(
        self, model: nn.Module, groups: Sequence[UnitGroup], options: SelfPinchingOptions
    ) -> None:
        self._model, self._groups = model, tuple(groups)
        self._every = options.importance_every
        self._fisher = FisherGates()
        self._fisher.active = self.measures = options.measures
        self._factors: dict[str, torch.Tensor] = {}

    def squares(self, group: UnitGroup) -> torch.Tensor:
        """What is compared with the squared threshold, differentiable in weights; `(count,)`."""
        sizes = unit_mean_squares(self._model, group)
        return sizes * self._factors[group.key] if group.key in self._factors else sizes

    def watched(
        self, group: UnitGroup, activation: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor | None:
        """A group's mask, measured when it is time to."""
        return self._fisher.watched(group, activation, mask)

    def collect(self, step: int) -> None:
        """Take step `step`'s backward pass in, and decide whether the next one is measured."""
        if self.measures:
            self._fisher.collect()
            self._fisher.active = step % self._every == 0
            self._refresh()

    def stop(self) -> None:
        """Measure no more."""
        self._fisher.active = self.measures = False

    def state_dict(self) -> dict[str, Any]:
        """The measurements."""
        return dict(self._fisher.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._fisher.load_state_dict(state)
        self._refresh()

    @torch.no_grad()
    def _refresh(self) -> None:
        found = self._fisher.information
        roots = {
            group.key: (found[group.key] / group.weights_per_unit).sqrt()
            for group in self._groups
            if group.key in found
        }
        if roots:
            scale = torch.cat([root.sqrt() for root in roots.values()]).mean().clamp_min(1e-12)
            self._factors = {key: root / scale.square() for key, root in roots.items()}
