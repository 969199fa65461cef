"""When pruning rounds come, how far each goes, and what they ask of an importance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from whisperslim.core.families import UnitGroup
from whisperslim.methods.base import Calibration


class Importance(Protocol):
    """What units and single weights are worth, in currencies of their own."""

    def attach(self, model: nn.Module, groups: Sequence[UnitGroup]) -> None:
        """Start measuring, where there is something to measure. Changes no output."""
        ...

    def detach(self) -> None:
        """Remove every hook; measurements stay."""
        ...

    def collect(self, step: int) -> None:
        """Called when the optimizer has taken step `step`, counted from 1."""
        ...

    def calibrate(self, data: Calibration, groups: Sequence[UnitGroup]) -> None:
        """Measure on clean clips, where there is something to measure."""
        ...

    def units(self, groups: Sequence[UnitGroup]) -> Mapping[str, torch.Tensor]:
        """Group key -> one importance per unit, `(count,)`, comparable across groups."""
        ...

    def elements(self, name: str) -> torch.Tensor:
        """Importance of every element of a matrix, none negative; a new tensor of its shape."""
        ...

    def scale(self, name: str) -> float:
        """What a matrix's magnitudes are divided by before they are compared."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Measurements, in plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        ...


@dataclass(frozen=True)
class Schedule:
    """When rounds come, and how far each one goes.

    Attributes:
        rounds: How many there are.
        last: Share of the steps at which the last one comes; the others are spread evenly
            before it. Never before the first step.
    """

    rounds: int
    last: float

    def due(self, step: int, total_steps: int) -> int:
        """Rounds that have come once `step` steps are done."""
        end = self.last * total_steps
        if step >= end:
            return self.rounds
        # The slack takes 6 of 0.6 * 10 steps as 6.
        return math.floor(step * self.rounds / end + 1e-9)

    def removed(self, done: int, share: float) -> float:
        """The share of the price that is gone after `done` rounds, of `share` in the end.

        Each takes the same share of what remains: with `R` rounds, `(1 - share)^(1/R)` stays.
        """
        return share if done >= self.rounds else 1 - (1 - share) ** (done / self.rounds)

    def zeroed(self, done: int, share: float, left: float, end: float) -> float:
        """The share of the dense weights that is zero after `done` rounds, of `share` in the end.

        Of what is left, each round leaves `(1 - share / end)^(1/R)` not zero.

        Args:
            done: Rounds.
            share: Of the dense weights, in the end.
            left: Share of the dense weights in the units that are left now.
            end: The same after the last round.
        """
        if done >= self.rounds:
            return share
        # Units may go too far by less than one, and leave that much less than `share`.
        return left * (1 - max(0.0, 1 - share / end) ** (done / self.rounds))
