"""Two pruning passes with thresholds taken from the weights' own statistics.

Pass 1 drops units, pass 2 zeroes elements of what is left. Two passes, and thresholds that adapt
to the weights, are the paper's; the rules and how their constants are found are ours:

    pass 1: drop unit u when norm_u < mean - k_c * std, over its kind in its layer
    pass 2: zero element w when |w - mean| < k_w * std, over its matrix after pass 1
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from whisperslim.core.families import UnitSite, prunable_total
from whisperslim.core.plan.plan import PruningPlan, ZeroRule
from whisperslim.core.surgery.units import kept_of, matrices
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target


def standardized(norms: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each norm's distance from its group's mean, in standard deviations (pass 1's scale)."""
    result = {}
    for key, values in norms.items():
        spread = values.std(unbiased=False) if len(values) > 1 else values.new_tensor(0.0)
        result[key] = (values - values.mean()) / spread.clamp_min(1e-12)
    return result


def zero_rules(
    model: nn.Module, groups: Sequence[UnitSite], plan: PruningPlan, k_w: float
) -> dict[str, ZeroRule]:
    """Pass 2's rule for every prunable matrix, for a given `k_w`."""
    rules = {}
    for name, weight in _kept(model, groups, plan):
        mean, std = _statistics(weight)
        rules[name] = ZeroRule(center=mean, radius=k_w * std)
    return rules


def k_w_for_share(
    model: nn.Module,
    groups: Sequence[UnitSite],
    plan: PruningPlan,
    share: float,
    among: Sequence[UnitSite] | None = None,
) -> float:
    """The `k_w` that zeroes `share` of the dense model's prunable weights.

    Args:
        model: The model that `plan` is for.
        groups: All its groups.
        plan: Pass 1.
        share: Of the prunable weights of all groups.
        among: The groups to take elements from; None: all.

    Raises:
        PlanError: when fewer weights than that are left after pass 1.
    """
    distances = []
    for _, weight in _kept(model, groups if among is None else among, plan):
        mean, std = _statistics(weight)
        distances.append(((weight.float() - mean).abs() / max(std, 1e-12)).flatten())
    every = torch.cat(distances)
    wanted = round(share * prunable_total(tuple(groups)))
    if wanted >= every.numel():
        limit = every.numel() / prunable_total(tuple(groups))
        raise PlanError(
            f"cannot zero {share} of the prunable weights: {limit:.4f} are left to zero"
        )
    # `kthvalue` counts from 1 and the rule is strict, so the next value up is the threshold.
    return float(torch.kthvalue(every, wanted + 1).values) if wanted else 0.0


def with_zeros(
    model: nn.Module,
    groups: Sequence[UnitSite],
    plan: PruningPlan,
    share: float,
    among: Sequence[UnitSite] | None = None,
) -> PruningPlan:
    """`plan` with pass 2 added so that `share` of the prunable weights becomes zero.

    Arguments are those of `k_w_for_share`.
    """
    if share <= 0:
        return plan
    k_w = k_w_for_share(model, groups, plan, share, among)
    return replace(plan, zero=zero_rules(model, groups if among is None else among, plan, k_w))


def bisect_plan(
    make: Callable[[Target], PruningPlan],
    target: Target,
    evaluate: Callable[[PruningPlan], float],
    unpruned: PruningPlan,
    tolerance: float,
    rounds: int,
) -> PruningPlan:
    """The most pruning, up to `target`, whose dev WER is within `tolerance` of no pruning.

    Both passes are scaled together by one strength between 0 and 1. Assumes WER rises with
    strength; where it does not, the result still satisfies the bound.
    """
    bound = evaluate(unpruned) + tolerance
    best, low, high = unpruned, 0.0, 1.0
    strength = 1.0
    for _ in range(rounds):
        plan = make(Target(target.removed * strength, target.zeroed * strength))
        if evaluate(plan) <= bound:
            best, low = plan, strength
        else:
            high = strength
        if low >= 1.0:
            break
        strength = (low + high) / 2
    return best


def _kept(
    model: nn.Module, groups: Sequence[UnitSite], plan: PruningPlan
) -> list[tuple[str, torch.Tensor]]:
    return [
        (part.parameter, kept_of(model.get_parameter(part.parameter), part, plan.keep[g.key]))
        for g, part in matrices(groups)
        if plan.keep[g.key]
    ]


def _statistics(weight: torch.Tensor) -> tuple[float, float]:
    values = weight.float()
    return float(values.mean()), float(values.std(unbiased=False))
