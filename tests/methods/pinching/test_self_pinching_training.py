"""Self-pinching gates at work: the density they reach, how they settle, what they leave alone."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.tiny_job import TARGET, Workshop, logits, one_batch, run, weights
from whisperslim.core.families import prunable_total
from whisperslim.core.loading import SpeechModel
from whisperslim.core.surgery.gates import masked
from whisperslim.core.surgery.shrink import cut, set_elements
from whisperslim.errors import PlanError
from whisperslim.events import SparsityMeasured, StepDone
from whisperslim.methods.base import Target
from whisperslim.methods.pinching.method import SelfPinching
from whisperslim.methods.pinching.options import SelfPinchingOptions

KINDS = ("units", "elements", "both")


def hard_density(speech: SpeechModel, shares: dict[str, float]) -> float:
    groups = speech.groups()
    sizes = {group.key: group.count * group.weights_per_unit for group in groups}
    return sum(shares[key] * size for key, size in sizes.items()) / sum(sizes.values())


@pytest.mark.parametrize(
    ("granularity", "target"),
    [("units", Target(0.4, 0.0)), ("elements", Target(0.0, 0.5))],
)
def test_the_density_reaches_the_target_before_gates_settle(
    shop: Workshop, tmp_path: Path, granularity: str, target: Target
) -> None:
    options = SelfPinchingOptions(granularity=granularity, threshold_rate=3.0, settle=0.3)
    job = shop.job(tmp_path, SelfPinching(options, target), steps=40)
    seen = [event for event in run(job) if isinstance(event, SparsityMeasured)]
    density = {e.step: hard_density(job.student, e.gauges["density"]) for e in seen}
    wanted = 1 - target.removed - target.zeroed
    assert density[4] > wanted + 0.1, "the goal is ramped"
    assert density[24] == pytest.approx(wanted, abs=0.1)
    assert density[40] == pytest.approx(wanted, abs=0.02), "the plan's masks"


@pytest.mark.parametrize("granularity", KINDS)
def test_settled_gates_are_the_plan_and_thresholds_stand_still(
    shop: Workshop, tmp_path: Path, granularity: str
) -> None:
    options = SelfPinchingOptions(granularity=granularity, threshold_rate=3.0, settle=0.5)
    method = SelfPinching(options, TARGET)
    job = shop.job(tmp_path, method, steps=16)
    seen = run(job)
    gauges = [event.gauges for event in seen if isinstance(event, SparsityMeasured)]
    assert gauges[0]["threshold"] != gauges[1]["threshold"]
    assert gauges[1]["threshold"] == gauges[3]["threshold"]
    terms = {e.step: set(e.losses) for e in seen if isinstance(e, StepDone)}
    assert len(terms[8]) > 1 and terms[9] == {"cross_entropy"}

    speech, batch, plan = job.student, one_batch(shop), method.plan(None)
    assert plan.keep == settled_keep(method, speech)
    if granularity == "units":
        assert gauges[3]["density"] == {
            group.key: pytest.approx(len(plan.keep[group.key]) / group.count)
            for group in speech.groups()
        }
    again = SelfPinching(options, TARGET)
    again.attach(speech.model, speech.groups(), 16)
    again.load_state_dict(method.state_dict())
    gated = logits(speech, batch)
    again.detach()
    by_hand = deepcopy(speech.model)
    plan = replace(plan, zero={n: plan.zero[n] for n in closed_elements(method) if n in plan.zero})
    set_elements(by_hand, plan)
    plain = replace(speech, model=by_hand)
    with masked(by_hand, speech.groups(), plan):
        assert torch.equal(logits(plain, batch), gated)


@pytest.mark.parametrize("granularity", ("elements", "both"))
def test_what_has_closed_when_gates_settle_is_what_the_plan_zeroes(
    shop: Workshop, tmp_path: Path, granularity: str
) -> None:
    options = SelfPinchingOptions(granularity=granularity, threshold_rate=3.0, settle=0.5)
    method = SelfPinching(options, TARGET)
    closed: dict[int, dict[str, torch.Tensor]] = {}
    for event in run(job := shop.job(tmp_path, method, steps=16)):
        if isinstance(event, StepDone) and event.step >= 8:
            closed[event.step] = {n: z.clone() for n, z in closed_elements(method).items()}
    assert all(torch.equal(closed[8][n], closed[16][n]) for n in closed[8])
    model, groups = job.student.model, job.student.groups()
    assert all(bool((model.get_parameter(n)[z] == 0).all()) for n, z in closed[16].items())
    plan = method.plan(None)
    small = deepcopy(model)
    cut(small, groups, replace(plan, zero={}))
    before = sum(int((small.get_parameter(n) == 0).sum()) for n in plan.zero)
    set_elements(small, plan)
    after = sum(int((small.get_parameter(n) == 0).sum()) for n in plan.zero)
    assert before == after == round(TARGET.zeroed * prunable_total(groups))


def closed_elements(method: SelfPinching) -> dict[str, torch.Tensor]:
    zeros: dict[str, torch.Tensor] = method.state_dict()["settled"]["zeros"]
    return zeros


def settled_keep(method: SelfPinching, speech: SpeechModel) -> dict[str, tuple[int, ...]]:
    masks = method.state_dict()["settled"]["masks"]
    return {
        group.key: tuple(masks[group.key].nonzero().flatten().tolist()) for group in speech.groups()
    }


def test_frozen_layers_are_left_alone(shop: Workshop, tmp_path: Path) -> None:
    student = shop.student()
    student.family.freeze(student.model, encoder=True, embeddings=True)
    before = weights(student)
    options, target = SelfPinchingOptions(granularity="both", threshold_rate=3.0), Target(0.3, 0.1)
    method = SelfPinching(options, target)
    seen = run(shop.job(tmp_path, method, student=student, steps=10))
    keys = {group.key for group in student.groups() if group.stack == "decoder"}
    gauges = next(event for event in seen if isinstance(event, SparsityMeasured)).gauges
    assert set(gauges["threshold"]) == set(gauges["element_threshold"]) == keys
    plan = method.plan(None)
    for group in student.groups():
        if group.stack == "encoder":
            assert plan.keep[group.key] == tuple(range(group.count))
    assert all(".decoder." in name for name in plan.zero)
    set_elements(student.model, plan)
    for name, weight in student.model.named_parameters():
        assert torch.equal(weight, before[name]) or ".encoder." not in name
    # The stage that plans loads the model afresh, and freezes nothing.
    fresh = shop.student()
    fresh.model.load_state_dict(student.model.state_dict())
    again = SelfPinching(options, target)
    again.attach(fresh.model, fresh.groups(), 10)
    again.load_state_dict(method.state_dict())
    assert again.plan(None).keep == plan.keep
    assert set(again.plan(None).zero) == set(plan.zero)


def test_more_than_the_trained_layers_can_give_is_refused(shop: Workshop) -> None:
    student = shop.student()
    student.family.freeze(student.model, encoder=True, embeddings=True)
    groups = student.groups()
    decoder = [group for group in groups if group.stack == "decoder"]
    limit = sum((g.count - 1) * g.weights_per_unit for g in decoder) / prunable_total(groups)
    method = SelfPinching(SelfPinchingOptions(), Target(limit + 0.01, 0.0))
    with pytest.raises(PlanError, match=rf": 0 to {limit:.4f} .*\(4 frozen groups"):
        method.attach(student.model, groups, 10)
    method = SelfPinching(SelfPinchingOptions(), Target(0.3, 0.6))
    with pytest.raises(PlanError, match=r"cannot zero 0.6 .* after a removal of 0.3"):
        method.attach(student.model, groups, 10)


def test_a_refusal_names_the_currency(shop: Workshop) -> None:
    student = shop.student()
    groups = [replace(group, price=1.0) for group in student.groups()]
    method = SelfPinching(SelfPinchingOptions(), Target(0.96, 0.0))
    # Six groups of 4 heads and four of 48 FFN units, of which one each stays: 206 of 216.
    with pytest.raises(PlanError, match=r": 0 to 0\.9537 of the cost of the model's units"):
        method.attach(student.model, groups, 10)


@pytest.mark.parametrize("granularity", KINDS)
def test_zeros_hit_their_share_and_take_no_matrix_whole(shop: Workshop, granularity: str) -> None:
    student, target = shop.student(), Target(0.3, 0.4)
    method = SelfPinching(SelfPinchingOptions(granularity=granularity, floor=0.1), target)
    groups = student.groups()
    method.attach(student.model, groups, 10)
    for owned in method.param_groups():
        owned["params"][0].data[::3] *= 100  # every weight of these groups is below
    plan = method.plan(None)
    cut(student.model, groups, plan)
    zeros = {name: student.model.get_parameter(name) == 0 for name in plan.zero}
    share = sum(int(zero.sum()) for zero in zeros.values()) / prunable_total(groups)
    assert share == pytest.approx(0.4, abs=0.001)
    assert max(float(zero.float().mean()) for zero in zeros.values()) == pytest.approx(
        0.9, abs=0.01
    )


def test_one_scale_of_the_thresholds_decides_every_matrix(shop: Workshop) -> None:
    student = shop.student()
    options = SelfPinchingOptions(granularity="elements", floor=0.0)
    method = SelfPinching(options, Target(0.0, 0.3))
    groups = student.groups()
    method.attach(student.model, groups, 10)
    plan, thresholds = method.plan(None), method.gauges()["threshold"]
    scales = {
        round(plan.zero[part.parameter].radius / thresholds[group.key], 5)
        for group in groups
        for part in group.slices
        if part.parameter in plan.zero
    }
    assert len(scales) == 1
