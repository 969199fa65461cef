"""Another size of a finished run, from its score map: arithmetic in well under a second."""

import time
from dataclasses import dataclass

from whisperslim.core.families import prunable_total
from whisperslim.core.plan.arithmetic import rounded_down, stored_bytes
from whisperslim.core.plan.plan import PruningPlan, plan_to_budget
from whisperslim.core.store.checkpoint import EXPORT_DTYPES
from whisperslim.errors import PlanError
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.tuned import TunedRun, open_tuned


@dataclass(frozen=True)
class Replan:
    """What a run's model would be at another size. Nothing is cut or stored.

    Attributes:
        plan: Which units stay. Carries no zero rules: those need the weights, see `derive`.
        counted_in: What the plan's target is a share of, as text.
        parameters: What is left, biases counted, zeroed elements included; exact.
        dense_parameters: Of the dense model, tied ones counted once.
        removed: Parameters cut out, `dense_parameters - parameters`.
        zeroed: Elements that are zero in place: as many as requested (share x prunable weights), or
            `zeroed_before` when those are more.
        zeroed_before: Of what stays, elements that are zero as tuned.
        bytes: Weights on disk in the run's export format, without the file's header of kilobytes;
            zeros are stored sparse, as if every matrix had the same share of them.
        dense_bytes: The dense model's in the same number format.
        flops: Operations of one pass of `workload`, counted on the remaining shapes.
        dense_flops: The dense model's.
        workload: What the operations are counted for, as text.
        seconds: Wall time of planning.
        vocabulary: Of `removed`, what tokens had that were left out before tuning.
    """

    plan: PruningPlan
    counted_in: str
    parameters: int
    dense_parameters: int
    removed: int
    zeroed: int
    zeroed_before: int
    bytes: int
    dense_bytes: int
    flops: int
    dense_flops: int
    workload: str
    seconds: float
    vocabulary: int = 0


def replan(
    run: RunDir, removed: float, zeroed: float | None = None, terms: Terms | None = None
) -> Replan:
    """What is left of the run's tuned model when `removed` of it is cut out.

    Args:
        run: A run whose stage `plan` is done.
        removed: Share to cut out, counted as the terms, or else the run, say: see `Counting`.
        zeroed: Share to set to zero in place, including what is zero after tuning; None: as in the
            run's recipe.
        terms: Another engine or currency than the run's.

    Raises:
        RunError: the run has no score map yet.
        PlanError: the target is out of reach; the message has the reachable range.
        RecipeError: no recipe may have these shares.
        CheckpointError: the score map is damaged or of another model.
    """
    started = time.perf_counter()
    tuned = open_tuned(run, terms)
    plan = plan_for(tuned, removed, zeroed)
    recipe = tuned.recipe_for(removed, zeroed)
    parameters, facts = _parameters(tuned, plan), tuned.facts
    each = EXPORT_DTYPES[recipe.export.dtype].itemsize
    before = tuned.zeros_left(plan)
    zeros = max(round(recipe.target.zeroed * prunable_total(tuned.groups)), before)
    return Replan(
        plan=plan,
        counted_in=recipe.counting.words,
        parameters=parameters,
        dense_parameters=facts.dense_parameters,
        removed=facts.dense_parameters - parameters,
        zeroed=zeros,
        zeroed_before=before,
        bytes=_bytes(tuned, plan, parameters, zeros, each),
        dense_bytes=facts.dense_parameters * each,
        flops=_flops(tuned, plan),
        dense_flops=facts.dense_flops,
        workload=facts.workload,
        seconds=time.perf_counter() - started,
        vocabulary=facts.dense_parameters - facts.parameters,
    )


def reachable_range(run: RunDir) -> tuple[float, float]:
    """Least and largest target that can be met. Raises as `replan` does."""
    return open_tuned(run).reachable_range()


def plan_for(tuned: TunedRun, removed: float, zeroed: float | None = None) -> PruningPlan:
    """The plan without zero rules for a target. Raises `PlanError` and `RecipeError`."""
    low, high = tuned.reachable_range()
    if not low <= removed <= high:
        raise PlanError(
            f"a removal target of {removed:g} cannot be met: {tuned.run.name} allows {low:g} to "
            f"{rounded_down(high):.4f} of {tuned.recipe.counting.words}"
        )
    share = tuned.recipe_for(removed, zeroed).target.zeroed
    scores = tuned.scores
    plan = plan_to_budget(
        scores.scores, tuned.groups, removed, whole=scores.whole, costs=tuned.costs
    )
    if share and plan.removed + share >= 1.0:
        raise PlanError(
            f"cannot zero {share:g} of the prunable weights: after removing {plan.removed:.4f} "
            f"only {1.0 - plan.removed:.4f} are left; lower one of them"
        )
    return plan


def _parameters(tuned: TunedRun, plan: PruningPlan) -> int:
    gone = 0
    for group in tuned.groups:
        kept = plan.keep[group.key]
        gone += group.parameters(range(group.count)) - group.parameters(kept)
        gone += 0 if kept else tuned.facts.parameters_beside[group.key]
    return tuned.facts.parameters - gone


def _bytes(tuned: TunedRun, plan: PruningPlan, parameters: int, zeros: int, each: int) -> int:
    kept = ((group, plan.keep[group.key]) for group in tuned.groups)
    matrices = sum(group.weights(units) + group.shared * bool(units) for group, units in kept)
    return (parameters - matrices) * each + stored_bytes(matrices, zeros, each)


def _flops(tuned: TunedRun, plan: PruningPlan) -> int:
    gone, each = 0, tuned.facts.flops_per_unit
    for group in tuned.groups:
        weights = group.weights(range(group.count)) - group.weights(plan.keep[group.key])
        gone += weights * each[group.key] // group.weights_per_unit
    return tuned.facts.flops - gone
