"""What one unit of each group costs, in the currency a size target is counted in.

A cost is what a pass saves when one unit goes, so that counts times costs add up to the part of a
pass that units account for; embeddings, convolutions, norms and the output product are no part of
it.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.cost.flops import WORKLOADS, Workload, count_flops
from whisperslim.core.families import UnitSite, family_of
from whisperslim.core.plan.counting import CURRENCIES, FLOPS, LATENCY, WEIGHTS
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.shrink import cut, head_widths, resize
from whisperslim.errors import UsageError

# Timing noise can make a slope zero or negative. A unit then costs this share of the mean time per
# unit. Our choice.
_LEAST_SHARE = 0.1

Times = dict[str, float]


def unit_costs(
    model: nn.Module,
    groups: Sequence[UnitSite],
    currency: str,
    *,
    workload: Workload = WORKLOADS[0],
    repeats: int = 5,
) -> dict[str, float]:
    """Group key -> cost of one of its units, positive.

    Args:
        model: The model `groups` was read from; it is not changed.
        groups: Every unit group of `model`.
        currency: `weights`: of prunable matrices. `flops`: operations of one
            teacher-forced pass of `workload`, attention scores included. `latency`: seconds of
            this machine, on the model's device; noisy, see `measured_latency`.
        workload: How many encoder positions and decoder tokens operations and seconds are for.
        repeats: Passes measured for latency.

    Raises:
        UsageError: for another currency.
    """
    if currency == WEIGHTS:
        return {group.key: float(group.weights_per_unit) for group in groups}
    if currency == FLOPS:
        return counted_flops(model, groups, workload)
    if currency == LATENCY:
        return measured_latency(model, groups, workload, repeats)
    raise UsageError(f"unknown currency {currency!r}; choose one of {', '.join(CURRENCIES)}")


def counted_flops(
    model: nn.Module, groups: Sequence[UnitSite], workload: Workload
) -> dict[str, float]:
    """Operations a pass of `workload` saves per unit; exact, and the same in every layer
    whose heads are as wide.

    Counted without weights on the architecture before any cut, where operations are linear in the
    units of a place: once in full, and once for every place, and every width of heads there, with
    half the units of one group.
    """
    skeleton = _with_heads_of(model)
    dense = family_of(model).unit_groups(skeleton)
    full = _operations(model, dense, {}, workload)
    costs: dict[tuple[str, int], float] = {}
    for group in dense:
        place = (group.place, group.width)
        if place not in costs:
            left = group.count // 2
            less = _operations(model, dense, {group.key: left}, workload)
            costs[place] = (full - less) / (group.count - left)
    return {group.key: costs[group.place, group.width] for group in groups}


def measured_latency(
    model: nn.Module, groups: Sequence[UnitSite], workload: Workload, repeats: int
) -> dict[str, float]:
    """Seconds per unit: the slope between every sub-layer at full and at half width.

    One clip is run as in use: the encoder once, a decoder token by token with its cache. Each
    figure is the median of `repeats` passes over all layers of the same shape, after one pass that
    is not counted. Other work on the machine shows in it: two measurements differ by some percent,
    more for small sub-layers. A slope that is zero or negative becomes a tenth of the mean per
    unit.
    """
    half = PruningPlan({group.key: tuple(range(max(1, group.count // 2))) for group in groups})
    smaller = deepcopy(model)
    cut(smaller, groups, half)
    wide = _pooled(groups, _timed_passes(model, groups, workload, repeats))
    narrow = _pooled(groups, _timed_passes(smaller, groups, workload, repeats))
    costs = {}
    for group in groups:
        shape = _shape(group)
        costs[group.key] = _slope(wide[shape], narrow[shape], group.count)
    return costs


def _slope(wide: float, narrow: float, count: int) -> float:
    """Time per unit from the times at `count` and at half as many units."""
    least = max(_LEAST_SHARE * wide / count, 1e-12)
    gone = count - max(1, count // 2)
    return max((wide - narrow) / gone, least) if gone else max(wide, least)


def _with_heads_of(model: nn.Module) -> PreTrainedModel:
    """The architecture before any unit went, with heads as wide as the model's."""
    skeleton = family_of(model).skeleton_of(model)
    whole = {group.key: group.count for group in family_of(model).unit_groups(skeleton)}
    resize(skeleton, whole, head_widths(model))
    return skeleton


def _operations(
    model: nn.Module, dense: Sequence[UnitSite], fewer: Mapping[str, int], workload: Workload
) -> int:
    skeleton = _with_heads_of(model)
    resize(skeleton, {group.key: fewer.get(group.key, group.count) for group in dense})
    return count_flops(skeleton, workload, {}).total


def _timed_passes(
    model: nn.Module, groups: Sequence[UnitSite], workload: Workload, repeats: int
) -> list[Times]:
    """Group key -> seconds spent in its sub-layer, for each counted pass."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), _clocks(model, groups) as read:
            passes = []
            for _ in range(repeats + 1):
                family_of(model).pass_in_use(model, workload.frames, workload.tokens)
                passes.append(read())
    finally:
        model.train(training)
    return passes[1:]


@contextmanager
def _clocks(model: nn.Module, groups: Sequence[UnitSite]) -> Iterator[Callable[[], Times]]:
    """Time every sub-layer from its first module's start to its last one's end."""
    spent = dict.fromkeys((group.key for group in groups), 0.0)
    started: Times = {}
    device = next(model.parameters()).device

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def read() -> Times:
        seconds = dict(spent)
        spent.update(dict.fromkeys(spent, 0.0))
        return seconds

    with ExitStack() as stack:
        for group in groups:
            for handle in _clock(model, group, started, spent, now):
                stack.callback(handle.remove)
        yield read


def _clock(
    model: nn.Module, group: UnitSite, started: Times, spent: Times, now: Callable[[], float]
) -> list[Any]:
    def start(*_: object) -> None:
        started.setdefault(group.key, now())

    def end(*_: object) -> None:
        spent[group.key] += now() - started.pop(group.key)

    owners = sorted({part.parameter.rsplit(".", 1)[0] for part in group.slices})
    handles = [model.get_submodule(owner).register_forward_pre_hook(start) for owner in owners]
    return [*handles, model.get_submodule(group.gate).register_forward_hook(end)]


def _shape(group: UnitSite) -> tuple[str, int, int]:
    return group.place, group.count, group.width


def _pooled(
    groups: Sequence[UnitSite], passes: Sequence[Times]
) -> dict[tuple[str, int, int], float]:
    """Median over passes and over groups of one place and size, by `_shape`."""
    samples: dict[tuple[str, int, int], list[float]] = {}
    for group in groups:
        times = [each[group.key] for each in passes]
        samples.setdefault(_shape(group), []).extend(times)
    return {shape: statistics.median(times) for shape, times in samples.items()}
