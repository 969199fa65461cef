"""Components of matrices in the order of removal: what is behind goes first, or nothing does."""

import itertools
import random
from collections.abc import Sequence

import pytest
import torch

from whisperslim.core.families.base import UnitGroup, prunable_total, total_price
from whisperslim.core.plan.plan import plan_below, plan_to_budget, reachable

# Of a matrix of 6 x 10: 60 weights, and 16 for each of three components, which leaves 12.


def group(index: int, count: int, each: int, rest: int) -> UnitGroup:
    return UnitGroup(f"encoder.{index}.fc1.ranks", "ranks", "encoder", count, 1, each, each, index,
                     rest=rest)  # fmt: skip


def per_weight(
    groups: Sequence[UnitGroup], losses: dict[str, list[float]]
) -> dict[str, torch.Tensor]:
    return {
        g.key: torch.tensor(losses[g.key]).double()
        / torch.tensor([g.weights_per_unit] * (g.count - 1) + [g.rest])
        for g in groups
    }


def test_weights_of_units_are_those_of_the_matrix_by_hand() -> None:
    own = group(0, 4, 16, 12)
    assert (own.weights(range(4)), own.weights((0, 2)), own.weights((3,))) == (60, 32, 12)
    assert own.size == pytest.approx(60 / 16)
    assert prunable_total((own,)) == 60 and total_price((own,)) == 60.0
    assert reachable((own,)) == pytest.approx(1 - 16 / 60)
    shared = UnitGroup("encoder.0.ffn", "ffn", "encoder", 5, 1, 3, 4, shared=7)
    assert prunable_total((own, shared)) == 60 + 15 + 7 == total_price((own, shared))


def test_what_is_behind_leaves_first_and_takes_along_what_is_worth_less() -> None:
    own, other = group(0, 4, 16, 12), group(1, 4, 16, 12)
    # What is behind loses 6, for 12 weights; with component 2 it is 7 for 28, with 1 it is 13 for
    # 44: 0.5, 0.25, 0.295. So component 2 goes with it, and component 1 later.
    losses = {own.key: [90.0, 6.0, 1.0, 6.0], other.key: [90.0, 80.0, 70.0, 60.0]}
    scores = per_weight((own, other), losses)
    kept = [plan_to_budget(scores, (own, other), gone / 120).keep[own.key]
            for gone in (0, 1, 12, 13, 28, 29, 44)]  # fmt: skip
    assert kept == [(0, 1, 2, 3), (0, 1, 2), (0, 1, 2), (0, 1), (0, 1), (0,), (0,)]
    assert plan_to_budget(scores, (own, other), 1e-9).removed == pytest.approx(12 / 120)


def test_no_prefix_of_the_order_leaves_a_hole() -> None:
    """Whatever the scores are, those of other methods included."""
    drawn = random.Random(3)
    groups = tuple(
        group(i, *shape) for i, shape in enumerate([(3, 16, 16), (4, 16, 12), (6, 9, 2)])
    )
    for _ in range(50):
        scores = {
            g.key: torch.tensor([drawn.uniform(-1, 1) for _ in range(g.count)]) for g in groups
        }
        for share in (0.01, 0.1, 0.3, 0.5, 0.7):
            plan = plan_to_budget(scores, groups, share)
            for own in groups:
                units = plan.keep[own.key]
                assert units == tuple(range(own.count)) or (units and own.count - 1 not in units)
            left = sum(own.weights(plan.keep[own.key]) for own in groups)
            assert plan.removed == pytest.approx(1 - left / prunable_total(groups))
            assert plan.removed >= share


@pytest.mark.parametrize("price", [0.01, 0.03, 0.1, 0.3])
def test_at_every_price_of_a_weight_no_choice_is_better(price: float) -> None:
    """What is lost, less what is saved at a price, against all choices of components."""
    drawn = random.Random(5)
    for shape in [(4, 16, 12), (6, 9, 4), (5, 16, 16)]:
        own = group(0, *shape)
        choices = [tuple(range(own.count)), *(
            units
            for size in range(1, own.count)
            for units in itertools.combinations(range(own.count - 1), size)
        )]  # fmt: skip
        for _ in range(20):
            losses = {own.key: [drawn.expovariate(1 + unit) for unit in range(own.count)]}
            found = plan_below(per_weight((own,), losses), (own,), price).keep[own.key]

            def balance(kept: tuple[int, ...], own=own, losses=losses) -> float:
                saved = own.weights(range(own.count)) - own.weights(kept)
                return sum(losses[own.key]) - sum(losses[own.key][u] for u in kept) - price * saved

            assert balance(found) == pytest.approx(min(map(balance, choices)))
