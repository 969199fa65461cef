"""When pruning rounds come, how far each goes, and what they ask of an importance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from whisperslim.core.families import UnitGroup
from whisperslim.methods.base import Target


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

    def reached(self, done: int, target: Target) -> Target:
        """What is gone after `done` rounds, each taking the same share of what remains.

        With `R` rounds, every one leaves `(1 - removed)^(1/R)` of the units' weights, and of
        what is left in them `(1 - zeroed / (1 - removed))^(1/R)` not zero.
        """
        if done >= self.rounds:
            return target
        part, stay = done / self.rounds, 1 - target.removed
        units = stay**part
        return Target(1 - units, units * (1 - (1 - target.zeroed / stay) ** part))
