"""Prune in rounds with hard masks, and tune with the masks fixed in between.

A schedule says when rounds come and how far each goes. A round decides by an importance which units
and which elements go. Units are masked by hooks that multiply them by zero; elements are set to
zero and put back to zero after every step. Both are final. What is frozen is not pruned: a teacher
may share its states.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core.families import Slice, UnitSite, prunable_total
from whisperslim.core.plan.plan import PruningPlan, Scores, ZeroRule, plan_to_budget
from whisperslim.core.plan.removal_order import death_order
from whisperslim.core.plan.rules import costs_of
from whisperslim.core.surgery.gates import attach_gates, attach_output_gates, plan_masks
from whisperslim.core.surgery.units import as_units, kept_of, matrices
from whisperslim.errors import PlanError
from whisperslim.methods.base import Calibration, CompressionMethod, Target
from whisperslim.methods.shared.reach import check_removed, frozen_note, largest_bundle, most_left
from whisperslim.methods.shared.units import hold_zeros, is_trained, unit_norms


class Importance(Protocol):
    """The importance of units and of single weights, each on its own scale."""

    def attach(self, model: nn.Module, groups: Sequence[UnitSite]) -> None:
        """Start measuring, where there is something to measure. Changes no output."""
        ...

    def detach(self) -> None:
        """Remove every hook; measurements stay."""
        ...

    def collect(self, step: int) -> None:
        """Called when the optimizer has taken step `step`, counted from 1."""
        ...

    def calibrate(self, data: Calibration, groups: Sequence[UnitSite]) -> None:
        """Measure on clean clips, where there is something to measure."""
        ...

    def units(self, groups: Sequence[UnitSite]) -> Mapping[str, torch.Tensor]:
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


class MaskedPruning(CompressionMethod):
    """Magnitude pruning in every form: a target, a schedule and an importance."""

    def __init__(self, target: Target, schedule: Schedule, importance: Importance) -> None:
        self._target, self._schedule, self._importance = target, schedule, importance
        self._model: nn.Module = nn.Identity()
        self._groups: tuple[UnitSite, ...] = ()
        self._total_steps = 0
        self._frozen: frozenset[str] = frozenset()
        self._round = 0
        self._death: dict[str, torch.Tensor] = {}
        self._zeros: dict[str, torch.Tensor] = {}
        self._masks: dict[str, torch.Tensor] = {}
        self._gone: frozenset[str] = frozenset()
        self._handles: list[RemovableHandle] = []

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        """Hook the masks, all open: the output stays the same.

        Raises:
            PlanError: when the target is out of reach of what is not frozen.
        """
        self._model, self._groups, self._total_steps = model, tuple(groups), total_steps
        self._frozen = frozenset(g.key for g in groups if not is_trained(model, g))
        self._check()
        self._round, self._zeros = 0, {}
        self._death = {g.key: torch.zeros(g.count, dtype=torch.long) for g in groups}
        self._close_masks()
        self._importance.attach(model, self._tuned)
        self._handles = attach_gates(model, self._tuned, self._gate)
        self._handles += attach_output_gates(model, self._tuned, self._output_gate)

    def calibrate(self, data: Calibration, trained: bool) -> None:
        """Measure for the next decision: a single cut at the start, or what is left to the plan."""
        at_start = self._schedule.rounds == 1 and self._schedule.last < 1.0
        if self._round < self._schedule.rounds and (trained or at_start):
            self._importance.calibrate(data, self._tuned)

    @torch.no_grad()
    def after_step(self, learning_rate: float, step: int) -> None:
        """Do the rounds of this step, and put the zeros back."""
        self._importance.collect(step)
        due = self._schedule.due(step, self._total_steps)
        # A last round at the last step is the plan's, which has measured more and loses nothing.
        if due > self._round and not (step == self._total_steps and due == self._schedule.rounds):
            self._prune(due)
        self.hold_zeros()

    def hold_zeros(self) -> None:
        """Put every element that a round has zeroed back to zero."""
        hold_zeros(self._model, self._zeros)

    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """The share of each group's units that is not masked."""
        return {"kept": {key: float((d == 0).float().mean()) for key, d in self._death.items()}}

    def scores(self) -> Scores:
        """Masked units in the order in which they were masked, then the others, then the frozen.

        In float64, where thousands of places and a small importance fit on one scale.
        """
        result = self._live_scores()
        low = min((float(value.min()) for value in result.values()), default=0.0)
        dead = self._count_dead()
        for key, death in self._death.items():
            result[key] = torch.where(death > 0, low - 1 - dead + death.double(), result[key])
        return result

    @torch.no_grad()
    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        """The masks as a plan; rounds that training did not reach are done at once.

        Elements that no round has zeroed yet are then chosen by magnitude.
        """
        aim = self._aim()
        plan = plan_to_budget(self.scores(), self._groups, aim.removed, whole=self.whole)
        return replace(plan, zero=self._zero_rules(plan, aim.zeroed), target=self._target.removed)

    def detach(self) -> None:
        """Remove the hooks. Earlier weights, handed on as the best, get the zeros too."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._importance.detach()
        self.hold_zeros()

    def state_dict(self) -> dict[str, Any]:
        """Masks as places in the order of removal, zeros, and the importance's own state."""
        return {
            "round": self._round,
            "frozen": sorted(self._frozen),
            "death": self._death,
            "zeros": self._zeros,
            "importance": self._importance.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._round, self._frozen = int(state["round"]), frozenset(state["frozen"])
        self._death = {key: value.cpu() for key, value in state["death"].items()}
        self._zeros = dict(state["zeros"])
        self._importance.load_state_dict(state["importance"])
        self._close_masks()

    @property
    def _tuned(self) -> tuple[UnitSite, ...]:
        return tuple(group for group in self._groups if group.key not in self._frozen)

    def _aim(self) -> Target:
        return self._target

    def _units(self) -> Mapping[str, torch.Tensor]:
        return self._importance.units(self._tuned)

    def _check(self) -> None:
        aim, tuned = self._aim(), self._tuned
        check_removed(aim.removed, self._groups, tuned, self.whole)
        left = most_left(self._groups, tuned, aim.removed)
        if not 0.0 <= aim.zeroed <= left + 1e-12:
            raise self._too_much_zeroed(aim.zeroed, left)

    def _too_much_zeroed(self, share: float, left: float) -> PlanError:
        return PlanError(
            f"cannot zero {share:g} of the prunable weights: {left:.4f} are left to zero after a "
            f"removal of {self._aim().removed:g}{frozen_note(len(self._frozen))}; lower zeroed or "
            "removed"
        )

    def _prune(self, due: int) -> None:
        aim, scores = self._aim(), self.scores()
        removed = self._schedule.removed(due, aim.removed)
        plan, end = (
            plan_to_budget(scores, self._groups, share, whole=self.whole)
            for share in (removed, aim.removed)
        )
        self._count_zeros(end, aim.zeroed)  # raises now what the last round would raise
        zeroed = self._schedule.zeroed(due, aim.zeroed, 1 - plan.removed, 1 - end.removed)
        self._bury(plan, death_order(scores, self._groups, self.whole).ranks(self._groups))
        self._choose_zeros(plan, zeroed)
        self._round = due

    def _bury(self, plan: PruningPlan, ranks: Mapping[str, torch.Tensor]) -> None:
        """Record the place of the units that go now: after those masked before, in the plan's
        order."""
        masks, before = plan_masks(self._groups, plan), self._count_dead()
        fresh = {key: (masks[key] == 0) & (death == 0) for key, death in self._death.items()}
        values = torch.cat([ranks[key][own] for key, own in fresh.items()])
        places = torch.argsort(torch.argsort(values, stable=True)) + before + 1
        sizes = [int(own.sum()) for own in fresh.values()]
        for (key, own), part in zip(fresh.items(), places.split(sizes), strict=True):
            self._death[key][own] = part
        self._close_masks()

    def _close_masks(self) -> None:
        device = next(self._model.parameters()).device
        self._masks = {k: (d == 0).to(device) for k, d in self._death.items() if bool(d.any())}
        self._gone = frozenset(k for k, death in self._death.items() if bool(death.all()))

    def _gate(self, group: UnitSite, activation: torch.Tensor) -> torch.Tensor | None:
        mask = self._masks.get(group.key)
        return None if mask is None else mask.to(activation)

    def _output_gate(self, group: UnitSite, output: torch.Tensor) -> torch.Tensor | None:
        return output.new_zeros(()) if group.key in self._gone else None

    def _live_scores(self) -> dict[str, torch.Tensor]:
        """Every unit's importance as if none were masked; `(count,)` float64 each."""
        units = self._units()
        top = max((float(value.max()) for value in units.values()), default=0.0)
        return {
            g.key: (
                top + 1 + rms_norms(self._model, g) if g.key in self._frozen else units[g.key]
            ).to("cpu", torch.float64)
            for g in self._groups
        }

    def _count_dead(self) -> int:
        return sum(int((death > 0).sum()) for death in self._death.values())

    def _matrices(self, plan: PruningPlan) -> list[tuple[Slice, tuple[int, ...]]]:
        """Every matrix that pruning may touch and the plan leaves something of."""
        return [
            (part, plan.keep[group.key])
            for group, part in matrices(self._tuned)
            if plan.keep[group.key]
        ]

    def _count_zeros(self, plan: PruningPlan, share: float) -> int:
        """How many elements `share` of the dense weights is.

        Fewer where units have gone too far, by less than one bundle when they count in weights.
        In another currency they may take any share of the weights.

        Raises:
            PlanError: when the units that stay hold fewer.
        """
        total = prunable_total(self._groups)
        wanted = round(share * total)
        left = sum(len(plan.keep[group.key]) * group.weights_per_unit for group in self._tuned)
        by_weight = costs_of(self._groups) is None
        over = largest_bundle(self._groups, self.whole) if by_weight else 0
        if wanted > left + over:
            raise self._too_much_zeroed(share, left / total)
        return min(wanted, left)

    def _choose_zeros(self, plan: PruningPlan, share: float) -> None:
        """Add the least important elements of what stays, up to `share` of the dense weights."""
        wanted = self._count_zeros(plan, share)
        if not wanted:
            return
        order = {
            part.parameter: self._zero_order(part, keep) for part, keep in self._matrices(plan)
        }
        every = torch.cat([values.flatten() for values in order.values()])
        limit = torch.kthvalue(every, wanted).values
        for name, values in order.items():
            self._zeros[name] = (values <= limit) | self._zeros.get(name, False)

    def _zero_order(self, part: Slice, keep: tuple[int, ...]) -> torch.Tensor:
        """Elements in the order in which they go: held zeros first, dropped units' never."""
        order = self._importance.elements(part.parameter)
        if part.parameter in self._zeros:
            order.masked_fill_(self._zeros[part.parameter], -1.0)
        units = as_units(order, part)
        dropped = torch.ones(units.shape[1], dtype=torch.bool, device=order.device)
        dropped[list(keep)] = False
        units[:, dropped] = torch.inf
        return order

    def _zero_rules(self, plan: PruningPlan, share: float) -> dict[str, ZeroRule]:
        """Rules for the zeros that the weights lack; none when the rounds have made them all."""
        wanted = self._count_zeros(plan, share)
        scales, sizes = {}, []
        for part, keep in self._matrices(plan):
            scale = scales[part.parameter] = self._importance.scale(part.parameter)
            kept = kept_of(self._model.get_parameter(part.parameter), part, keep)
            sizes.append(kept.float().abs().flatten() / scale)
        every = torch.cat(sizes) if sizes else torch.empty(0)
        if int((every == 0).sum()) >= wanted:
            return {}
        # `kthvalue` counts from 1 and a rule is strict, so the next value up is the limit.
        limit = float(torch.kthvalue(every, min(wanted + 1, every.numel())).values)
        return {name: ZeroRule(0.0, limit * scale) for name, scale in scales.items()}


class DecidedLast(MaskedPruning):
    """The plan alone decides, when training is done; no unit is masked before."""

    def __init__(self, target: Target, importance: Importance) -> None:
        super().__init__(target, Schedule(1, 1.0), importance)

    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """Nothing closes while training."""
        return {}


def rms_norms(model: nn.Module, group: UnitSite) -> torch.Tensor:
    """Root mean square of everything each unit owns; shape `(count,)`.

    Unlike the norm, it can be compared between a head and an FFN unit.
    """
    return unit_norms(model, group) / math.sqrt(group.parameters_per_unit)


def below_one(values: torch.Tensor) -> torch.Tensor:
    """The same order, in [0, 1), of values of 0 or more."""
    values = values.double()
    return values / (1 + values)
