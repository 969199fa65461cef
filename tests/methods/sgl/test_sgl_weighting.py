"""Which units Sparse Group LASSO pulls: by what, when it is chosen again, and where it acts."""

import math

import pytest
import torch

from tests.methods.sgl.tiny_sgl import NOTHING, options
from tests.support.tiny_job import TARGET, Workshop, same, weights
from whisperslim.core.plan.plan import plan_to_budget
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.sgl.method import SparseGroupLasso
from whisperslim.methods.shared.units import scale_units, unit_norms


def test_target_weighting_pulls_exactly_what_the_target_would_drop(shop: Workshop) -> None:
    speech = shop.student()
    before = weights(speech)
    chosen = options(weighting="target", lambda_group_encoder=1.0, lambda_group_decoder=1.0)
    method = SparseGroupLasso(chosen, TARGET)
    method.attach(speech.model, speech.groups(), 10)
    plan = plan_to_budget(method.scores(), speech.groups(), TARGET.removed)
    norms = {g.key: unit_norms(speech.model, g) for g in speech.groups()}
    method.after_step(0.01, 1)
    for group in speech.groups():
        shrank = unit_norms(speech.model, group) < norms[group.key]
        stayed = set(torch.nonzero(~shrank).flatten().tolist())
        assert stayed == set(plan.keep[group.key])
    untouched = set(before) - {p.parameter for g in speech.groups() for p in g.slices}
    assert all(torch.equal(before[n], speech.model.get_parameter(n)) for n in untouched)


def test_adaptive_weighting_pulls_small_units_harder(shop: Workshop) -> None:
    speech = shop.student()
    group = next(g for g in speech.groups() if g.kind == "ffn")
    scale_units(speech.model, group, torch.linspace(0.2, 2.0, group.count))
    norms = unit_norms(speech.model, group)
    chosen = options(weighting="adaptive", lambda_group_encoder=0.01)
    method = SparseGroupLasso(chosen, TARGET)
    method.attach(speech.model, speech.groups(), 10)
    method.after_step(0.01, 1)
    lost = norms - unit_norms(speech.model, group)
    pull = (norms.median() / norms).clamp(0.1, 10.0)
    expected = 0.01 * 0.01 * math.sqrt(group.parameters_per_unit) * pull
    torch.testing.assert_close(lost, expected, rtol=2e-2, atol=1e-6)


@pytest.mark.parametrize("elsewhere", [{"grouping": "paper"}, {"form": "squared"}])
@pytest.mark.parametrize("weighting", ["uniform", "adaptive", "target"])
def test_weighting_that_cannot_act_does_nothing(
    shop: Workshop, elsewhere: dict[str, str], weighting: str
) -> None:
    found = []
    for chosen in (weighting, "uniform"):
        speech = shop.student()
        # A target that nothing could meet, and an importance that is never measured: neither is
        # needed, since constants decide what goes and nothing is chosen for the pull.
        given = options(
            weighting=chosen, importance="fisher", prune="constants", lambda_group_encoder=9.0,
            lambda_l1_decoder=0.5, **elsewhere,
        )  # fmt: skip
        method = SparseGroupLasso(given, Target(0.999, 0.0))
        method.attach(speech.model, speech.groups(), 10)
        method.after_step(0.01, 1)
        assert method.gauges() == {} and method.state_dict()["weights"] == {}
        terms = method.loss_terms(NOTHING, 2)
        found.append(
            (weights(speech), {name: float(term.detach()) for name, term in terms.items()})
        )
    assert same(*found)


def test_weighting_by_an_unreachable_target_is_refused_where_it_acts(shop: Workshop) -> None:
    speech = shop.student()
    given = options(weighting="target", prune="constants", lambda_group_decoder=1.0)
    with pytest.raises(PlanError, match=r"0\.999 cannot be met"):
        SparseGroupLasso(given, Target(0.999, 0.0)).attach(speech.model, speech.groups(), 10)


def test_the_gauge_shows_the_units_that_are_pulled(shop: Workshop) -> None:
    for weighting in ("uniform", "adaptive", "target"):
        speech = shop.student()
        # Nothing pulls on the decoder, so nothing is reported of it.
        given = options(weighting=weighting, lambda_group_encoder=1.0)
        method = SparseGroupLasso(given, TARGET)
        method.attach(speech.model, speech.groups(), 10)
        norms = {g.key: unit_norms(speech.model, g) for g in speech.groups()}
        method.after_step(0.01, 1)
        expected = {
            g.key: float((unit_norms(speech.model, g) < norms[g.key]).float().mean())
            for g in speech.groups()
            if g.stack == "encoder"
        }
        assert method.gauges() == {"pulled": expected}
        assert 0.0 < sum(expected.values()) <= len(expected)
        assert weighting == "target" or set(expected.values()) == {1.0}


def test_the_choice_stands_after_the_settling(shop: Workshop) -> None:
    speech = shop.student()
    chosen = options(
        weighting="target", refocus_every=1, settle=0.5, lambda_group_encoder=1.0,
        lambda_group_decoder=1.0,
    )  # fmt: skip
    method = SparseGroupLasso(chosen, TARGET)
    method.attach(speech.model, speech.groups(), total_steps=10)
    method.after_step(1e-4, 1)
    group = speech.groups()[1]
    first = method.state_dict()["weights"][group.key].clone()
    # The order of importance is turned round: before the settling the choice follows, not after.
    scale_units(speech.model, group, 1 / unit_norms(speech.model, group).square())
    method.after_step(1e-4, 6)
    assert torch.equal(method.state_dict()["weights"][group.key], first)
    method.after_step(1e-4, 5)
    assert not torch.equal(method.state_dict()["weights"][group.key], first)
