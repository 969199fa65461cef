"""Budgets, thresholds and plans as data. Group sizes here are invented; no model is needed."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperslim.core.families import UnitGroup
from whisperslim.core.plan.plan import (
    PruningPlan,
    ZeroRule,
    check_scores,
    keep_everything,
    plan_below,
    plan_to_budget,
    reachable,
)
from whisperslim.errors import PlanError


def group(key: str, count: int, size: int) -> UnitGroup:
    return UnitGroup(key, "ffn", "encoder", count, 1, size, size + 1)


GROUPS = (group("a", 4, 10), group("b", 3, 20))  # 100 prunable weights, 70 of them can go


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[UnitGroup, ...], dict[str, torch.Tensor]]:
    shapes = draw(
        st.lists(
            st.tuples(st.integers(1, 12), st.integers(1, 40_000_000)), min_size=1, max_size=6
        ).filter(lambda found: any(count > 1 for count, _ in found))
    )
    groups = tuple(group(f"g{i}", count, size) for i, (count, size) in enumerate(shapes))
    # Few distinct values, so that ties are common: saturated gates tie.
    value = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(-1e6, 1e6)
    scores = {
        g.key: torch.tensor(draw(st.lists(value, min_size=g.count, max_size=g.count)))
        for g in groups
    }
    return groups, scores


def weights_gone(groups: tuple[UnitGroup, ...], plan: PruningPlan) -> int:
    return sum((g.count - len(plan.keep[g.key])) * g.weights_per_unit for g in groups)


@settings(deadline=None, max_examples=150)
@given(cases(), st.floats(0, 1))
def test_a_budget_is_met_within_one_unit(case, fraction) -> None:
    groups, scores = case
    total = sum(g.count * g.weights_per_unit for g in groups)
    target = fraction * reachable(groups)
    plan = plan_to_budget(scores, groups, target)
    gone = weights_gone(groups, plan)
    largest = max(g.weights_per_unit for g in groups)
    assert target * total * (1 - 1e-9) <= gone
    assert gone == 0 or gone - largest < target * total
    assert plan.removed == pytest.approx(gone / total, abs=1e-12)
    assert all(plan.keep.values())


@settings(deadline=None, max_examples=100)
@given(cases(), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_target_never_keeps_a_unit_more(case, first, second) -> None:
    groups, scores = case
    low, high = sorted((first * reachable(groups), second * reachable(groups)))
    bigger = plan_to_budget(scores, groups, low)
    smaller = plan_to_budget(scores, groups, high)
    assert all(set(smaller.keep[g.key]) <= set(bigger.keep[g.key]) for g in groups)


@settings(deadline=None, max_examples=50)
@given(cases())
def test_the_whole_reach_leaves_the_best_unit_of_each_group(case) -> None:
    groups, scores = case
    plan = plan_to_budget(scores, groups, reachable(groups))
    for g in groups:
        assert len(plan.keep[g.key]) == 1
        assert scores[g.key][plan.keep[g.key][0]] == scores[g.key].max()


@settings(deadline=None, max_examples=50)
@given(cases(), st.floats(0, 1))
def test_no_dropped_unit_is_better_than_a_kept_one(case, fraction) -> None:
    groups, scores = case
    plan = plan_to_budget(scores, groups, fraction * reachable(groups))
    dropped, kept = [], []
    for g in groups:
        spared = int(scores[g.key].argmax())
        for unit in range(g.count):
            value = float(scores[g.key][unit])
            if unit not in plan.keep[g.key]:
                dropped.append(value)
            elif unit != spared:
                kept.append(value)
    if dropped and kept:
        assert max(dropped) <= min(kept)


def test_units_leave_in_order_of_importance() -> None:
    scores = {"a": torch.tensor([5.0, 1.0, 9.0, 3.0]), "b": torch.tensor([2.0, 8.0, 4.0])}
    # Order of death: a1 (10), b0 (20), a3 (10), b2 (20), a0 (10); a2 and b1 are spared.
    expected = {
        0.0: ((0, 1, 2, 3), (0, 1, 2)),
        0.10: ((0, 2, 3), (0, 1, 2)),
        0.11: ((0, 2, 3), (1, 2)),
        0.30: ((0, 2, 3), (1, 2)),
        0.60: ((0, 2), (1,)),
        0.70: ((2,), (1,)),
    }
    for target, (a, b) in expected.items():
        assert plan_to_budget(scores, GROUPS, target).keep == {"a": a, "b": b}, target


def test_a_budget_over_sixteen_million_weights_is_not_rounded() -> None:
    # 2^24 + 1 is the first whole number float32 does not have.
    groups = (group("a", 2, 2**24), group("b", 2, 1), group("c", 2, 2**24))
    scores = {
        "a": torch.tensor([0.0, 9.0]),
        "b": torch.tensor([1.0, 9.0]),
        "c": torch.tensor([2.0, 9.0]),
    }
    total = 2 * (2**24 + 1 + 2**24)
    plan = plan_to_budget(scores, groups, (2**24 + 1) / total)
    assert weights_gone(groups, plan) == 2**24 + 1
    assert weights_gone(groups, plan_to_budget(scores, groups, 2**24 / total)) == 2**24


def test_equal_scores_give_equal_plans_and_any_budget() -> None:
    scores = {"a": torch.ones(4), "b": torch.ones(3)}
    found = {t: weights_gone(GROUPS, plan_to_budget(scores, GROUPS, t)) for t in (0.2, 0.5, 0.7)}
    assert len(set(found.values())) == 3
    assert plan_to_budget(scores, GROUPS, 0.5) == plan_to_budget(scores, GROUPS, 0.5)


def test_reachable_is_all_but_one_unit_a_group() -> None:
    assert reachable(GROUPS) == pytest.approx(0.7)


@pytest.mark.parametrize("target", [-0.1, 0.71, 1.0, math.nan, math.inf])
def test_a_target_out_of_reach_is_refused_with_the_range(target: float) -> None:
    scores = {"a": torch.ones(4), "b": torch.ones(3)}
    with pytest.raises(PlanError, match=r"0 to 0\.7000"):
        plan_to_budget(scores, GROUPS, target)


def test_a_refusal_says_what_the_range_is_a_share_of() -> None:
    scores = {"a": torch.ones(4), "b": torch.ones(3)}
    with pytest.raises(PlanError, match=r"0 to 0\.7000 of the model's prunable weights"):
        plan_to_budget(scores, GROUPS, 0.8)
    # Costs that happen to be the weights are weights.
    with pytest.raises(PlanError, match=r"0 to 0\.7000 of the model's prunable weights"):
        plan_to_budget(scores, GROUPS, 0.8, costs={"a": 10.0, "b": 20.0})
    # 4 of 1 and 3 of 5 are 19, of which 1 and 5 stay: 13 / 19.
    costs = {"a": 1.0, "b": 5.0}
    with pytest.raises(PlanError, match=r"0 to 0\.6842 of the cost of the model's units"):
        plan_to_budget(scores, GROUPS, 0.8, costs=costs)
    priced = tuple(replace(g, price=costs[g.key]) for g in GROUPS)
    with pytest.raises(PlanError, match=r"0 to 0\.6842 of the cost of the model's units"):
        plan_to_budget(scores, priced, 0.8)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"a": torch.ones(4)}, "b needs 3 scores, found none"),
        ({"a": torch.ones(4), "b": torch.ones(2)}, r"b needs 3 scores, found \(2,\)"),
        (
            {"a": torch.ones(4), "b": torch.tensor([1.0, math.nan, 1.0])},
            "b has scores that are not",
        ),
        ({"a": torch.tensor([math.inf, 1, 1, 1]), "b": torch.ones(3)}, "a has scores that are not"),
    ],
)
def test_scores_must_cover_every_group_and_be_finite(scores, message) -> None:
    with pytest.raises(PlanError, match=message):
        check_scores(scores, GROUPS)
    with pytest.raises(PlanError, match=message):
        plan_to_budget(scores, GROUPS, 0.3)
    with pytest.raises(PlanError, match=message):
        plan_below(scores, GROUPS, 0.3)


def test_below_a_threshold_all_go_save_the_best() -> None:
    scores = {"a": torch.tensor([0.1, 0.4, 0.5, 0.49]), "b": torch.tensor([0.1, 0.3, 0.2])}
    plan = plan_below(scores, GROUPS, 0.5)
    assert plan.keep == {"a": (2,), "b": (1,)}  # a2 is not below; b1 is, and stays as b's best
    assert plan.removed == plan.target == pytest.approx(0.7)
    assert plan_below(scores, GROUPS, -1.0).keep == keep_everything(GROUPS).keep


def test_a_plan_survives_json() -> None:
    plan = PruningPlan(
        {"a": (0, 2), "b": (1,)}, {"x.weight": ZeroRule(0.1, 1e-7)}, target=1 / 3, removed=0.6
    )
    assert PruningPlan.from_json(plan.to_json()) == plan
    assert plan.to_json() == PruningPlan.from_json(plan.to_json()).to_json()


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"keep": 3, "zero": {}, "target": 0, "removed": 0}',
        '{"keep": {"a": ["x"]}, "zero": {}, "target": 0, "removed": 0}',
        '{"keep": {}, "zero": {"w": {"center": 0}}, "target": 0, "removed": 0}',
        '{"keep": {}, "zero": {"w": {"center": "x", "radius": 1}}, "target": 0, "removed": 0}',
        '{"keep": {}, "zero": {}, "target": null, "removed": 0}',
    ],
)  # fmt: skip
def test_what_is_not_a_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="not a pruning plan"):
        PruningPlan.from_json(text)


def test_a_description_counts_units() -> None:
    text = PruningPlan({"a": (0, 2), "b": (1,)}, removed=0.6).describe(GROUPS)
    assert "a" in text and "keep     2 of     4" in text and "0.6000" in text
