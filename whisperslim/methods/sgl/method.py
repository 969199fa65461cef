"""Sparse Group LASSO fine-tuning with two-pass pruning (after arXiv 2510.12666).

The loss in published reviews of the paper is

    L = L_CE + l1_enc * L1(encoder) + l1_dec * L1(decoder)
             + g_enc * L2(encoder) + g_dec * L2(decoder)

with four separate strengths, L1 = sum of |w|, and L2 over the columns of every weight matrix.

Ours: the true group LASSO `sqrt(size) * ||w_group||`, unsquared, by a proximal step after the
optimizer's, so that zeros are exact:

    w <- sign(w) * max(|w| - lr * l1, 0)
    w_g <- w_g * max(1 - lr * g * sqrt(size_g) / ||w_g||, 0)

with the plain learning rate, not Adam's preconditioner. `strength = solved` has another threshold
for groups, `||w_g|| / n` with `n` the steps that are left, this one included: the norm falls by the
same amount at every step and is zero after the last. That, too, is ours. The paper's reviews print
the squared norm, which is weight decay and makes nothing zero; it stays available as
`form = squared`.

Groups with a frozen parameter are neither pulled nor pruned.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitSite
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.plan.plan import (
    PruningPlan,
    Scores,
    keep_everything,
    plan_below,
    plan_to_budget,
)
from whisperslim.core.surgery.units import matrices
from whisperslim.errors import PlanError
from whisperslim.methods.base import (
    Calibration,
    CompressionMethod,
    LossTerms,
    Target,
)
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.methods.sgl.two_pass import bisect_plan, standardized, with_zeros, zero_rules
from whisperslim.methods.shared.importance import FisherGates
from whisperslim.methods.shared.reach import check_within_tuned, ranked_last
from whisperslim.methods.shared.units import is_trained, per_weight, scale_units, unit_norms


class SparseGroupLasso(CompressionMethod):
    """The method behind `SGLOptions`; see the module's docstring for the equations."""

    def __init__(self, options: SGLOptions, target: Target) -> None:
        self._options, self._target = options, target
        self._model: nn.Module = nn.Identity()
        self._groups: tuple[UnitSite, ...] = ()
        self._frozen: frozenset[str] = frozenset()
        self._total_steps = 0
        self._fisher = FisherGates()
        self._measures = options.importance == "fisher"
        self._weights: dict[str, torch.Tensor] = {}
        self._penalties: dict[str, torch.Tensor] = {}

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        """Hook the importance gates; the output stays the same.

        Raises:
            PlanError: when the target will be used and is out of reach of what is not frozen.
        """
        self._model, self._groups, self._total_steps = model, tuple(groups), total_steps
        self._frozen = frozenset(g.key for g in groups if not is_trained(model, g))
        self._check()
        if self._options.importance == "fisher":
            self._fisher.attach(model, self._tuned)
            self._fisher.active = True

    def calibrate(self, data: Calibration, trained: bool) -> None:
        """Fisher information on clean clips: to choose what to pull, and what goes in the end."""
        options = self._options
        if options.importance != "fisher" or not options.importance_clips:
            return
        if trained or self._pulls_by_target:
            self._fisher.active = self._measures = False
            self._fisher.take(data.information(self._tuned, options.importance_clips))

    def loss_terms(self, outputs: StepOutputs, step: int) -> LossTerms:
        """Squared form: the penalties. Proximal form: their last values, for the log only."""
        if self._options.form == "proximal":
            return self._penalties
        if not self._begun(step):
            return {}
        return _squared_penalties(self._model, self._tuned, self._options)

    @torch.no_grad()
    def after_step(self, learning_rate: float, step: int) -> None:
        """Measure, choose what to pull, and take the proximal step."""
        if self._measures:
            self._fisher.collect()
            self._fisher.active = step % self._options.importance_every == 0
        if self._options.form == "squared" or not self._begun(step):
            return
        self._choose_weights(step)
        self._penalties = {}
        soft_threshold(self._model, self._tuned, self._options, learning_rate)
        if self._options.grouping == "paper":
            shrink_columns(self._model, self._tuned, self._options, learning_rate)
        else:
            self._shrink_units(learning_rate, step)

    def hold_zeros(self) -> None:
        """None: the penalties make zeros again at every step."""

    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """The share of each group's units that is pulled towards zero, where `weighting` acts."""
        pulled = {key: float((pull > 0).float().mean()) for key, pull in self._weights.items()}
        return {"pulled": pulled} if pulled else {}

    def scores(self) -> Scores:
        """Fisher information per weight, or the standardized norm; the frozen rank last."""
        return ranked_last(self._model, self._groups, self._tuned_scores())

    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        """Both passes, by the way `prune` names."""
        if self._options.prune == "constants":
            return self._plan_by_constants()
        if self._options.prune == "target":
            return self._plan_for(self._target)
        if evaluate is None:
            raise PlanError("bisection needs a dev set; name one, or prune by target or constants")
        everything = keep_everything(self._groups)
        options = self._options
        return bisect_plan(
            self._plan_for, self._target, evaluate, everything, options.tolerance, options.rounds
        )

    def detach(self) -> None:
        """Remove the hooks."""
        self._fisher.detach()

    def state_dict(self) -> dict[str, Any]:
        """What is frozen, importance and the current choice."""
        return {
            "frozen": sorted(self._frozen),
            "fisher": self._fisher.state_dict(),
            "measures": self._measures,
            "weights": self._weights,
            "penalties": self._penalties,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        # A plan is made of a model in which nothing is frozen any more.
        self._frozen = frozenset(state.get("frozen", self._frozen))
        self._fisher.load_state_dict(state["fisher"])
        self._measures = bool(state.get("measures", self._measures))
        self._weights = dict(state["weights"])
        self._penalties = dict(state["penalties"])

    def _tuned_scores(self) -> Scores:
        if self._options.importance == "norm":
            return standardized(self._norms())
        if not self._fisher.measured:
            raise PlanError(
                "no importance has been measured; train for a step at least, or choose "
                "importance norm"
            )
        return per_weight(self._fisher.information, self._tuned)

    def _plan_for(self, target: Target) -> PruningPlan:
        plan = plan_to_budget(self.scores(), self._groups, target.removed)
        return with_zeros(self._model, self._groups, plan, target.zeroed, self._tuned)

    def _plan_by_constants(self) -> PruningPlan:
        limit = -self._options.k_c
        scores = ranked_last(self._model, self._groups, standardized(self._norms()), limit)
        plan = plan_below(scores, self._groups, limit)
        rules = zero_rules(self._model, self._tuned, plan, self._options.k_w)
        return replace(plan, zero=rules)

    def _norms(self) -> dict[str, torch.Tensor]:
        return {group.key: unit_norms(self._model, group) for group in self._tuned}

    @property
    def _tuned(self) -> tuple[UnitSite, ...]:
        """What is not frozen. A teacher may share the states of what is."""
        return tuple(group for group in self._groups if group.key not in self._frozen)

    def _check(self) -> None:
        zeroed = 0.0 if self._options.prune == "constants" else self._target.zeroed
        if self._options.prune != "constants" or self._pulls_by_target:
            check_within_tuned(Target(self._target.removed, zeroed), self._groups, self._tuned)

    def _begun(self, step: int) -> bool:
        return step > self._options.begin * self._total_steps

    @property
    def _pulled(self) -> tuple[UnitSite, ...]:
        """The groups among whose units `weighting` chooses."""
        options = self._options
        if not options.weighs_units:
            return ()
        return tuple(group for group in self._tuned if options.group_strength(group.stack))

    @property
    def _pulls_by_target(self) -> bool:
        return self._options.weighting == "target" and bool(self._pulled)

    def _choose_weights(self, step: int) -> None:
        due = step % self._options.refocus_every == 0
        changing = self._measures or self._options.importance == "norm"
        open_still = due and changing and step <= self._options.settle * self._total_steps
        if self._pulled and (open_still or not self._weights):
            self._weights = self._pull()

    def _pull(self) -> dict[str, torch.Tensor]:
        if self._options.weighting == "adaptive":
            return {g.key: _adaptive(unit_norms(self._model, g)) for g in self._pulled}
        if self._options.weighting == "uniform":
            return {g.key: torch.ones(g.count, device=self._device()) for g in self._pulled}
        plan = plan_to_budget(self.scores(), self._groups, self._target.removed)
        pulls = {}
        for group in self._pulled:
            pull = torch.ones(group.count, device=self._device())
            pull[list(plan.keep[group.key])] = 0.0
            pulls[group.key] = pull
        return pulls

    def _shrink_units(self, learning_rate: float, step: int) -> None:
        steps_left = max(1, self._total_steps - step + 1)
        for group in self._pulled:
            norms = unit_norms(self._model, group)
            pull = self._weights[group.key]
            if self._options.strength == "solved":
                threshold = pull * norms / steps_left
            else:
                strength = self._options.group_strength(group.stack)
                pull = pull * strength * math.sqrt(group.parameters_per_unit)
                threshold = learning_rate * pull
            scale_units(self._model, group, group_factor(norms, threshold))
            name = f"group_{group.stack}"
            before = self._penalties.get(name, torch.zeros((), device=norms.device))
            self._penalties[name] = before + (pull * norms).sum()

    def _device(self) -> torch.device:
        return next(self._model.parameters()).device


def group_factor(norms: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """The group LASSO's proximal operator as a factor: `max(1 - threshold / norm, 0)`."""
    return (1.0 - threshold / norms.clamp_min(1e-12)).clamp_min(0.0)


def soft_threshold(
    model: nn.Module, groups: Sequence[UnitSite], options: SGLOptions, learning_rate: float
) -> None:
    """The L1 penalty's proximal operator on every prunable matrix, in place."""
    for group, part in matrices(groups):
        threshold = learning_rate * options.l1_strength(group.stack)
        if threshold:
            weight = model.get_parameter(part.parameter).data
            weight.sub_(weight.clamp(-threshold, threshold))


def shrink_columns(
    model: nn.Module, groups: Sequence[UnitSite], options: SGLOptions, learning_rate: float
) -> None:
    """The group penalty over columns, `(out, in)[:, j]`, as the paper groups weights."""
    for group, part in matrices(groups):
        strength = options.group_strength(group.stack)
        if strength:
            weight = model.get_parameter(part.parameter).data
            threshold = learning_rate * strength * math.sqrt(weight.shape[0])
            norms = torch.linalg.vector_norm(weight, dim=0)
            weight.mul_(group_factor(norms, torch.full_like(norms, threshold)))


def _squared_penalties(
    model: nn.Module, groups: Sequence[UnitSite], options: SGLOptions
) -> dict[str, torch.Tensor]:
    terms: dict[str, torch.Tensor] = {}
    for group, part in matrices(groups):
        weight, stack = model.get_parameter(part.parameter), group.stack
        for term, value, strength in (
            (f"l1_{stack}", weight.abs().sum(), options.l1_strength(stack)),
            (f"squared_{stack}", weight.square().sum(), options.group_strength(stack)),
        ):
            if strength:
                terms[term] = terms.get(term, torch.zeros_like(value)) + strength * value
    return terms


def _adaptive(norms: torch.Tensor) -> torch.Tensor:
    # The adaptive LASSO's weights (Zou, 2006), bounded so that a dead unit's is finite.
    return (norms.median() / norms.clamp_min(1e-12)).clamp(0.1, 10.0)
