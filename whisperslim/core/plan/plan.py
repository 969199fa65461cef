"""Which units stay and which weights become zero: decided here, applied by `shrink`.

A sparsity is always a fraction of the prunable weights of the *dense* model; only the removal that
is asked for may be a share of another cost (`counting`). A plan is plain values: it can be stored
as JSON, its tensors beside it, compared and printed.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from whisperslim.core.disk.untrusted import json_of, typed
from whisperslim.core.families.base import UnitGroup, prunable_total, total_price
from whisperslim.core.plan.removal_order import DeathOrder, death_order
from whisperslim.errors import PlanError
from whisperslim.fields import spelled_now

Scores = Mapping[str, torch.Tensor]
"""Group key -> one importance per unit, shape `(count,)`. Lower is dropped first; values must be
comparable across groups."""


_KINDS = ("folds", "masks")


@dataclass(frozen=True)
class ZeroRule:
    """Zero the elements `w` of one parameter with `|w - center| < radius`."""

    center: float
    radius: float


@dataclass(frozen=True, eq=False)
class PruningPlan:
    """What to keep of each group, and what becomes of the elements that are left.

    Applied in this order: the cut, folds, masks, zero rules. As JSON its tensors are named by a
    hash alone; `plan.files` stores them beside it.

    Attributes:
        keep: Group key -> indices of the units that stay, ascending; none of them: the whole
            sub-layer goes, its norm and output bias with it.
        zero: Parameter name -> rule, applied to the weights *after* the cut.
        target: Asked-for share to remove, of prunable weights or of what groups or method count in.
        removed: Share of prunable weights that `keep` removes.
        folds: Parameter name -> its new values, of its shape after the cut: what is taken over by
            weights and biases that stay.
        masks: Parameter name -> bool tensor of its shape after the cut; true elements become zero.
        compensated: Clips that the folds were fitted on to make up for what goes; 0: none were.
    """

    keep: Mapping[str, tuple[int, ...]]
    zero: Mapping[str, ZeroRule] = field(default_factory=dict)
    target: float = 0.0
    removed: float = 0.0
    folds: Mapping[str, torch.Tensor] = field(default_factory=dict)
    masks: Mapping[str, torch.Tensor] = field(default_factory=dict)
    compensated: int = 0

    def __eq__(self, other: object) -> bool:
        """Equal to the bit, tensors included: by their hash."""
        return self.to_json() == other.to_json() if isinstance(other, PruningPlan) else False

    def to_json(self) -> str:
        """Stable, human-readable JSON. What a plan does not have is left out, save `zero`."""
        raw: dict[str, Any] = {
            "keep": dict(self.keep),
            "zero": {name: asdict(rule) for name, rule in self.zero.items()},
            "target": self.target,
            "removed": self.removed,
        }
        if self.compensated:
            raw["compensated"] = self.compensated
        if self.folds or self.masks:
            for kind in _KINDS:
                raw[kind] = {name: list(t.shape) for name, t in getattr(self, kind).items()}
            raw["tensors_sha256"] = hashlib.sha256(self.tensor_bytes()).hexdigest()
        return json.dumps(raw, indent=1, sort_keys=True)

    def tensor_bytes(self) -> bytes:
        """Folds and masks as the contents of a safetensors file; equal tensors, equal bytes."""
        tensors = {
            f"{kind}:{name}": tensor.detach().cpu().contiguous()
            for kind in _KINDS
            for name, tensor in getattr(self, kind).items()
        }
        return save(tensors)

    @staticmethod
    def from_json(text: str, tensors: bytes | None = None) -> "PruningPlan":
        """Inverse of `to_json`, given what `tensor_bytes` gave.

        Raises:
            PlanError: a field is missing or malformed, or the tensors are missing, or not those
                that the text names.
        """
        try:
            raw = typed(json_of(text.encode()), dict)
            keep = {key: tuple(int(i) for i in units) for key, units in raw["keep"].items()}
            rules = {name: spelled_now(rule) for name, rule in raw["zero"].items()}
            zero = {
                name: ZeroRule(float(rule["center"]), float(rule["radius"]))
                for name, rule in rules.items()
            }
            target, removed = typed(raw["target"], float), typed(raw["removed"], float)
            shapes = {kind: dict(raw.get(kind, {})) for kind in _KINDS}
            sha256, clips = raw.get("tensors_sha256"), int(raw.get("compensated", 0))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise PlanError(f"this is not a pruning plan: {error}") from error
        found = _tensors(shapes, sha256, tensors)
        return PruningPlan(keep, zero, target, removed, found["folds"], found["masks"], clips)

    @staticmethod
    def units_in(text: str) -> "PruningPlan":
        """The units of a stored plan alone, to look at: without zeros, folds and masks.

        Raises `PlanError` as `from_json` does.
        """
        try:
            raw = typed(json_of(text.encode()), dict)
        except ValueError as error:
            raise PlanError(f"this is not a pruning plan: {error}") from error
        known = ("keep", "zero", "target", "removed")
        bare = PruningPlan.from_json(json.dumps({k: v for k, v in raw.items() if k in known}))
        return replace(bare, zero={})

    def describe(self, groups: Sequence[UnitGroup]) -> str:
        """One line per group: units kept of units present."""
        rows = [f"{g.key:34s} keep {len(self.keep[g.key]):5d} of {g.count:5d}" for g in groups]
        return "\n".join([*rows, f"removed {self.removed:.4f} of the prunable weights"])


def _tensors(
    shapes: Mapping[str, Mapping[str, Any]], sha256: str | None, tensors: bytes | None
) -> dict[str, dict[str, torch.Tensor]]:
    """Kind -> name -> tensor, checked against what the text says of them."""
    if sha256 is None:
        return {kind: {} for kind in _KINDS}
    if tensors is None:
        raise PlanError("the plan's folds and masks are missing: they are kept in a file beside it")
    if hashlib.sha256(tensors).hexdigest() != sha256:
        raise PlanError("the plan's folds and masks are damaged, or are another plan's")
    try:
        stored = load(tensors)
    except SafetensorError as error:
        raise PlanError(f"the plan's folds and masks are damaged: {error}") from error
    named = {f"{kind}:{name}": own for kind in _KINDS for name, own in shapes[kind].items()}
    wrong = sorted(
        key
        for key in named.keys() | stored.keys()
        if key not in stored or list(stored[key].shape) != named.get(key)
    )
    if wrong:
        raise PlanError(f"the plan and its tensors disagree on {wrong[:3]}")
    return {kind: {name: stored[f"{kind}:{name}"] for name in shapes[kind]} for kind in _KINDS}


def keep_everything(groups: Sequence[UnitGroup]) -> PruningPlan:
    """The plan that changes nothing."""
    return PruningPlan({group.key: tuple(range(group.count)) for group in groups})


def reachable(
    groups: Sequence[UnitGroup], whole: bool = False, costs: Mapping[str, float] | None = None
) -> float:
    """Largest share that can be removed: one unit must stay in every group.

    Args:
        groups: All groups of the model.
        whole: One unit in every *place* is enough: whole sub-layers may go.
        costs: Group key -> cost of one unit; None takes the groups' own prices.
    """
    price = _prices(groups, costs)
    floor: dict[str, float] = {}
    for group in groups:
        name = group.place if whole else group.key
        shared = 0.0 if costs else group.shared_price
        floor[name] = max(floor.get(name, 0.0), price[group.key] + shared)
    return 1.0 - sum(floor.values()) / _total_cost(groups, costs)


def share_of(groups: Sequence[UnitGroup], costs: Mapping[str, float] | None = None) -> str:
    """What a removal target is a share of, in words; arguments as of `reachable`."""
    price = _prices(groups, costs)
    if all(price[group.key] == group.weights_per_unit for group in groups):
        return "the model's prunable weights"
    return "the cost of the model's units"


def check_target(
    target: float,
    groups: Sequence[UnitGroup],
    whole: bool = False,
    costs: Mapping[str, float] | None = None,
) -> None:
    """Raise `PlanError` with the reachable range when `target` cannot be met."""
    limit = reachable(groups, whole, costs)
    if not 0.0 <= target <= limit:
        raise _out_of_reach(target, limit, whole, share_of(groups, costs))


def _out_of_reach(target: float, limit: float, whole: bool, counted: str) -> PlanError:
    where = "in some layer" if whole else "in every layer"
    return PlanError(
        f"a removal target of {target} cannot be met: this model allows 0 to {limit:.4f} of "
        f"{counted} (one head and one FFN unit of every kind must stay {where})"
    )


def check_scores(scores: Scores, groups: Sequence[UnitGroup]) -> None:
    """Raise `PlanError` unless every group has one finite score per unit."""
    for group in groups:
        values = scores.get(group.key)
        if values is None or tuple(values.shape) != (group.count,):
            found = "none" if values is None else str(tuple(values.shape))
            raise PlanError(f"{group.key} needs {group.count} scores, found {found}")
        if not bool(torch.isfinite(values).all()):
            raise PlanError(f"{group.key} has scores that are not finite")


def plan_to_budget(
    scores: Scores,
    groups: Sequence[UnitGroup],
    target: float,
    *,
    whole: bool = False,
    costs: Mapping[str, float] | None = None,
) -> PruningPlan:
    """Drop the least important units until `target` of the price of all units is gone.

    Units leave in one global order, so the result overshoots by less than one unit, or by less
    than one bundle where groups are tied (see `removal_order`), and a higher target always drops a
    superset: a larger target never gives a larger model. The best unit of each group is never in
    the order. What the groups' limits do not allow to keep goes whatever the target.

    Args:
        scores: Importance of every unit.
        groups: All groups of the model.
        target: Share to drop: of prunable weights, if neither groups nor `costs` say otherwise.
        whole: Spare the best unit of every place only, so that whole sub-layers may go.
        costs: Group key -> cost of one unit, in any currency, instead of the groups' prices.

    Raises:
        PlanError: when the target is out of reach or the scores do not fit the groups.
    """
    price = _prices(groups, costs)
    check_target(target, groups, whole, costs)
    check_scores(scores, groups)
    order = death_order(scores, groups, whole)
    prices = torch.tensor([price[group.key] for group in groups], dtype=torch.float64)
    bundles = torch.zeros(len(order.when), dtype=torch.float64)
    worth = torch.ones(len(order.unit), dtype=torch.float64)
    for index, group in enumerate(groups):
        if group.rest:
            last = (order.owner == index) & (order.unit == group.count - 1)
            worth[last] = group.rest / group.weights_per_unit
    gone = torch.cumsum(bundles.index_add_(0, order.rank, prices[order.owner] * worth), 0)
    total = _total_cost(groups, costs)
    needed = target * total
    # A slack, so that a target met exactly in arithmetic is not missed in floating point. Of the
    # total, since a share that is next to nothing comes of a difference of two that are not.
    slack = 1e-12 * total
    dropped = int((gone < needed - slack).sum()) + 1 if needed > 0 else 0
    if dropped > len(gone):
        limit = float(gone[-1]) / total
        raise _out_of_reach(target, limit, whole, share_of(groups, costs))
    dropped = max(dropped, _forced(order))
    return _without(groups, order, order.rank < dropped, target)


def plan_below(scores: Scores, groups: Sequence[UnitGroup], threshold: float) -> PruningPlan:
    """Drop every unit or bundle whose score is below `threshold`, save the best of each group."""
    check_scores(scores, groups)
    order = death_order(scores, groups, whole=False)
    plan = _without(groups, order, order.when[order.rank] < threshold, 0.0)
    return PruningPlan(plan.keep, plan.zero, plan.removed, plan.removed)


def _forced(order: DeathOrder) -> int:
    """Bundles that leave in any case."""
    return int(order.when.isneginf().sum())


def _prices(groups: Sequence[UnitGroup], costs: Mapping[str, float] | None) -> Mapping[str, float]:
    if costs is None:
        return {group.key: group.unit_price for group in groups}
    bad = [group.key for group in groups if not 0.0 < costs.get(group.key, 0.0) < math.inf]
    if bad:
        raise PlanError(f"the cost of a unit of {bad[0]} must be a positive number")
    return costs


def _total_cost(groups: Sequence[UnitGroup], costs: Mapping[str, float] | None) -> float:
    if costs is None:
        return total_price(groups)
    return sum(group.size * costs[group.key] for group in groups)


def _without(
    groups: Sequence[UnitGroup], order: DeathOrder, chosen: torch.Tensor, target: float
) -> PruningPlan:
    owners, units = order.owner[chosen], order.unit[chosen]
    keep: dict[str, tuple[int, ...]] = {}
    gone = 0
    for index, group in enumerate(groups):
        dropped = set(units[owners == index].tolist())
        keep[group.key] = tuple(u for u in range(group.count) if u not in dropped)
        gone += group.weights(tuple(dropped)) + (0 if keep[group.key] else group.shared)
    return PruningPlan(keep, target=target, removed=gone / prunable_total(tuple(groups)))
