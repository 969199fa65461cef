"""No compression: plain fine-tuning, for the tuned baseline and for recovery with fixed zeros."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitSite
from whisperslim.core.plan.plan import PruningPlan, Scores, keep_everything
from whisperslim.core.surgery.units import matrices
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.plain_options import PlainOptions
from whisperslim.methods.shared.units import hold_zeros

__all__ = ["Plain", "PlainOptions"]


class Plain(CompressionMethod):
    """Fine-tuning that keeps elements that are exactly zero at exactly zero, if `hold_zeros`."""

    def __init__(self, options: PlainOptions, target: Target, *, hold_zeros: bool = False) -> None:
        self._hold_zeros = hold_zeros
        self._zeros: dict[str, torch.Tensor] = {}
        self._groups: tuple[UnitSite, ...] = ()
        self._model: nn.Module | None = None

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        """Remember which prunable elements are zero, when zeros are to be held."""
        self._model, self._groups = model, tuple(groups)
        if self._hold_zeros:
            self._zeros = {
                part.parameter: model.get_parameter(part.parameter).detach() == 0
                for _, part in matrices(groups)
            }

    @torch.no_grad()
    def after_step(self, learning_rate: float, step: int) -> None:
        """Put the zeros back, which AdamW moves, too."""
        self.hold_zeros()

    def hold_zeros(self) -> None:
        """Put back the zeros there were at the start, when they are to be held."""
        if self._model is not None:
            hold_zeros(self._model, self._zeros)

    def scores(self) -> Scores:
        """All units equally important."""
        return {group.key: torch.ones(group.count) for group in self._groups}

    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        return keep_everything(self._groups)

    def detach(self) -> None:
        self._model = None

    def state_dict(self) -> dict[str, Any]:
        return {"zeros": self._zeros}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._zeros = dict(state["zeros"])
