"""Plans that keep to the shapes an engine can hold."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.models.engine_shapes import holds
from tests.support.tiny import tiny_model
from whisperslim.core.families import UnitGroup, family_of, total_price, unlimited
from whisperslim.core.plan.plan import PruningPlan, plan_below, plan_to_budget, reachable
from whisperslim.core.plan.removal_order import death_order
from whisperslim.core.plan.rules import PlanRules, constrain, costs_of
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines import registry
from whisperslim.errors import PlanError

PLACES = {"encoder": ("self_attn",), "decoder": ("self_attn", "encoder_attn")}


def stack(name: str, layers: int, heads: int, ffn: int) -> list[UnitGroup]:
    """Groups of one stack, tied as CTranslate2 needs them: written out here, not asked for."""
    found = []
    for layer in range(layers):
        for place in PLACES[name]:
            found.append(
                UnitGroup(f"{name}.{layer}.{place}.heads", "heads", name, heads, 1,
                          100, 100, layer, f"{name}.heads")
            )  # fmt: skip
        found.append(UnitGroup(f"{name}.{layer}.ffn", "ffn", name, ffn, 1, 10, 10, layer))
    return found


GROUPS = (*stack("encoder", 3, 4, 5), *stack("decoder", 2, 3, 4))


@st.composite
def scored(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    # Few distinct values, so that ties are common, and layers that are worthless as a whole.
    value = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(-100, 100)
    shift = {g.key: draw(st.sampled_from([0.0, 0.0, -1000.0])) for g in GROUPS}
    return {
        g.key: torch.tensor(draw(st.lists(value, min_size=g.count, max_size=g.count)))
        + shift[g.key]
        for g in GROUPS
    }


@settings(deadline=None, max_examples=150)
@given(scored(), st.floats(0, 1), st.booleans())
def test_every_budget_keeps_to_the_limits_and_is_met_within_one_bundle(
    scores: dict[str, torch.Tensor], fraction: float, whole: bool
) -> None:
    target = fraction * reachable(GROUPS, whole)
    plan = plan_to_budget(scores, GROUPS, target, whole=whole)
    assert holds(GROUPS, plan)
    total = sum(g.count * g.weights_per_unit for g in GROUPS)
    gone = sum((g.count - len(plan.keep[g.key])) * g.weights_per_unit for g in GROUPS)
    largest = 4 * 100  # all heads of an encoder layer, or a head of every decoder one
    assert target * total * (1 - 1e-9) <= gone <= target * total + largest
    assert whole or all(plan.keep.values())


@settings(deadline=None, max_examples=100)
@given(scored(), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_a_higher_target_drops_a_superset(
    scores: dict[str, torch.Tensor], first: float, second: float, whole: bool
) -> None:
    low, high = sorted((first * reachable(GROUPS, whole), second * reachable(GROUPS, whole)))
    bigger = plan_to_budget(scores, GROUPS, low, whole=whole)
    smaller = plan_to_budget(scores, GROUPS, high, whole=whole)
    assert all(set(smaller.keep[g.key]) <= set(bigger.keep[g.key]) for g in GROUPS)


@settings(deadline=None, max_examples=50)
@given(scored(), st.floats(-1001, 101))
def test_a_threshold_keeps_to_the_limits(scores: dict[str, torch.Tensor], threshold: float) -> None:
    assert holds(GROUPS, plan_below(scores, GROUPS, threshold))


def test_the_worst_heads_of_a_stack_leave_together() -> None:
    groups = tuple(stack("encoder", 2, 3, 2))
    scores = {
        "encoder.0.self_attn.heads": torch.tensor([9.0, 1.0, 5.0]),
        "encoder.0.ffn": torch.tensor([4.5, 99.0]),
        "encoder.1.self_attn.heads": torch.tensor([7.0, 20.0, 30.0]),
        "encoder.1.ffn": torch.tensor([3.5, 98.0]),
    }
    # Head 1 of layer 0 with head 0 of layer 1: mean 4. Then 5 and 20: mean 12.5.
    assert death_order(scores, groups, False).when.tolist() == [3.5, 4.0, 4.5, 12.5]
    kept = plan_to_budget(scores, groups, 210 / 640).keep
    assert kept["encoder.0.self_attn.heads"] == (0, 2)
    assert kept["encoder.1.self_attn.heads"] == (1, 2)
    assert kept["encoder.0.ffn"] == (0, 1) and kept["encoder.1.ffn"] == (1,)
    assert plan_below(scores, groups, 4.2).keep == kept
    assert plan_to_budget(scores, groups, 211 / 640).keep["encoder.0.ffn"] == (1,)


def test_a_worthless_group_goes_before_it_takes_good_heads_along() -> None:
    groups = tuple(stack("encoder", 3, 2, 2))
    scores = {g.key: torch.tensor([-5.0, -4.0]) + 50 * (g.layer != 1) for g in groups}
    # The mean of the worst heads is 28.3, of the others' 45; all of layer 1 is worth less.
    order = death_order(scores, groups, True)
    assert order.when.tolist()[:3] == [-5.0, -4.0, -4.0]  # two FFN units, and both heads at once
    plan = plan_to_budget(scores, groups, 220 / 660, whole=True)
    assert [len(plan.keep[g.key]) for g in groups] == [2, 2, 0, 0, 2, 2]
    # Without whole layers the heads are all there is to take.
    assert plan_to_budget(scores, groups, 220 / 660).keep["encoder.0.self_attn.heads"] == (1,)


def test_the_last_layer_of_a_stack_stays() -> None:
    scores = {g.key: torch.full((g.count,), float(g.layer)) for g in GROUPS}
    plan = plan_to_budget(scores, GROUPS, reachable(GROUPS, True), whole=True)
    left = {g.key: len(plan.keep[g.key]) for g in GROUPS if plan.keep[g.key]}
    assert left == {
        "encoder.2.self_attn.heads": 1, "encoder.2.ffn": 1,
        "decoder.1.self_attn.heads": 1, "decoder.1.encoder_attn.heads": 1, "decoder.1.ffn": 1,
    }  # fmt: skip


def test_what_a_ragged_model_has_too_much_of_goes_whatever_the_target() -> None:
    first, ffn, second, other = stack("encoder", 2, 4, 2)
    groups = (replace(first, count=2), ffn, second, other)
    scores = {g.key: torch.arange(float(g.count)) for g in groups}
    plan = plan_to_budget(scores, groups, 0.0)
    assert plan.keep[second.key] == (2, 3) and plan.keep[first.key] == (0, 1)
    assert plan.removed == pytest.approx(200 / 640)
    assert plan_below(scores, groups, -1.0).keep == plan.keep
    assert plan_to_budget(scores, groups, 0.1).keep == plan.keep
    assert holds(groups, plan_to_budget(scores, groups, 0.5))


def test_the_engine_knows_what_it_ties() -> None:
    model = tiny_model()
    groups = family_of(model).unit_groups(model)
    limited = constrain(groups, registry.get("ctranslate2").ties)
    assert {g.tied for g in limited if g.kind == "ffn"} == {""}
    heads = {g.key: g.tied for g in limited if g.kind == "heads"}
    assert len(set(heads.values())) == 2
    assert len({tied for key, tied in heads.items() if key.startswith("decoder")}) == 1
    for engine in set(registry.names()) - {"ctranslate2"}:
        assert constrain(limited, registry.get(engine).ties) == groups
    assert unlimited(limited) == groups


def test_a_cut_minds_neither_limits_nor_prices() -> None:
    model = tiny_model()
    family = family_of(model)
    prices = {g.place: 2.5 for g in family.unit_groups(model)}
    ties = registry.get("ctranslate2").ties
    groups = PlanRules(ties, prices).applied(family.unit_groups(model))
    scores = {g.key: torch.arange(float(g.count)) for g in groups}
    plan = plan_to_budget(scores, groups, 0.5)
    cut(model, groups, plan)
    left = family.unit_groups(model)
    assert holds(left, PruningPlan({g.key: tuple(range(g.count)) for g in left}))


def test_prices_are_what_a_target_is_a_share_of() -> None:
    model = tiny_model()
    family = family_of(model)
    free = family.unit_groups(model)
    prices = {g.place: 3.0 if g.kind == "heads" else 0.5 for g in free}
    groups = PlanRules(prices=prices).applied(free)
    assert total_price(groups) == 6 * 4 * 3.0 + 4 * 48 * 0.5
    scores = {g.key: torch.arange(float(g.count)) + 100 * (g.kind == "heads") for g in groups}
    plan = plan_to_budget(scores, groups, 0.25)  # 42 of 168: 84 FFN units
    assert sum(48 - len(plan.keep[g.key]) for g in groups if g.kind == "ffn") == 84
    assert costs_of(groups) == {g.key: prices[g.place] for g in groups}
    assert costs_of(free) is None and total_price(free) == sum(
        g.count * g.weights_per_unit for g in free
    )
    with pytest.raises(PlanError, match=r"no price of a unit of encoder\.ffn"):
        PlanRules(prices={**prices, "encoder.ffn": 0.0}).applied(free)
