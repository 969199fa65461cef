"""Self-pinching gates (after arXiv 2505.22608): thresholds learned together with the model.

One learnable threshold `t_l` per layer, shared by all its weights, trained with the model in one
pass, is the paper's. What a "layer" is there, is ambiguous; ours is a unit group: one attention
module, or one FFN. `gates` has the masks, `control` what drives thresholds.

Ours: unit gates beside the paper's element gates, so that structure is really removed; units
compared also by how much the loss depends on them, where asked (`control`); thresholds that start
at a low quantile (at zero a threshold has no gradient); a last phase in which they stand still and
the model trains under exactly the masks of the plan, closed elements held at zero, so that nothing
is left to fold in and the cut changes nothing that was not trained for.

A threshold that runs away is held where `floor` of its group stays open, and the gauge `clamped`
counts the steps at which that was needed. Groups with a frozen parameter are not gated.

Each training step costs, beyond plain tuning: for units, one pass over the prunable weights
forward and one backward; for elements, about three each way and the memory of one masked copy of
the weights. Under elements, decoding in training computes the masks again for every token.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core.families import UnitSite
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.plan.plan import PruningPlan, Scores, plan_to_budget
from whisperslim.core.plan.rules import costs_of
from whisperslim.core.surgery.gates import attach_gates
from whisperslim.core.surgery.units import matrices
from whisperslim.methods.base import CompressionMethod, LossTerms, Target
from whisperslim.methods.pinching.control import DensityControl, UnitWorth
from whisperslim.methods.pinching.gates import ElementGates, UnitGates, attach_weight_masks
from whisperslim.methods.pinching.options import SelfPinchingOptions
from whisperslim.methods.pinching.plan import (
    SettledMasks,
    check_reach,
    ratio_scores,
    with_pinched_zeros,
)
from whisperslim.methods.pinching.thresholds import Thresholds, start_elements, start_units
from whisperslim.methods.shared.units import is_trained


class SelfPinching(CompressionMethod):
    """The method behind `SelfPinchingOptions`; see the module's docstring.

    Gates stand open until the first step is done, then learn, then settle.
    """

    def __init__(self, options: SelfPinchingOptions, target: Target) -> None:
        self._options, self._target = options, target
        self._model: nn.Module = nn.Identity()
        self._groups: tuple[UnitSite, ...] = ()
        self._total_steps = 0
        self._worth = UnitWorth(self._model, (), options)
        self._units: UnitGates | None = None
        self._elements: ElementGates | None = None
        self._controls: dict[str, DensityControl] = {}
        self._handles: list[RemovableHandle] = []
        self._begun = False
        self._settled: SettledMasks | None = None

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        """Start the thresholds and hook the gates, which stand open.

        Raises:
            PlanError: when the groups that are trained cannot give the target.
        """
        self._model, self._groups, self._total_steps = model, tuple(groups), total_steps
        trained = tuple(group for group in groups if is_trained(model, group))
        check_reach(self._groups, trained, self._target, self._options.floor)
        self._worth = UnitWorth(model, trained, self._options)
        self._make_gates(trained)
        self._controls = {
            kind: DensityControl(self._options, self._final(kind), total_steps, own.raw.device)
            for kind, own in self._gated()
        }
        self._handles = attach_gates(model, trained, self._gate)
        if self._elements is not None or self._target.zeroed:
            names = [part.parameter for _, part in matrices(trained)]
            self._handles += attach_weight_masks(model, names, self._masked)

    def param_groups(self) -> list[dict[str, Any]]:
        """The thresholds: faster than the weights, and never decayed."""
        rate = self._options.threshold_rate
        return [
            {"params": [thresholds.raw], "weight_decay": 0.0, "rate_factor": rate}
            for _, thresholds in self._gated()
        ]

    def loss_terms(self, outputs: StepOutputs, step: int) -> LossTerms:
        """The control's term for each kind of gate while they learn."""
        if not self._begun or self._settled is not None:
            return {}
        terms = {}
        if self._units is not None:
            price, weights = self._units.density()
            terms["density_units"] = self._controls["units"].term(price, step)
        if self._elements is not None:
            control, density = self._controls["elements"], self._elements.density(self._units)
            if self._units is not None and self._priced:
                control.final = (1.0 - self._target.zeroed / weights.detach()).clamp_min(0.0)
            terms["density_elements"] = control.term(density, step)
        return terms

    @torch.no_grad()
    def after_step(self, learning_rate: float, step: int) -> None:
        """Clamp the thresholds, ascend the multipliers, and settle when it is time."""
        if self._settled is not None:
            self.hold_zeros()
            return
        self._worth.collect(step)
        self._begin(step)
        for gates in (self._units, self._elements):
            if gates is not None:
                gates.clamp()
        for control in self._controls.values():
            control.ascend(step)
        if self._options.settle and step >= round((1 - self._options.settle) * self._total_steps):
            self._settle()

    def hold_zeros(self) -> None:
        """Put the elements that have settled as closed back to zero."""
        if self._settled is not None:
            self._settled.hold_zeros()

    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """Threshold, share that is open, and steps at which it was held back, of each group.

        With both kinds of gate, those on elements are named `element_...`.
        """
        found: dict[str, Mapping[str, float]] = {}
        for kind, thresholds in self._gated():
            prefix = "element_" if found else ""
            found[f"{prefix}threshold"] = thresholds.by_group(thresholds.values())
            found[f"{prefix}density"] = self._densities(kind)
            found[f"{prefix}clamped"] = thresholds.by_group(thresholds.clamped)
        return found

    def scores(self) -> Scores:
        """Each unit's value as a multiple of its group's threshold; as it was when gates
        settled."""
        if self._settled is not None:
            return self._settled.scores
        return ratio_scores(self._groups, self._gated()[0][1], self._worth.squares)

    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        """Exactly the target: units by score, then elements by their size in thresholds.

        What a granularity has no gates for is taken by the thresholds it has: units by element
        thresholds, elements by unit thresholds.
        """
        plan = plan_to_budget(self.scores(), self._groups, self._target.removed)
        thresholds = self._gated()[-1][1]
        share, floor = self._target.zeroed, self._options.floor
        return with_pinched_zeros(self._model, self._groups, plan, share, thresholds, floor)

    def detach(self) -> None:
        """Remove the hooks. Earlier weights, handed on as the best, get the zeros too."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.hold_zeros()

    def state_dict(self) -> dict[str, Any]:
        """Thresholds, multipliers and what the settling found."""
        return {
            "begun": self._begun,
            "worth": self._worth.state_dict(),
            "settled": {} if self._settled is None else self._settled.state_dict(),
            "thresholds": {kind: own.state_dict() for kind, own in self._gated()},
            "controls": {kind: own.state_dict() for kind, own in self._controls.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._begun = state["begun"]
        self._worth.load_state_dict(state["worth"])
        for kind, thresholds in self._gated():
            thresholds.load_state_dict(state["thresholds"][kind])
            self._controls[kind].load_state_dict(state["controls"][kind])
        if state["settled"]:
            self._settled = SettledMasks(self._model, self._groups)
            self._settled.load_state_dict(state["settled"])

    def _make_gates(self, trained: Sequence[UnitSite]) -> None:
        options, granularity = self._options, self._options.granularity
        if granularity in ("units", "both"):
            worth = self._worth.squares
            thresholds = start_units(self._model, trained, options, worth)
            self._units = UnitGates(self._groups, thresholds, options.floor, worth)
        if granularity in ("elements", "both"):
            thresholds = start_elements(self._model, trained, options)
            self._elements = ElementGates(self._model, self._groups, thresholds, options.floor)

    def _begin(self, step: int) -> None:
        """Start the gates when it is time, their thresholds at the quantile of what was found."""
        if self._begun or step < self._options.begin * self._total_steps:
            return
        self._begun = True
        if self._units is not None and self._worth.measures:
            own = tuple(g for g in self._groups if g.key in self._units.thresholds)
            worth = self._worth.squares
            self._units.thresholds.restart(start_units(self._model, own, self._options, worth))

    def _gated(self) -> list[tuple[str, Thresholds]]:
        kinds = (("units", self._units), ("elements", self._elements))
        return [(kind, gates.thresholds) for kind, gates in kinds if gates is not None]

    def _final(self, kind: str) -> float:
        """The density to end with; elements' is counted over the units that stay.

        Which weights those hold is known when a target counts weights. When it does not, it is
        what the thresholds at their start would leave, until units' gates say.
        """
        stays = 1.0 - self._target.removed
        if kind == "units":
            return stays
        if self._priced:
            stays = 1.0 - plan_to_budget(self.scores(), self._groups, self._target.removed).removed
        return max(0.0, 1.0 - self._target.zeroed / stays)

    @property
    def _priced(self) -> bool:
        """Whether the removal target counts something else than weights."""
        return costs_of(self._groups) is not None

    def _gate(self, group: UnitSite, activation: torch.Tensor) -> torch.Tensor | None:
        if self._settled is not None:
            return self._settled.mask(group).to(activation)
        mask = self._units.mask(group) if self._begun and self._units is not None else None
        mask = None if mask is None else mask.to(activation)
        return self._worth.watched(group, activation, mask)

    def _masked(self, name: str) -> torch.Tensor | None:
        if self._settled is not None or not self._begun or self._elements is None:
            return None  # what has settled is zero itself
        return self._elements.masked(name)

    def _densities(self, kind: str) -> Mapping[str, float]:
        if self._settled is not None:
            units = kind == "units"
            return self._settled.unit_densities() if units else self._settled.element_densities()
        gates = self._units if kind == "units" else self._elements
        if gates is None or not self._begun:
            return {group.key: 1.0 for group in self._groups}
        return gates.densities()

    def _settle(self) -> None:
        scores = self.scores()
        settled = SettledMasks(self._model, self._groups)
        settled.take(scores, self.plan(None))
        self._worth.stop()
        self._settled = settled
