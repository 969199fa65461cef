"""The two passes: thresholds from the weights' statistics, and the search for their strength."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.support.tiny_job import Workshop, drop_some
from whisperslim.core.families import Slice, UnitSite
from whisperslim.core.plan.plan import PruningPlan, keep_everything, plan_below
from whisperslim.core.surgery.shrink import cut, set_elements
from whisperslim.core.surgery.units import kept_of, matrices
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.sgl.two_pass import (
    bisect_plan,
    k_w_for_share,
    standardized,
    with_zeros,
    zero_rules,
)


def one_matrix(weight: torch.Tensor) -> tuple[nn.Sequential, tuple[UnitSite, ...]]:
    """A model of one matrix whose rows are units."""
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    model[0].weight.data = weight
    count, width = weight.shape
    group = UnitSite(
        "rows", "ffn", "encoder", count, 1, width, width,
        slices=(Slice("0.weight", 0, 1, prunable=True),), gate="0",
    )  # fmt: skip
    return model, (group,)


def zeroed(model: nn.Sequential) -> float:
    return float((model[0].weight == 0).float().mean())


@pytest.mark.parametrize(
    ("share", "k_w"), [(0.354, 0.459), (0.31, 0.399), (0.50, 0.674), (0.1, 0.1257), (0.0, 0.0)]
)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 0.02)])
def test_share_and_constant_of_a_gaussian(
    share: float, k_w: float, mean: float, std: float
) -> None:
    """P(|x - mean| < k std) = erf(k / sqrt 2): 35.4 % is 0.459, half is 0.674 (normal tables)."""
    torch.manual_seed(0)
    model, groups = one_matrix(mean + std * torch.randn(400, 500))
    plan = keep_everything(groups)
    assert math.erf(k_w / math.sqrt(2)) == pytest.approx(share, abs=1e-3)
    # 200 000 draws: the share's standard error is 0.0011, the constant's below 0.004.
    assert k_w_for_share(model, groups, plan, share) == pytest.approx(k_w, abs=0.012)
    set_elements(model, PruningPlan({}, zero_rules(model, groups, plan, k_w)))
    assert zeroed(model) == pytest.approx(share, abs=0.005)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 0.999), st.integers(0, 10_000), st.floats(-2, 2))
def test_a_share_is_met_within_rounding(share: float, seed: int, mean: float) -> None:
    weight = mean + torch.randn(20, 30, generator=torch.Generator().manual_seed(seed))
    model, groups = one_matrix(weight)
    plan = with_zeros(model, groups, keep_everything(groups), share)
    set_elements(model, plan)
    # One more or less where the threshold's own rounding falls on an element.
    assert abs(zeroed(model) * 600 - share * 600) <= 1.5


def test_shares_are_of_the_dense_model_and_taken_from_what_is_left() -> None:
    torch.manual_seed(1)
    model, groups = one_matrix(torch.randn(40, 50))
    plan = PruningPlan({"rows": tuple(range(10))})  # a quarter is left: 500 of 2000
    rule = with_zeros(model, groups, plan, 0.2).zero["0.weight"]
    kept = model[0].weight[:10]
    inside = ((kept - rule.center).abs() < rule.radius).sum()
    assert abs(int(inside) - 400) <= 1
    with pytest.raises(PlanError, match=r"cannot zero 0\.3.*0\.2500 are left"):
        with_zeros(model, groups, plan, 0.3)


def test_weights_that_are_zero_already_count() -> None:
    torch.manual_seed(2)
    weight = torch.randn(40, 50)
    weight[:, :20] = 0.0  # 40 % are
    model, groups = one_matrix(weight)
    set_elements(
        model, PruningPlan({}, with_zeros(model, groups, keep_everything(groups), 0.5).zero)
    )
    assert zeroed(model) == pytest.approx(0.5, abs=0.01)


def test_a_matrix_of_one_value_does_not_divide_by_zero() -> None:
    model, groups = one_matrix(torch.full((4, 5), 0.7))
    rules = zero_rules(model, groups, keep_everything(groups), 0.5)
    assert rules["0.weight"].radius < 1e-6
    assert k_w_for_share(model, groups, keep_everything(groups), 0.5) >= 0.0


def test_rules_by_hand_after_the_first_pass() -> None:
    model, groups = one_matrix(torch.tensor([[1.0, 3.0], [100.0, 100.0], [5.0, 7.0]]))
    rules = zero_rules(model, groups, PruningPlan({"rows": (0, 2)}), k_w=0.5)
    # What is left is 1 3 5 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5.
    assert rules["0.weight"].center == pytest.approx(4.0)
    assert rules["0.weight"].radius == pytest.approx(0.5 * math.sqrt(5))


def test_what_is_left_is_what_a_cut_leaves(shop: Workshop) -> None:
    speech = shop.student()
    groups, plan = speech.groups(), drop_some(speech)
    wanted = {
        part.parameter: kept_of(speech.model.get_parameter(part.parameter), part, plan.keep[g.key])
        for g, part in matrices(groups)
    }
    cut(speech.model, groups, plan)
    for name, weight in wanted.items():
        assert torch.equal(speech.model.get_parameter(name), weight)


def test_standardized_by_hand() -> None:
    found = standardized({"a": torch.tensor([1.0, 2.0, 3.0]), "b": torch.tensor([5.0])})
    spread = math.sqrt(2 / 3)
    assert found["a"].tolist() == pytest.approx([-1 / spread, 0.0, 1 / spread])
    assert found["b"].tolist() == [0.0]
    assert standardized({"c": torch.full((4,), 2.0)})["c"].tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("k_c", "kept"), [(0.5, (2, 3, 4)), (1.0, (1, 2, 3, 4)), (1.5, (0, 1, 2, 3, 4))]
)
def test_first_pass_by_hand(k_c: float, kept: tuple[int, ...]) -> None:
    norms = torch.tensor([1.0, 2.0, 3.0, 6.0, 8.0])
    # Mean 4, variance (9 + 4 + 1 + 4 + 16) / 5 = 6.8, deviation 2.608:
    # k_c 0.5 drops below 2.696, 1.0 below 1.392, 1.5 below 0.088.
    _, groups = one_matrix(torch.ones(5, 2))
    assert plan_below(standardized({"rows": norms}), groups, -k_c).keep == {"rows": kept}


@dataclass
class FakeSearch:
    """Plans that say their own strength, and a WER that is a function of it."""

    wer: object
    tried: list[float] = field(default_factory=list)

    def make(self, target: Target) -> PruningPlan:
        assert target.zeroed == pytest.approx(target.removed / 2), "both passes scale together"
        return PruningPlan({}, target=target.removed, removed=target.removed)

    def evaluate(self, plan: PruningPlan) -> float:
        self.tried.append(plan.removed)
        return self.wer(plan.removed)

    def best(self, tolerance: float, rounds: int) -> PruningPlan:
        whole = Target(removed=0.8, zeroed=0.4)
        return bisect_plan(self.make, whole, self.evaluate, PruningPlan({}), tolerance, rounds)


@settings(deadline=None)
@given(st.floats(0.01, 0.79), st.integers(2, 12))
def test_bisection_finds_the_largest_that_passes(edge: float, rounds: int) -> None:
    search = FakeSearch(lambda removed: 0.2 if removed <= edge else 0.3)
    found = search.best(0.0, rounds).removed
    assert found <= edge
    # Each round after the first, which tries the whole target, halves what is uncertain.
    assert edge - found <= 0.8 / 2 ** (rounds - 1) + 1e-12
    assert len(search.tried) == rounds + 1


def test_bisection_takes_the_whole_target_at_once_when_it_passes() -> None:
    search = FakeSearch(lambda removed: 0.2)
    assert search.best(0.0, 8).removed == 0.8
    assert search.tried == [0.0, 0.8]


def test_the_tolerance_is_added_to_the_unpruned_score() -> None:
    search = FakeSearch(lambda removed: 0.2 + removed / 10)
    assert search.best(0.0, 10).removed == 0.0
    assert search.best(0.025, 20).removed == pytest.approx(0.25, abs=1e-4)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.floats(0, 0.5))
def test_bisection_keeps_the_bound_whatever_the_scores_do(
    seed: int, rounds: int, tolerance: float
) -> None:
    def wer(removed: float) -> float:
        generator = torch.Generator().manual_seed(seed + round(removed * 1e6))
        return float(torch.rand((), generator=generator))

    search = FakeSearch(wer)
    assert wer(search.best(tolerance, rounds).removed) <= wer(0.0) + tolerance


def test_scores_that_are_no_numbers_never_pass() -> None:
    search = FakeSearch(lambda removed: math.nan if removed else 0.2)
    assert search.best(1.0, 4).removed == 0.0


def test_no_share_leaves_the_plan_alone(shop: Workshop) -> None:
    speech = shop.student()
    plan = keep_everything(speech.groups())
    assert with_zeros(speech.model, speech.groups(), plan, 0.0) is plan
