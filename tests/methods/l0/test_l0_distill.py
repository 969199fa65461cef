"""L0 masks: sizes, constraint and costs by hand; hard masks, plans and whole sub-layers."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny import D_MODEL, FFN, HEADS
from tests.support.tiny_job import (
    Workshop,
    cross_entropy,
    logits,
    one_batch,
    run,
    same,
    steps_of,
    weights,
)
from whisperslim.core.cost.unit_costs import unit_costs
from whisperslim.core.families import UnitGroup
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.gates import masked
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import PlanError, RecipeError, UsageError
from whisperslim.methods.base import Target
from whisperslim.methods.l0.masks import L0Masks
from whisperslim.methods.l0.method import L0Distill, log_odds
from whisperslim.methods.l0.options import L0Options
from whisperslim.methods.shared.units import unit_norms

HEAD = D_MODEL // HEADS
SHIFT = 2 / 3 * math.log(11)
NOTHING = StepOutputs(torch.zeros(()), torch.zeros(0), torch.zeros(0))


def attached(
    shop: Workshop, *, removed: float = 0.4, zeroed: float = 0.0, steps: int = 10, **changes: Any
) -> tuple[L0Distill, SpeechModel]:
    speech = shop.student()
    method = L0Distill(L0Options(**{"coarse_from": 0, **changes}), Target(removed, zeroed))
    method.attach(speech.model, speech.groups(), steps)
    return method, speech


def opened(log_alpha: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_alpha - SHIFT))


def only(speech: SpeechModel, key: str) -> UnitGroup:
    return next(group for group in speech.groups() if group.key == key)


def test_attaching_draws_nothing_and_masks_start_open(shop: Workshop) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    method, speech = attached(shop, open_at_start=0.95, sublayers=False, layers=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert method.expected_removed() == pytest.approx(0.05, abs=1e-6)
    assert set(method.gauges()) == {"density"}
    assert method.gauges()["density"] == pytest.approx(
        {group.key: 0.95 for group in speech.groups()}, abs=1e-6
    )


@pytest.mark.parametrize("sublayers", [True, False])
@pytest.mark.parametrize("layers", [True, False])
def test_there_is_one_mask_for_each_unit_sub_layer_and_layer(
    shop: Workshop, sublayers: bool, layers: bool
) -> None:
    method, speech = attached(shop, sublayers=sublayers, layers=layers)
    units = sum(group.count for group in speech.groups())
    # Two encoder layers of two sub-layers, two decoder layers of three.
    expected = units + 10 * sublayers + 4 * layers
    assert method.param_groups()[0]["params"][0].numel() == expected
    assert method.whole is (sublayers or layers)


def test_a_units_chance_is_its_own_times_its_sub_layers_times_its_layers(shop: Workshop) -> None:
    """Two groups of one layer and one of another, every log alpha its own number."""
    speech = shop.student()
    groups = [
        only(speech, key)
        for key in ("decoder.0.self_attn.heads", "decoder.0.encoder_attn.heads", "encoder.1.ffn")
    ]
    masks = L0Masks(groups, L0Options(), torch.device("cpu"))
    values = torch.linspace(-2.0, 2.0, masks.log_alpha.numel())
    masks.log_alpha.data.copy_(values)
    units = values[: 2 * HEADS + FFN].split([HEADS, HEADS, FFN])
    # Behind the units, in order of first need: sub-layer, its layer, then what is new.
    first, decoder_0, second, third, encoder_1 = values[2 * HEADS + FFN :].tolist()
    outer = [(first, decoder_0), (second, decoder_0), (third, encoder_1)]
    costs = {groups[0].key: 5.0, groups[1].key: 2.0, groups[2].key: 0.5}
    kept = 0.0
    for group, own, (sublayer, layer) in zip(groups, units, outer, strict=True):
        expected = [opened(v) * opened(sublayer) * opened(layer) for v in own.tolist()]
        assert masks.log_open(group).exp().tolist() == pytest.approx(expected, rel=1e-5)
        assert float(masks.density(group)) == pytest.approx(sum(expected) / group.count, rel=1e-5)
        kept += costs[group.key] * sum(expected)
    total = 5.0 * HEADS + 2.0 * HEADS + 0.5 * FFN
    found = masks.expected_removed(costs)
    assert float(found.detach()) == pytest.approx(1 - kept / total, abs=1e-6)
    found.backward()
    assert masks.log_alpha.grad is not None
    assert bool((masks.log_alpha.grad < 0).all()), "opening any mask removes less"


def by_hand(log_alpha: float, noise: float) -> float:
    value = 1.0 / (1.0 + math.exp(-1.5 * (math.log(noise / (1 - noise)) + log_alpha)))
    return min(1.0, max(0.0, value * 1.2 - 0.1))


def test_gates_are_the_drawn_masks(shop: Workshop) -> None:
    method, speech = attached(shop, open_at_start=0.8)
    state = method.state_dict()
    size = len(state["log_alpha"])
    noise = torch.rand(size, generator=torch.Generator().manual_seed(1)) * 0.98 + 0.01
    method.load_state_dict({**state, "noise": noise})
    alpha = float(state["log_alpha"][0])
    drawn = [by_hand(alpha, u) for u in noise.tolist()]
    masks, start = method._masks, 0
    activation = torch.zeros(2, 3, D_MODEL)
    units = sum(group.count for group in speech.groups())
    # The first sub-layer's mask comes first behind the units, then its layer's, then the next's.
    expected_outer = [drawn[units] * drawn[units + 1], drawn[units + 2] * drawn[units + 1]]
    for group, outer in zip(speech.groups(), expected_outer, strict=False):
        gate = masks.unit_gate(group, activation)
        assert gate is not None
        expected = drawn[start : start + group.count]
        assert gate.tolist() == pytest.approx(expected, abs=1e-5)
        assert gate.requires_grad
        whole = masks.outer_gate(group, activation)
        assert whole is not None and float(whole.detach()) == pytest.approx(outer, abs=1e-5)
        with torch.no_grad():
            calm = masks.unit_gate(group, activation)
        assert calm is not None and calm.unique().numel() == 1, "nothing is drawn"
        start += group.count


def test_masks_act_once_training_has_begun_and_one_draw_serves_a_step(shop: Workshop) -> None:
    method, speech = attached(shop, open_at_start=0.7)
    batch = one_batch(shop)
    dense = float(cross_entropy(speech, batch).detach())
    torch.manual_seed(0)
    method.after_step(1e-3, 1)
    drawn = [float(cross_entropy(speech, batch).detach()) for _ in range(2)]
    assert drawn[0] == drawn[1] != dense
    calm = [logits(speech, batch) for _ in range(2)]
    method.after_step(1e-3, 2)
    assert float(cross_entropy(speech, batch).detach()) != drawn[0]
    assert torch.equal(calm[0], calm[1]) and torch.equal(calm[0], logits(speech, batch))
    loss = cross_entropy(speech, batch)
    loss.backward()
    grad = method.param_groups()[0]["params"][0].grad
    assert grad is not None and float(grad.abs().sum()) > 0
    method.detach()
    assert float(cross_entropy(speech, batch).detach()) == dense


def test_gradients_reach_masks_through_a_frozen_encoder(shop: Workshop) -> None:
    method, speech = attached(shop, open_at_start=0.7)
    speech.family.freeze(speech.model, encoder=True, embeddings=True)
    method.after_step(1e-3, 1)
    cross_entropy(speech, one_batch(shop)).backward()
    grad = method.param_groups()[0]["params"][0].grad
    assert grad is not None
    encoder = sum(group.count for group in speech.groups() if group.stack == "encoder")
    assert float(grad[:encoder].abs().sum()) > 0


def test_the_target_rises_over_the_ramp(shop: Workshop) -> None:
    method, _ = attached(shop, removed=0.4, steps=100, ramp=0.4)
    asked = [method.target_at(step) for step in (1, 20, 40, 41, 100)]
    assert asked == pytest.approx([0.01, 0.2, 0.4, 0.4, 0.4])
    method, _ = attached(shop, removed=0.4, steps=100, ramp=0.0)
    assert method.target_at(1) == 0.4


def test_the_constraint_and_its_multipliers_by_hand(shop: Workshop) -> None:
    """Masks do not move, so the expected share stays at what it is at the start."""
    method, _ = attached(
        shop, removed=0.4, steps=10, ramp=0.5, settle=0.0, linear_rate=2.0, quadratic_rate=30.0,
        open_at_start=0.9,
    )  # fmt: skip
    removed, linear, quadratic = 1 - 0.9**3, 0.0, 0.0
    for step in range(1, 8):
        violation = removed - min(0.4, 0.08 * step)
        term = method.loss_terms(NOTHING, step)["l0_constraint"]
        expected = linear * violation + quadratic * violation**2
        assert float(term.detach()) == pytest.approx(expected, abs=1e-5)
        method.after_step(1e-3, step)
        linear, quadratic = linear + 2.0 * violation, quadratic + 30.0 * violation**2
    assert method.state_dict()["multipliers"].tolist() == pytest.approx(
        [linear, quadratic], rel=1e-4
    )


def test_log_odds_by_hand_and_finite_at_the_ends() -> None:
    chances = [0.2, 0.5, 0.9]
    found = log_odds(torch.tensor([math.log(p) for p in chances], dtype=torch.float64))
    assert found.tolist() == pytest.approx([math.log(p / (1 - p)) for p in chances])
    ends = log_odds(torch.tensor([0.0, -1e-30, -1e6], dtype=torch.float32))
    assert bool(torch.isfinite(ends).all())
    assert ends[0] > ends[1] > ends[2]


def set_masks(method: L0Distill, values: torch.Tensor) -> None:
    method.load_state_dict({**method.state_dict(), "log_alpha": values})


def test_scores_rank_as_the_chances_do(shop: Workshop) -> None:
    method, speech = attached(shop)
    size = len(method.state_dict()["log_alpha"])
    set_masks(method, 3 * torch.randn(size, generator=torch.Generator().manual_seed(2)))
    scores = torch.cat([method.scores()[group.key] for group in speech.groups()])
    with torch.no_grad():
        chances = torch.cat([method._masks.log_open(group) for group in speech.groups()])
    order = scores.argsort()
    assert bool((chances[order].diff() > -1e-3).all())


def test_scores_are_finite_whatever_the_masks(shop: Workshop) -> None:
    method, _ = attached(shop)
    size = len(method.state_dict()["log_alpha"])
    for value in (1e4, -1e4):
        set_masks(method, torch.full((size,), value))
        assert all(bool(torch.isfinite(v).all()) for v in method.scores().values())


def test_equal_chances_are_ranked_by_the_norm_at_the_start(shop: Workshop) -> None:
    method, speech = attached(shop)
    wanted = {g.key: unit_norms(speech.model, g).argsort() for g in speech.groups()}
    with torch.no_grad():
        for parameter in speech.model.parameters():
            parameter.mul_(torch.randn_like(parameter))
    for key, values in method.scores().items():
        assert torch.equal(values.argsort(), wanted[key])


def trained(shop: Workshop, folder: Path, **changes: Any) -> tuple[L0Distill, SpeechModel]:
    """A short training that presses hard."""
    own = {
        name: changes.pop(name) for name in ("removed", "zeroed", "steps") if name in changes
    }  # fmt: skip
    options = {"rate_factor": 100.0, "linear_rate": 5.0, "quadratic_rate": 100.0, **changes}
    target = Target(own.get("removed", 0.4), own.get("zeroed", 0.0))
    method = L0Distill(L0Options(**{"coarse_from": 0, **options}), target)
    job = shop.job(folder, method, steps=own.get("steps", 10))
    run(job)
    return method, job.student


@pytest.mark.parametrize("removed", [0.2, 0.5])
def test_the_expected_share_comes_to_the_target(
    shop: Workshop, tmp_path: Path, removed: float
) -> None:
    method, _ = trained(shop, tmp_path, removed=removed, steps=60, settle=0.0)
    assert method.expected_removed() == pytest.approx(removed, abs=0.05)


@pytest.mark.parametrize("blocks", [True, False])
def test_masks_are_hard_in_the_end_and_the_plan_is_what_they_close(
    shop: Workshop, blocks: bool
) -> None:
    method, speech = attached(shop, steps=10, settle=0.3, sublayers=blocks, layers=blocks)
    if blocks:  # a closed sub-layer, whose bias must not act
        values = method.state_dict()["log_alpha"].clone()
        units = sum(group.count for group in speech.groups())
        values[units] = -8.0
        set_masks(method, values)
    batch = one_batch(shop)
    for step in range(1, 7):
        method.after_step(1e-3, step)
        assert method.loss_terms(NOTHING, step)
    method.after_step(1e-3, 7)
    assert method.loss_terms(NOTHING, 8) == {}
    frozen = method.state_dict()
    loss = cross_entropy(speech, batch)
    loss.backward()
    assert method.param_groups()[0]["params"][0].grad is None
    method.after_step(1e-3, 8)
    assert same(method.state_dict(), frozen)
    calm = logits(speech, batch)
    plan = method.plan(None)
    density = method.gauges()["density"]
    assert density == pytest.approx(
        {g.key: len(plan.keep[g.key]) / g.count for g in speech.groups()}
    )
    assert (plan.keep["encoder.0.self_attn.heads"] == ()) is blocks
    method.detach()
    with masked(speech.model, speech.groups(), plan):
        assert (calm - logits(speech, batch)).abs().max() < 1e-5
    smaller = replace(speech)
    cut(smaller.model, speech.groups(), plan)
    assert (calm - logits(smaller, batch)).abs().max() < 1e-5
    assert float(loss.detach()) == pytest.approx(
        float(cross_entropy(smaller, batch).detach()), abs=1e-5
    )


def test_weights_go_on_learning_under_hard_masks(shop: Workshop, tmp_path: Path) -> None:
    method = L0Distill(L0Options(coarse_from=0, rate_factor=50.0, settle=0.5), Target(0.4, 0.0))
    job = shop.job(tmp_path, method, steps=8)
    seen = steps_of(run(job))
    assert ["l0_constraint" in event.losses for event in seen] == [True] * 4 + [False] * 4
    assert not same(weights(job.student), weights(shop.student()))


def test_zeros_are_found_in_what_is_left_of_whole_sub_layers(
    shop: Workshop, tmp_path: Path
) -> None:
    method, speech = attached(shop, removed=0.4, zeroed=0.2)
    values = method.state_dict()["log_alpha"].clone()
    units = sum(group.count for group in speech.groups())
    values[units + 2] = -8.0  # the first encoder layer's feed-forward block
    set_masks(method, values)
    plan = method.plan(None)
    assert plan.keep["encoder.0.ffn"] == ()
    prunable = speech.family.prunable_weights(speech.model)
    total = sum(speech.model.get_parameter(name).numel() for name in prunable)
    method.detach()
    cut(speech.model, speech.groups(), plan)
    left = speech.family.prunable_weights(speech.model)
    zeros = sum(int((speech.model.get_parameter(name) == 0).sum()) for name in left)
    assert zeros / total == pytest.approx(0.2, abs=0.001)


def flops_by_hand() -> dict[str, float]:
    """5.5 s are 275 encoder positions; 30 tokens; a multiply-add is two."""
    frames, tokens = 275, 30
    scores = 2 * 2 * HEAD  # q times k, and weights times v, per pair of positions
    projection = 2 * D_MODEL * HEAD
    return {
        "encoder.self_attn.heads": 4 * projection * frames + scores * frames * frames,
        "encoder.ffn": 2 * 2 * D_MODEL * frames,
        "decoder.self_attn.heads": 4 * projection * tokens + scores * tokens * tokens,
        "decoder.encoder_attn.heads": 2 * projection * (tokens + frames) + scores * tokens * frames,
        "decoder.ffn": 2 * 2 * D_MODEL * tokens,
    }


def test_operations_of_a_unit_by_hand(shop: Workshop) -> None:
    speech = shop.student()
    expected = flops_by_hand()
    found = unit_costs(speech.model, speech.groups(), "flops")
    assert found == {group.key: expected[group.place] for group in speech.groups()}
    # A unit costs what it costs, however many others are left.
    half = {g.key: tuple(range(g.count // 2)) for g in speech.groups()} | {"encoder.1.ffn": ()}
    cut(speech.model, speech.groups(), PruningPlan(half))
    assert unit_costs(speech.model, speech.groups(), "flops") == {
        group.key: expected[group.place] for group in speech.groups()
    }


def test_parameters_of_a_unit_are_its_prunable_weights(shop: Workshop) -> None:
    speech = shop.student()
    found = unit_costs(speech.model, speech.groups(), "weights")
    assert found["encoder.0.self_attn.heads"] == 4 * D_MODEL * HEAD
    assert found["decoder.1.ffn"] == 2 * D_MODEL


def test_latency_is_measured_and_changes_nothing(shop: Workshop) -> None:
    speech = shop.student()
    speech.model.train()
    before, state = weights(speech), torch.get_rng_state()
    costs = unit_costs(speech.model, speech.groups(), "latency", repeats=2)
    assert set(costs) == {group.key for group in speech.groups()}
    assert all(0 < cost < 1 for cost in costs.values())
    # Layers of one shape are one measurement.
    assert costs["encoder.0.ffn"] == costs["encoder.1.ffn"]
    assert same(weights(speech), before) and torch.equal(torch.get_rng_state(), state)
    assert speech.model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in speech.model.modules())


def test_an_unknown_currency_is_refused(shop: Workshop) -> None:
    speech = shop.student()
    with pytest.raises(UsageError, match=r"'rupees'; choose one of weights, flops, latency"):
        unit_costs(speech.model, speech.groups(), "rupees")


def removed_share(
    groups: tuple[UnitGroup, ...], costs: Mapping[str, float], keep: Mapping[str, tuple[int, ...]]
) -> float:
    total = sum(group.count * costs[group.key] for group in groups)
    return sum((g.count - len(keep[g.key])) * costs[g.key] for g in groups) / total


@pytest.mark.parametrize("currency", ["flops", "latency"])
def test_the_plan_meets_the_target_in_its_own_currency(
    shop: Workshop, tmp_path: Path, currency: str
) -> None:
    method, speech = trained(shop, tmp_path, currency=currency, steps=4)
    groups, costs = speech.groups(), method.state_dict()["costs"]
    if currency == "flops":
        assert costs == {group.key: flops_by_hand()[group.place] for group in groups}
    share = removed_share(groups, costs, method.plan(None).keep)
    unit = max(costs.values()) / sum(g.count * costs[g.key] for g in groups)
    assert 0.4 - 1e-9 <= share < 0.4 + unit


def test_measured_time_is_remembered_not_measured_again(shop: Workshop) -> None:
    method, _ = attached(shop, currency="latency")
    again, _ = attached(shop, currency="latency")
    again.load_state_dict(method.state_dict())
    assert again.state_dict()["costs"] == method.state_dict()["costs"]
    assert again.plan(None) == method.plan(None)


@pytest.mark.parametrize("blocks", [True, False])
def test_a_target_out_of_reach_is_refused_before_training(shop: Workshop, blocks: bool) -> None:
    with pytest.raises(PlanError, match=r"0\.99 cannot be met: this model allows 0 to 0\."):
        attached(shop, removed=0.99, sublayers=blocks, layers=blocks)


def test_masks_that_settle_before_the_target_has_risen_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"ramp 0.7 and settle 0.4 are more than all the steps"):
        L0Options(ramp=0.7, settle=0.4)
