"""Self-pinching gates: masks and gradients by hand, and where thresholds start and stop."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.tiny_job import TARGET, Workshop, cross_entropy, one_batch
from whisperslim.core.families import Slice, UnitSite, prunable_total
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.loading import SpeechModel
from whisperslim.errors import RecipeError
from whisperslim.methods.base import Target
from whisperslim.methods.pinching.control import DensityControl
from whisperslim.methods.pinching.gates import (
    MaskedWeight,
    SoftCount,
    attach_weight_masks,
    soft_mask,
    straight_through,
    unit_mean_squares,
)
from whisperslim.methods.pinching.method import SelfPinching
from whisperslim.methods.pinching.options import SelfPinchingOptions
from whisperslim.methods.shared.importance import FisherGates

NOTHING = StepOutputs(torch.zeros(()), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
KINDS = ("units", "elements", "both")


def attached(
    speech: SpeechModel, target: Target = TARGET, steps: int = 10, **changes: Any
) -> SelfPinching:
    """A method on a model whose gates have begun."""
    method = SelfPinching(SelfPinchingOptions(**changes), target)
    method.attach(speech.model, speech.groups(), steps)
    method.after_step(0.0, 1)
    return method


def thresholds_of(method: SelfPinching) -> list[torch.Tensor]:
    """The learnable tensors, as the optimizer gets them."""
    return [group["params"][0] for group in method.param_groups()]


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_masked_weights_and_their_gradients_by_hand() -> None:
    weight = double(0.5, 0.1, -0.3).requires_grad_()
    threshold, tau = torch.tensor(0.2, dtype=torch.float64, requires_grad=True), double(0.05)[0]
    out = MaskedWeight.apply(weight, threshold, tau)
    assert out.tolist() == [0.5, 0.0, -0.3]
    upstream = double(2.0, 3.0, -1.0)
    out.backward(upstream)
    to_threshold, to_weight = 0.0, []
    for w, g, hard in zip([0.5, 0.1, -0.3], [2.0, 3.0, -1.0], [1, 0, 1], strict=True):
        soft = 1 / (1 + math.exp(-(w**2 - 0.2**2) / (2 * 0.05)))
        to_weight.append(g * (hard + w * (w / 0.05) * soft * (1 - soft)))
        to_threshold += g * w * -(0.2 / 0.05) * soft * (1 - soft)
    assert weight.grad is not None and threshold.grad is not None
    assert weight.grad.tolist() == pytest.approx(to_weight)
    assert float(threshold.grad) == pytest.approx(to_threshold)


def test_a_units_mask_is_hard_and_its_gradient_soft() -> None:
    squares = double(0.09, 0.01, 0.25).requires_grad_()
    threshold = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    tau = double(0.03)[0]
    soft = soft_mask(squares, threshold, tau)
    mask = straight_through(squares, soft, threshold)
    assert mask.tolist() == [1.0, 0.0, 1.0]
    mask.sum().backward()
    by_hand = [1 / (1 + math.exp(-(x - 0.04) / 0.06)) for x in (0.09, 0.01, 0.25)]
    slopes = [m * (1 - m) for m in by_hand]
    assert squares.grad is not None and threshold.grad is not None
    assert squares.grad.tolist() == pytest.approx([slope / 0.06 for slope in slopes])
    assert float(threshold.grad) == pytest.approx(-(0.2 / 0.03) * sum(slopes))


@pytest.mark.parametrize(("dim", "block"), [(0, 2), (1, 3)])
def test_the_soft_count_is_what_autograd_says(dim: int, block: int) -> None:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(4, 6, generator=generator, dtype=torch.float64).requires_grad_()
    threshold = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    tau, opened = double(0.1)[0], double(1.0, 0.0)
    whole = weight[:2] if dim == 0 else weight[:, :3]
    expected = torch.sigmoid((whole**2 - threshold**2) / (2 * tau)).sum()
    wanted = torch.autograd.grad(3 * expected, (weight, threshold))
    count = SoftCount.apply(
        weight, threshold, tau, opened, Slice("weight", dim, block, prunable=True)
    )
    assert float(count.detach()) == pytest.approx(float(expected.detach()))
    torch.testing.assert_close(torch.autograd.grad(3 * count, (weight, threshold)), wanted)


def test_mean_squares_are_of_weights_and_not_of_biases(shop: Workshop) -> None:
    speech = shop.student()
    layer = speech.model.model.encoder.layers[1]
    layer.fc1.bias.data.fill_(100.0)
    group = next(g for g in speech.groups() if g.key == "encoder.1.ffn")
    owned = torch.cat([layer.fc1.weight[7], layer.fc2.weight[:, 7]]).detach().double()
    found = unit_mean_squares(speech.model, group)
    assert float(found[7].detach()) == pytest.approx(float(owned.square().mean()), rel=1e-5)


def one_matrix(weight: torch.Tensor) -> tuple[nn.Module, tuple[UnitSite, ...]]:
    """A model of one encoder matrix whose rows are units."""
    count, width = weight.shape
    model = nn.Sequential(nn.Linear(width, count, bias=False))
    model[0].weight.data = weight
    part = Slice("0.weight", 0, 1, prunable=True)
    site = UnitSite("g", "ffn", "encoder", count, 1, width, width, slices=(part,), gate="0")
    return model, (site,)


def test_thresholds_start_at_their_quantile() -> None:
    # Sizes 0.00, 0.01, ..., 1.00 in rows of 101 elements and one row per size.
    sizes = torch.arange(101) / 100
    rows = sizes[:, None] * torch.tensor([1.0, -1.0])
    model, groups = one_matrix(rows)
    for granularity in ("units", "elements"):
        options = SelfPinchingOptions(granularity=granularity, start_quantile=0.25)
        method = SelfPinching(options, Target(0.1, 0.1))
        method.attach(model, groups, 10)
        assert method.gauges()["threshold"]["g"] == pytest.approx(0.25, abs=0.003)
        method.detach()


@pytest.mark.parametrize("granularity", KINDS)
def test_no_threshold_starts_dead(shop: Workshop, granularity: str) -> None:
    speech = shop.student()
    # Over a tenth of exact zeros: the quantile itself is 0, where the gradient is 0 too.
    speech.model.model.encoder.layers[0].fc1.weight.data[:, :8] = 0.0
    speech.model.model.encoder.layers[0].fc2.weight.data[:8] = 0.0
    method = attached(speech, granularity=granularity)
    sum(method.loss_terms(NOTHING, 2).values()).backward()
    for raw in thresholds_of(method):
        # A penalty on density, or a density above its goal, lifts every threshold.
        assert raw.grad is not None and bool((raw.detach() > 0).all())
        assert bool((raw.grad != 0).all())


def test_the_goal_falls_in_a_line_from_the_start(shop: Workshop) -> None:
    options = SelfPinchingOptions(ramp=0.5, stiffness=4.0, multiplier_rate=2.0)
    control = DensityControl(options, 0.4, 20, torch.device("cpu"))
    control.term(torch.tensor(0.9), 1)
    goals = [float(control.goal(step)) for step in (0, 5, 10, 15)]
    assert goals == pytest.approx([0.9, 0.65, 0.4, 0.4])


def test_both_multipliers_are_ascended_by_hand() -> None:
    options = SelfPinchingOptions(ramp=0.0, stiffness=4.0, multiplier_rate=2.0)
    control = DensityControl(options, 0.4, 20, torch.device("cpu"))
    density = torch.tensor(0.7, requires_grad=True)
    term = control.term(density, 1)
    assert float(term.detach()) == pytest.approx(4 * 0.3**2)
    control.ascend(1)
    control.ascend(1)  # once per measurement
    # lambda1 = 0 + 2 * 0.3, lambda2 = 4 + 2 * 0.09; too low a density now.
    term = control.term(torch.tensor(0.3), 2)
    assert float(term) == pytest.approx(0.6 * -0.1 + 4.18 * 0.01)
    control.ascend(2)
    term = control.term(density, 3)
    term.backward()
    assert density.grad is not None
    assert float(density.grad) == pytest.approx((0.6 - 0.2) + 2 * (4.18 + 0.02) * 0.3)


def test_the_penalty_is_its_weight_times_the_density(shop: Workshop) -> None:
    speech = shop.student()
    method = attached(speech, control="penalty", penalty=3.0)
    kept = 0.0
    for group in speech.groups():
        squares = unit_mean_squares(speech.model, group).detach()
        threshold = method.gauges()["threshold"][group.key]
        tau = 0.25 * float(squares.std(unbiased=False))
        soft = torch.sigmoid((squares - threshold**2) / (2 * tau))
        kept += float(soft.sum()) * group.weights_per_unit
    term = method.loss_terms(NOTHING, 2)["density_units"]
    assert float(term.detach()) == pytest.approx(
        3 * kept / prunable_total(speech.groups()), rel=1e-4
    )


@pytest.mark.parametrize("granularity", KINDS)
def test_a_runaway_is_held_and_reported(shop: Workshop, granularity: str) -> None:
    speech = shop.student()
    method = attached(speech, granularity=granularity, settle=0.0, floor=0.1)
    before = method.gauges()
    for raw in thresholds_of(method):
        raw.data[1:].fill_(1e6)
    method.after_step(0.0, 2)
    gauges = method.gauges()
    least = {group.key: math.ceil(0.1 * group.count) / group.count for group in speech.groups()}
    first, *others = (group.key for group in speech.groups())
    assert gauges["clamped"] == {first: 0.0, **dict.fromkeys(others, 1.0)}
    assert gauges["threshold"][first] == before["threshold"][first]
    for key in others:
        wanted = least[key] if granularity != "elements" else 0.1
        assert gauges["density"][key] == pytest.approx(wanted, abs=0.01)
        if granularity == "both":
            assert gauges["element_density"][key] == pytest.approx(0.1, abs=0.01)
    assert bool(torch.isfinite(cross_entropy(speech, one_batch(shop))))


def test_a_threshold_never_falls_where_nothing_is_felt(shop: Workshop) -> None:
    for granularity in KINDS:
        method = attached(shop.student(), granularity=granularity, settle=0.0)
        for raw in thresholds_of(method):
            raw.data.fill_(-1.0)
        method.after_step(0.0, 2)
        sum(method.loss_terms(NOTHING, 3).values()).backward()
        for raw in thresholds_of(method):
            assert bool((raw.detach() > 0).all())
            assert raw.grad is not None and bool((raw.grad != 0).all())


def test_masked_weights_stand_in_for_one_forward_pass_only() -> None:
    layer = nn.Linear(3, 2)
    model = nn.Sequential(layer)
    weight, x = layer.weight, torch.ones(1, 3)
    zero: Callable[[str], torch.Tensor] = lambda name: torch.zeros(2, 3)  # noqa: E731
    handles = attach_weight_masks(model, ["0.weight"], zero)
    assert torch.equal(model(x)[0], layer.bias)
    assert layer.weight is weight and dict(model.named_parameters())["0.weight"] is weight
    with pytest.raises(RuntimeError):
        model(torch.ones(1, 5))
    assert layer.weight is weight, "also after a pass that raises"
    for handle in handles:
        handle.remove()
    assert torch.equal(model(x), x @ weight.T + layer.bias)


def test_thresholds_learn_fast_and_are_not_decayed(shop: Workshop) -> None:
    method = attached(shop.student(), granularity="both", threshold_rate=30.0)
    for group in method.param_groups():
        assert group["rate_factor"] == 30.0 and group["weight_decay"] == 0.0


def test_ramp_and_settling_must_fit_into_the_run() -> None:
    with pytest.raises(RecipeError, match=r"ramp 0.9 and settle 0.2 are more than all the steps"):
        SelfPinchingOptions(ramp=0.9, settle=0.2)


def fisher_method(speech: SpeechModel, **changes: Any) -> SelfPinching:
    """Gates that go by Fisher information, on a model, before the first step."""
    method = SelfPinching(SelfPinchingOptions(importance="fisher", **changes), TARGET)
    method.attach(speech.model, speech.groups(), 10)
    return method


def test_fisher_worth_is_size_times_the_fourth_root_of_information(shop: Workshop) -> None:
    speech, batch = shop.student(), one_batch(shop)
    groups, measured = speech.groups(), FisherGates()
    measured.attach(speech.model, groups)
    measured.active = True
    cross_entropy(speech, batch).backward()
    measured.collect()
    measured.detach()
    method = fisher_method(speech)
    cross_entropy(speech, batch).backward()
    method.after_step(0.0, 1)
    factors = {
        g.key: (measured.information[g.key].double() / g.weights_per_unit) ** 0.25 for g in groups
    }
    mean = torch.cat(list(factors.values())).mean()
    thresholds, scores = method.gauges()["threshold"], method.scores()
    for group in groups:
        size = unit_mean_squares(speech.model, group).detach().double().sqrt()
        worth = size * factors[group.key] / mean
        torch.testing.assert_close(
            scores[group.key].double() * thresholds[group.key], worth, rtol=1e-3, atol=1e-9
        )
    # One scale for the whole model: a tenth of all units lies under one threshold.
    assert len(set(thresholds.values())) == 1
    every = torch.cat(list(scores.values()))
    assert float((every < 1).float().mean()) == pytest.approx(0.1, abs=0.02)


def test_a_closed_unit_is_still_measured(shop: Workshop) -> None:
    speech, batch = shop.student(), one_batch(shop)
    method = fisher_method(speech, importance_every=1, settle=0.0)
    for step in (1, 2, 3):
        cross_entropy(speech, batch).backward()
        method.after_step(0.0, step)
    closed = [own < 1 for own in method.scores().values()]
    information = method.state_dict()["worth"]["mean"].values()
    assert any(bool(own.any()) for own in closed)
    assert method.state_dict()["worth"]["measured"] == 3
    for own, found in zip(closed, information, strict=True):
        assert bool((found[own] > 0).all())


def test_gates_stay_open_until_they_are_to_begin(shop: Workshop) -> None:
    speech, batch = shop.student(), one_batch(shop)
    method = fisher_method(speech, begin=0.3)
    plain = float(cross_entropy(speech, batch).detach())
    for step in (1, 2):
        method.after_step(0.0, step)
        assert not method.loss_terms(NOTHING, step + 1)
        assert float(cross_entropy(speech, batch).detach()) == pytest.approx(plain, rel=1e-6)
    method.after_step(0.0, 3)
    assert method.loss_terms(NOTHING, 4)
    options = SelfPinchingOptions(begin=0.3, ramp=0.5)
    control = DensityControl(options, 0.4, 20, torch.device("cpu"))
    control.term(torch.tensor(0.9), 7)
    assert [float(control.goal(step)) for step in (6, 11, 16)] == pytest.approx([0.9, 0.65, 0.4])
