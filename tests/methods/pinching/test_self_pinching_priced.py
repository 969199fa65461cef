"""Self-pinching gates when a removal is counted in something else than weights."""

from dataclasses import replace

import pytest
import torch

from tests.methods.method_rows import COSTLY_ENCODER
from tests.support.tiny_job import Workshop, cross_entropy, one_batch
from whisperslim.core.families import prunable_total, total_price
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.rules import PlanRules
from whisperslim.methods.base import Target
from whisperslim.methods.pinching.gates import unit_mean_squares
from whisperslim.methods.pinching.method import SelfPinching
from whisperslim.methods.pinching.options import SelfPinchingOptions

NOTHING = StepOutputs(torch.zeros(()), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))


def costly_encoder(shop: Workshop) -> SpeechModel:
    """A weight of the encoder costs ten of the decoder, and its units differ more in size."""
    speech = replace(shop.student(), rules=PlanRules(prices=COSTLY_ENCODER))
    for name, weight in speech.model.named_parameters():
        if "decoder.layers" in name and "fc" in name and name.endswith("weight"):
            sizes = torch.linspace(0.1, 1.0, 48)
            weight.data.mul_(sizes[:, None] if "fc1" in name else sizes)
    return speech


def soft_shares(method: SelfPinching, speech: SpeechModel) -> dict[str, float]:
    """Each group's mean soft mask by the formula, with softness a quarter of the deviation."""
    thresholds, shares = method.gauges()["threshold"], {}
    for group in speech.groups():
        squares = unit_mean_squares(speech.model, group).detach().double()
        tau = 0.25 * squares.std(unbiased=False)
        soft = torch.sigmoid((squares - thresholds[group.key] ** 2) / (2 * tau))
        shares[group.key] = float(soft.mean())
    return shares


def test_units_are_pressed_by_what_they_cost(shop: Workshop) -> None:
    speech = costly_encoder(shop)
    options = SelfPinchingOptions(control="penalty", penalty=1.0)
    method = SelfPinching(options, Target(0.3, 0.0))
    method.attach(speech.model, speech.groups(), 10)
    method.after_step(0.0, 1)
    found = float(method.loss_terms(NOTHING, 2)["density_units"].detach())
    soft, groups = soft_shares(method, speech), speech.groups()
    price = sum(soft[g.key] * g.count * g.unit_price for g in groups) / total_price(groups)
    size = sum(soft[g.key] * g.count * g.weights_per_unit for g in groups) / prunable_total(groups)
    assert found == pytest.approx(price, rel=1e-4)
    assert abs(price - size) > 0.01, "which would not separate the two"


def test_elements_end_where_their_share_of_what_units_leave_is_zero(shop: Workshop) -> None:
    speech, batch = costly_encoder(shop), one_batch(shop)
    options = SelfPinchingOptions(
        granularity="both", ramp=0.0, stiffness=1.0, multiplier_rate=0.0, settle=0.0
    )
    method = SelfPinching(options, Target(0.3, 0.2))
    method.attach(speech.model, speech.groups(), 10)
    method.after_step(0.0, 1)
    cross_entropy(speech, batch)
    found = float(method.loss_terms(NOTHING, 2)["density_elements"].detach())
    soft, groups = soft_shares(method, speech), speech.groups()
    left = sum(soft[g.key] * g.count * g.weights_per_unit for g in groups) / prunable_total(groups)
    method.detach()

    # The same model pressed by penalty gives the density itself; the term is its squared distance.
    reported = SelfPinching(replace(options, control="penalty", penalty=1.0), Target(0.3, 0.2))
    reported.attach(speech.model, speech.groups(), 10)
    reported.after_step(0.0, 1)
    cross_entropy(speech, batch)
    density = float(reported.loss_terms(NOTHING, 2)["density_elements"].detach())
    reported.detach()
    assert found == pytest.approx((density - (1 - 0.2 / left)) ** 2, rel=1e-3)


def test_elements_alone_end_where_the_starts_order_leaves_them(shop: Workshop) -> None:
    speech = costly_encoder(shop)
    options = SelfPinchingOptions(
        granularity="elements", ramp=0.0, stiffness=1.0, multiplier_rate=0.0, settle=0.0
    )
    terms = []
    for control in ("target", "penalty"):
        own = replace(options, control=control, penalty=1.0)
        method = SelfPinching(own, Target(0.3, 0.2))
        method.attach(speech.model, speech.groups(), 10)
        left = 1 - method.plan(None).removed
        method.after_step(0.0, 1)
        terms.append(float(method.loss_terms(NOTHING, 2)["density_elements"].detach()))
        method.detach()
    assert abs(left - 0.7) > 0.01, "which would not separate weights from their price"
    assert terms[0] == pytest.approx((terms[1] - (1 - 0.2 / left)) ** 2, rel=1e-3)
