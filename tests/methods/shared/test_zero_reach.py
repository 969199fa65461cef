"""What can become zero beside a removal, in weights and where prices are not weights."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.tiny_job import Workshop, build
from whisperslim.core.families import UnitGroup
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.rules import PlanRules
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.l0.options import L0Options
from whisperslim.methods.layer_drop.options import LayerDropOptions
from whisperslim.methods.magnitude.options import IMPOptions, OneShotOptions
from whisperslim.methods.pinching.options import SelfPinchingOptions
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.methods.shared.reach import largest_bundle, most_left, room_for_zeros

PRUNABLE = 36864  # 14336 in the encoder, 22528 in the decoder
BASELINES = [("one_shot", OneShotOptions()), ("imp", IMPOptions(rounds=3))]


def costly_encoder(shop: Workshop, smaller: str) -> SpeechModel:
    """A weight of the encoder costs ten of the decoder; the units of stack `smaller` go first."""
    speech = shop.student()
    prices = {
        group.place: group.weights_per_unit * (10.0 if group.stack == "encoder" else 1.0)
        for group in speech.groups()
    }
    for name in speech.family.prunable_weights(speech.model):
        if f".{smaller}." in name:
            speech.model.get_parameter(name).data.mul_(0.01)
    return replace(speech, rules=PlanRules(prices=prices))


def group(key: str, count: int, weights: int, **more: Any) -> UnitGroup:
    return UnitGroup(key, "ffn", "encoder", count, 1, weights, weights, **more)


def test_most_is_left_when_the_costly_go_first() -> None:
    # Prices 100 and 300 of 400; weights 200 and 100 of 300.
    cheap, costly = group("cheap", 10, 20, price=10.0), group("costly", 10, 10, price=30.0)
    both = (cheap, costly)
    assert most_left(both, both, 0.0) == 1.0
    assert most_left(both, both, 0.375) == pytest.approx(250 / 300)
    assert most_left(both, both, 0.875) == pytest.approx(100 / 300)  # all costly, half of the cheap
    assert most_left(both, (cheap,), 0.125) == pytest.approx(100 / 300)
    assert most_left(both, both, 0.3, {"cheap": 2.0, "costly": 1.0}) == pytest.approx(0.7)


def test_what_leaves_together_is_what_a_removal_may_go_too_far_by() -> None:
    groups = (group("a", 4, 10, tied="x"), group("b", 4, 12, tied="x"), group("c", 2, 15))
    assert largest_bundle(groups) == 22
    assert largest_bundle(groups, whole=True) == 48
    total = 4 * 10 + 4 * 12 + 2 * 15
    assert room_for_zeros(groups, groups, 0.25) == pytest.approx(0.75 - 22 / total)
    assert room_for_zeros(groups, groups, 0.0) == 1.0


@pytest.mark.parametrize(("name", "options"), BASELINES)
def test_zeros_that_the_units_leave_no_room_for_are_an_error(
    shop: Workshop, name: str, options: Any
) -> None:
    speech = costly_encoder(shop, smaller="decoder")
    method = build(name, options, Target(0.3, 0.5))
    method.attach(speech.model, speech.groups(), 10)
    # Of a price of 165888, 0.3 is 49766. The decoder gives all but a head or an FFN unit of each
    # of its groups, 18304, and the encoder the other 31462, a tenth of them weights; a head less.
    left = PRUNABLE - 18304 - 3146
    with pytest.raises(PlanError, match=r"cannot zero 0\.5 .* lower zeroed or removed") as planned:
        method.plan(None)
    with pytest.raises(PlanError) as trained:
        for step in range(1, 11):
            method.after_step(1e-3, step)
    method.detach()
    assert str(trained.value) == str(planned.value), "the first round says it"
    found = float(str(planned.value).split(": ")[1].split()[0]) * PRUNABLE
    assert left - 1024 - 4 < found <= left + 4  # four decimals


@pytest.mark.parametrize(("name", "options"), BASELINES)
def test_zeros_that_the_units_leave_room_for_are_not_refused_for_their_price(
    shop: Workshop, name: str, options: Any
) -> None:
    speech = costly_encoder(shop, smaller="encoder")
    # 0.3 of the price are at least 4977 weights of the encoder, 0.135 of all.
    method = build(name, options, Target(0.3, 0.8))
    method.attach(speech.model, speech.groups(), 10)
    for step in range(1, 11):
        method.after_step(1e-3, step)
    method.detach()
    plan = method.plan(None)
    assert 0.135 <= plan.removed < 0.135 + 1024 / PRUNABLE
    cut(speech.model, speech.groups(), plan)
    names = speech.family.prunable_weights(speech.model)
    zeros = sum(int((speech.model.get_parameter(own) == 0).sum()) for own in names)
    assert zeros / PRUNABLE == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "options", "refused"),
    [
        ("one_shot", OneShotOptions(), 0.87),
        ("imp", IMPOptions(rounds=3), 0.87),
        # A head less, for removal may go too far; 0.95 of every matrix at most.
        ("sgl", SGLOptions(), 0.84),
        ("sgl", SGLOptions(prune="bisection"), 0.84),
        ("l0_distill", L0Options(coarse_from=0), 0.84),
        ("self_pinching", SelfPinchingOptions(), 0.80),
    ],
)
def test_what_no_choice_of_units_leaves_room_for_is_refused_before_training(
    shop: Workshop, name: str, options: Any, refused: float
) -> None:
    speech = costly_encoder(shop, smaller="encoder")
    groups = speech.groups()
    # At most 0.865 is left after 0.3 of the price, 0.837 with a head less; 0.95 of that is 0.795.
    method = build(name, options, Target(0.3, refused - 0.01))
    method.attach(speech.model, groups, 10)
    method.detach()
    with pytest.raises(PlanError, match=f"cannot zero {refused:g} of the prunable weights"):
        build(name, options, Target(0.3, refused)).attach(speech.model, groups, 10)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgl", SGLOptions()),
        ("l0_distill", L0Options(coarse_from=0)),
        ("one_shot", OneShotOptions()),
        ("layer_drop", LayerDropOptions()),
    ],
)
def test_in_weights_zeros_and_removal_share_what_there_is(
    shop: Workshop, name: str, options: Any
) -> None:
    speech = shop.student()
    with pytest.raises(PlanError, match=r"cannot zero 0\.61 of the prunable weights"):
        build(name, options, Target(0.4, 0.61)).attach(speech.model, speech.groups(), 10)


def test_constants_need_no_room(shop: Workshop) -> None:
    speech = shop.student()
    method = build("sgl", SGLOptions(prune="constants", weighting="uniform"), Target(0.4, 0.7))
    method.attach(speech.model, speech.groups(), 10)
    method.detach()
