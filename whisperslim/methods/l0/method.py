"""L0 masks under a size constraint, meant for tuning with a teacher (after arXiv 2305.19549).

The paper learns binary masks per module with L0 and distils layer by layer from the unpruned
model. How is ours, taken from the methods it builds on: hard concrete masks (`masks`),
nested so that a unit is open when its own mask, its sub-layer's and its layer's are,
and a constraint on the expected share that is closed,

    L = task + l1 * (s - s*) + l2 * (s - s*)^2

whose multipliers are both ascended by hand after each step, l1 += rate * (s - s*) and l2 += rate *
(s - s*)^2, while s* rises linearly from 0. Shares are of prunable weights, operations or measured
time (`unit_costs`). In the last steps masks are hard, 0 or 1 as the plan of that moment has it, so
that nothing is left to fold into weights at the cut. The task's loss, teacher included, is the
training loop's.

Masks are learned in frozen stacks too, and pruned there: freezing holds weights. A teacher then
cannot share the encoder's states, since masks act on them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core import ranks
from whisperslim.core.cost.unit_costs import unit_costs
from whisperslim.core.families import UnitSite
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.plan.counting import NOT_OWN
from whisperslim.core.plan.plan import PruningPlan, Scores, check_target, plan_to_budget
from whisperslim.core.plan.rules import costs_of
from whisperslim.core.surgery.gates import attach_gates, attach_output_gates
from whisperslim.methods.base import (
    Calibration,
    CompressionMethod,
    LossTerms,
    Target,
)
from whisperslim.methods.l0.masks import L0Masks
from whisperslim.methods.l0.options import L0Options
from whisperslim.methods.sgl.two_pass import standardized, with_zeros
from whisperslim.methods.shared.reach import check_zeroed
from whisperslim.methods.shared.units import unit_norms

__all__ = ["L0Distill", "L0Options"]

# Small against any difference that training makes of two masks' log odds.
_TIE_BREAK = 1e-4


class L0Distill(CompressionMethod):
    """The method behind `L0Options`; see the module's docstring for the equations."""

    def __init__(self, options: L0Options, target: Target) -> None:
        self._options, self._target = options, target
        self._model: nn.Module = nn.Identity()
        self._groups: tuple[UnitSite, ...] = ()
        self._total_steps = 0
        self._handles: list[RemovableHandle] = []
        self._costs: dict[str, float] = {}
        self._norms: dict[str, torch.Tensor] = {}
        self._masks = L0Masks((), options, torch.device("cpu"))
        self._multipliers = torch.zeros(2)

    @property
    def costs(self) -> Mapping[str, float] | None:
        """Cost of one unit of each group in the chosen currency; None for weights."""
        own = self._options.currency != NOT_OWN
        return self._costs if own else costs_of(self._groups)

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        """Hook the masks, open until the first step is done. Latency is measured here.

        Raises:
            PlanError: when the target is out of reach.
        """
        self._model, self._groups, self._total_steps = model, tuple(groups), total_steps
        if total_steps < self._options.coarse_from:
            self._options = replace(self._options, sublayers=False, layers=False)
        self.whole = self._options.sublayers or self._options.layers
        self._costs = self._found_costs(model)
        check_target(self._target.removed, groups, self.whole, self._costs)
        check_zeroed(self._target, groups, groups, self.whole, self._costs)
        self._norms = standardized({group.key: unit_norms(model, group) for group in groups})
        device = next(model.parameters()).device
        self._masks = L0Masks(groups, self._options, device)
        self._multipliers = torch.zeros(2, device=device)
        self._handles = attach_gates(model, groups, self._masks.unit_gate)
        if self.whole:
            self._handles += attach_output_gates(model, groups, self._masks.outer_gate)

    def calibrate(self, data: Calibration, trained: bool) -> None:
        """Where the masks start, if by Fisher information."""
        if self._options.start == "fisher" and not trained:
            information = data.information(self._groups, self._options.importance_clips)
            self._masks.start_from(information)

    def param_groups(self) -> list[dict[str, Any]]:
        """The masks' `log_alpha`, at a rate of its own and without weight decay."""
        factor = self._options.rate_factor
        return [{"params": [self._masks.log_alpha], "weight_decay": 0.0, "rate_factor": factor}]

    def loss_terms(self, outputs: StepOutputs, step: int) -> LossTerms:
        """The constraint; none once masks are hard, since it is constant then."""
        if self._masks.settled:
            return {}
        violation = self._violation(step)
        linear, quadratic = self._multipliers
        return {"l0_constraint": linear * violation + quadratic * violation.square()}

    @torch.no_grad()
    def after_step(self, learning_rate: float, step: int) -> None:
        """Ascend both multipliers and draw the next step's masks, or make them hard."""
        if self._masks.settled:
            return
        violation = self._violation(step)
        rises = (
            self._options.linear_rate * violation,
            self._options.quadratic_rate * violation.square(),
        )
        self._multipliers = self._multipliers + torch.stack(rises)
        self._masks.redraw()
        if step >= round((1.0 - self._options.settle) * self._total_steps):
            self._masks.harden(self._plan_for_target())

    def target_at(self, step: int) -> float:
        """The share to be closed at step `step`, counted from 1."""
        rising = self._options.ramp * self._total_steps
        return self._target.removed * (min(1.0, step / rising) if rising else 1.0)

    @torch.no_grad()
    def expected_removed(self) -> float:
        """Share of the cost of all units that the masks, as drawn, are expected to close."""
        return float(self._masks.expected_removed(self._costs)) if self._groups else 0.0

    @torch.no_grad()
    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """The share of units that is open, expected or, in the end, counted, and why.

        `density` is of all three masks together, `block` the probability that the sub-layer's and
        the layer's are open.
        """
        density = {g.key: float(self._masks.density(g)) for g in self._groups}
        if not self.whole:
            return {"density": density}
        block = {g.key: float(self._masks.log_outer_open(g).exp()) for g in self._groups}
        return {"density": density, "block": block}

    @torch.no_grad()
    def scores(self) -> Scores:
        """Log odds that a unit is open, its sub-layer's and its layer's masks included.

        They rank as the probabilities do, and separate what is nearly certain. Equal ones are
        ranked by the norm their weights had at the start against their group's.
        """
        return {
            group.key: log_odds(self._masks.log_open(group)) + _TIE_BREAK * self._norms[group.key]
            for group in self._groups
        }

    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        """What the hard masks close, and then zeros by pass 2 of `two_pass` if asked for.

        Training that ended early, before masks were hard, gives the plan of its last moment.
        """
        plan = self._plan_for_target()
        return with_zeros(self._model, self._groups, plan, self._target.zeroed)

    def detach(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def state_dict(self) -> dict[str, Any]:
        """Masks, multipliers, the noise of the step to come, and what the target is counted in."""
        return {
            "log_alpha": self._masks.log_alpha.detach(),
            "noise": self._masks.noise,
            "hard": self._masks.hard,
            "multipliers": self._multipliers,
            "norms": self._norms,
            "costs": self._costs,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`. The optimizer goes on holding the same `log_alpha`."""
        masks, device = self._masks, self._masks.log_alpha.device
        masks.log_alpha.data.copy_(state["log_alpha"])
        masks.noise, masks.hard = state["noise"].to(device), state["hard"].to(device)
        self._multipliers = state["multipliers"].to(device)
        self._norms = {key: value.to(device) for key, value in state["norms"].items()}
        # Measured once: a second measurement of time would move the target.
        self._costs = dict(state["costs"])

    def _found_costs(self, model: nn.Module) -> dict[str, float]:
        """In the method's own currency, or by the groups' prices when it says nothing."""
        if self._options.currency == NOT_OWN:
            return {group.key: group.unit_price for group in self._groups}
        # Time is measured, and would be another in each process.
        return ranks.from_first(unit_costs(model, self._groups, self._options.currency))

    def _violation(self, step: int) -> torch.Tensor:
        return self._masks.expected_removed(self._costs) - self.target_at(step)

    def _plan_for_target(self) -> PruningPlan:
        share = self._target.removed
        return plan_to_budget(
            self.scores(), self._groups, share, whole=self.whole, costs=self._costs
        )


def log_odds(log_probability: torch.Tensor) -> torch.Tensor:
    """`log(p / (1 - p))` from `log p < 0`, finite and in float64."""
    # Where p rounds to 1 its odds are infinite; the smallest normal number stands for 1 - p.
    exact = log_probability.double().clamp(max=-torch.finfo(torch.float64).tiny)
    return exact - torch.log(-torch.expm1(exact))
