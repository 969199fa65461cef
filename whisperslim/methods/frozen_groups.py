"""What is frozen stays whole: for methods that rank every unit and plan by a target."""

import math
from collections.abc import Sequence, Sized

import torch
from torch import nn

from whisperslim.core.families import UnitGroup, total_price
from whisperslim.core.plan import Scores, counted_in, reachable
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.unit_norms import unit_norms
from whisperslim.methods.zero_reach import check_zeroed


def frozen_note(frozen: Sized) -> str:
    """Why a limit is lower than the model's, for the end of a message; empty when none is."""
    return (
        f" ({len(frozen)} frozen groups are not pruned; train them to reach more)" if frozen else ""
    )


def check_within_tuned(
    target: Target, groups: Sequence[UnitGroup], tuned: Sequence[UnitGroup]
) -> None:
    """Raise `PlanError` with the reachable range when `tuned` alone cannot give the target."""
    kept = {group.key for group in tuned}
    note = frozen_note([group for group in groups if group.key not in kept])
    limit = reachable(tuned) * total_price(tuned) / total_price(groups) if tuned else 0.0
    if not 0.0 <= target.removed <= limit:
        raise PlanError(
            f"a removal target of {target.removed:g} cannot be met: 0 to {limit:.4f} of "
            f"{counted_in(groups)} can go, for one head and one FFN unit of every kind stay in "
            f"every layer{note}; choose a target within"
        )
    check_zeroed(target, groups, tuned, note=note)


def ranked_last(
    model: nn.Module, groups: Sequence[UnitGroup], scores: Scores, above: float = 0.0
) -> dict[str, torch.Tensor]:
    """`scores` with the groups that lack one behind all others and behind `above`.

    Among themselves by the root mean square of what a unit owns, in float64: a small one and the
    highest score fit on one scale.
    """
    top = max([above, *(float(own.max()) for own in scores.values())])
    found = dict(scores)
    for group in groups:
        if group.key not in scores:
            sizes = unit_norms(model, group).to("cpu", torch.float64)
            found[group.key] = top + 1 + sizes / math.sqrt(group.parameters_per_unit)
    return {group.key: found[group.key] for group in groups}
