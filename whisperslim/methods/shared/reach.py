"""What a plan can reach, with what is frozen left whole, and what can be zeroed besides a
removal."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from whisperslim.core.families import UnitGroup, UnitSite, prunable_total, total_price
from whisperslim.core.plan.plan import Scores, reachable, share_of
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.shared.units import unit_norms


def most_left(
    groups: Sequence[UnitGroup],
    pruned: Sequence[UnitGroup],
    removed: float,
    costs: Mapping[str, float] | None = None,
) -> float:
    """Most that a removal can leave of the `pruned` groups, a share of all prunable weights.

    Counted in weights, all but `removed`. In another currency it depends on the units that go:
    most is left when those go first that cost most for their weights. It is a bound, and the units
    that go may leave less.

    Args:
        groups: All groups of the model.
        pruned: Those that units are removed from.
        removed: Share of the price of all units.
        costs: Group key -> cost of one unit; None takes the groups' own prices.
    """
    price = costs or {group.key: group.unit_price for group in groups}
    needed = removed * sum(group.count * price[group.key] for group in groups)
    left = float(prunable_total(tuple(pruned)))
    for group in sorted(pruned, key=lambda g: g.weights_per_unit / price[g.key]):
        units = min(float(group.count), needed / price[group.key])
        needed -= units * price[group.key]
        left -= units * group.weights_per_unit
    return left / prunable_total(tuple(groups))


def largest_bundle(groups: Sequence[UnitGroup], whole: bool = False) -> int:
    """Most weights that leave at once: by how many a removal counted in weights may overshoot.

    Args:
        groups: All groups of the model.
        whole: Whether a tied group may also leave as a whole.
    """
    bundles: dict[str, int] = {}
    for group in groups:
        label = group.tied or group.key
        bundles[label] = bundles.get(label, 0) + group.weights_per_unit
    tied = [group.count * group.weights_per_unit for group in groups if group.tied]
    return max([*bundles.values(), *(tied if whole else ())])


def room_for_zeros(
    groups: Sequence[UnitGroup],
    pruned: Sequence[UnitGroup],
    removed: float,
    whole: bool = False,
    costs: Mapping[str, float] | None = None,
) -> float:
    """`most_left`, less what a removal may overshoot by."""
    over = largest_bundle(groups, whole) if removed else 0
    return most_left(groups, pruned, removed, costs) - over / prunable_total(tuple(groups))


def check_zeroed(
    target: Target,
    groups: Sequence[UnitGroup],
    pruned: Sequence[UnitGroup],
    whole: bool = False,
    costs: Mapping[str, float] | None = None,
    note: str = "",
) -> None:
    """Raise `PlanError` unless every choice of units leaves enough to zero, overshooting included.

    Arguments as of `room_for_zeros`; `note` says in the message why not all groups are pruned.
    """
    room = max(0.0, room_for_zeros(groups, pruned, target.removed, whole, costs))
    if target.zeroed and not 0.0 < target.zeroed < room:
        raise PlanError(
            f"cannot zero {target.zeroed:g} of the prunable weights: a removal of "
            f"{target.removed:g} leaves {room:.4f} at most{note}; lower zeroed or removed"
        )


def frozen_note(frozen: int) -> str:
    """Why a limit is lower than the model's, for the end of a message; empty when none is."""
    return f" ({frozen} frozen groups are not pruned; train them to reach more)" if frozen else ""


def check_removed(
    removed: float, groups: Sequence[UnitGroup], pruned: Sequence[UnitGroup], whole: bool = False
) -> None:
    """Raise `PlanError` with the reachable range when `pruned` alone cannot give a removal.

    Args:
        removed: Share of the price of all units.
        groups: All groups of the model.
        pruned: Those that units are removed from.
        whole: Whether whole sub-layers may go.
    """
    limit = reachable(pruned, whole) * total_price(pruned) / total_price(groups) if pruned else 0.0
    if not 0.0 <= removed <= limit:
        why = "" if whole else ", for one head and one FFN unit of every kind stay in every layer"
        raise PlanError(
            f"a removal target of {removed:g} cannot be met: 0 to {limit:.4f} of "
            f"{share_of(groups)} can be removed{why}{frozen_note(len(groups) - len(pruned))}; "
            "choose a target within"
        )


def check_within_tuned(
    target: Target, groups: Sequence[UnitGroup], tuned: Sequence[UnitGroup]
) -> None:
    """Raise `PlanError` with the reachable range when `tuned` alone cannot give the target."""
    check_removed(target.removed, groups, tuned)
    check_zeroed(target, groups, tuned, note=frozen_note(len(groups) - len(tuned)))


def ranked_last(
    model: nn.Module, groups: Sequence[UnitSite], scores: Scores, above: float = 0.0
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
