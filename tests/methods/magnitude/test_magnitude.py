"""Magnitude pruning in rounds: shares, order and masks by hand."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.tiny_job import Workshop, build, logits, one_batch, same
from whisperslim.core.families import Slice, UnitSite
from whisperslim.core.loading import SpeechModel
from whisperslim.core.surgery.gates import masked
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import PlanError
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.magnitude.method import rounds_for
from whisperslim.methods.magnitude.options import IMPOptions, OneShotOptions, RandomOptions
from whisperslim.methods.magnitude.rounds import Schedule, rms_norms

# One unit a row: its single weight in `0` is its size, and `1` adds the units up.
SIZES = [3.0, 9.0, 1.0, 7.0, 5.0, 10.0, 2.0, 8.0, 4.0, 6.0]
IN_ORDER = [2, 6, 0, 8, 4, 9, 3, 7, 1, 5]


def unit_group(key: str, place: int, count: int, stack: str = "encoder") -> UnitSite:
    """A group over the rows of module `place` of a chain, gated where the next one takes them."""
    part = Slice(f"{place}.weight", 0, 1, prunable=True)
    return UnitSite(key, "ffn", stack, count, 1, 1, 1, slices=(part,), gate=str(place + 1))


def ten_units() -> tuple[nn.Sequential, tuple[UnitSite, ...]]:
    model = nn.Sequential(nn.Linear(1, 10, bias=False), nn.Linear(10, 1, bias=False))
    model[0].weight.data = torch.tensor(SIZES)[:, None]
    model[1].weight.data = torch.ones(1, 10)
    return model, (unit_group("g", 0, 10),)


def matrices(*rows: list[list[float]]) -> tuple[nn.Sequential, tuple[UnitSite, ...]]:
    """One matrix a group; each row is a unit, and the units' gates are never passed."""
    model, groups = nn.Sequential(), []
    for index, values in enumerate(rows):
        weight = torch.tensor(values)
        model.append(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
        model[index].weight.data = weight
        part, (count, width) = Slice(f"{index}.weight", 0, 1, prunable=True), weight.shape
        groups.append(
            UnitSite(
                f"g{index}", "ffn", "encoder", count, 1, width, width, slices=(part,), gate="0"
            )
        )
    return model, tuple(groups)


def steps(method: CompressionMethod, first: int, last: int) -> None:
    for step in range(first, last + 1):
        method.after_step(1e-3, step)


def started(name: str, options: Any, target: Target, speech: SpeechModel) -> CompressionMethod:
    method = build(name, options, target)
    method.attach(speech.model, speech.groups(), 10)
    return method


def dead(method: CompressionMethod) -> dict[str, set[int]]:
    state = method.state_dict()["death"]
    return {key: set(places.nonzero().flatten().tolist()) for key, places in state.items()}


def prunable(speech: SpeechModel) -> list[tuple[str, torch.Tensor]]:
    names = speech.family.prunable_weights(speech.model)
    return [(name, speech.model.get_parameter(name)) for name in names]


def test_rounds_come_evenly_and_the_last_one_on_its_share() -> None:
    # Ends of the rounds: 2.5, 5 and 7.5 of 10 steps.
    due = [Schedule(3, 0.75).due(step, 10) for step in range(1, 11)]
    assert due == [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [Schedule(1, 0.0).due(step, 10) for step in (1, 2)] == [1, 1]
    assert [Schedule(1, 0.3).due(step, 10) for step in range(1, 5)] == [0, 0, 1, 1]
    # 0.6 * 10 is a little less than 6 in floating point; 0.7 * 10 a little more than 7.
    for last, at in ((0.6, 6), (0.7, 7)):
        assert [Schedule(at, last).due(step, 10) for step in range(1, 8)][at - 1] == at
    assert Schedule(4, 0.75).due(1, 1) == 4, "rounds that a short run cannot separate fall in one"


def test_each_round_prunes_the_same_share_of_what_remains() -> None:
    schedule = Schedule(2, 0.5)
    # Units: sqrt(0.5) stay. Not zero: sqrt(1 - 0.5 - 0.25) = 0.5 of all.
    assert schedule.removed(1, 0.5) == pytest.approx(1 - 0.5**0.5)
    assert schedule.zeroed(1, 0.25, 0.5**0.5, 0.5) == pytest.approx(0.5**0.5 - 0.5)
    assert (schedule.removed(2, 0.5), schedule.zeroed(2, 0.25, 0.5, 0.5)) == (0.5, 0.25)
    # Counted in a currency of which 0.6 take 0.2 of the weights, 0.7 may well become zero.
    assert schedule.zeroed(1, 0.7, 0.9, 0.8) == pytest.approx(0.9 * (1 - 0.125**0.5))
    four = Schedule(4, 0.5)
    units = [1 - four.removed(done, 0.6) for done in range(5)]
    left = [now - four.zeroed(done, 0.1, now, 0.4) for done, now in enumerate(units)]
    assert left[0] == 1.0
    assert [after / before for before, after in pairwise(left)] == pytest.approx([0.3**0.25] * 4)


def test_rounds_take_about_a_fifth() -> None:
    # 0.8, 0.64, 0.512 and 0.41 are left after one to four rounds.
    shares = {0.0: 1, 0.2: 1, 0.36: 2, 0.5: 3, 0.6: 4}
    assert {share: rounds_for(Target(share, 0.0)) for share in shares} == shares
    assert rounds_for(Target(0.4, 0.2)) == 4
    with pytest.raises(PlanError, match="leave nothing"):
        rounds_for(Target(0.5, 0.5))


def test_the_importance_of_a_unit_is_its_root_mean_square() -> None:
    model, groups = matrices([[3.0, 4.0], [1.0, 1.0]])
    assert rms_norms(model, groups[0]).tolist() == pytest.approx([5 / 2**0.5, 1.0])


def test_what_is_masked_at_which_step() -> None:
    model, groups = ten_units()
    method = build("imp", IMPOptions(rounds=3, settle=0.75), Target(0.6, 0.0))
    method.attach(model, groups, total_steps=10)
    one = torch.ones(1, 1)
    # 0.4^(1/3) and 0.4^(2/3) of ten units stay: 7.4 and 5.4, and no unit goes in part.
    gone = [0, 0, 3, 3, 5, 5, 5, 6, 6, 6]
    for step, count in enumerate(gone, 1):
        method.after_step(1e-3, step)
        assert method.gauges()["kept"]["g"] == pytest.approx(1 - count / 10)
        assert dead(method)["g"] == set(IN_ORDER[:count])
        live = [size for unit, size in enumerate(SIZES) if unit not in IN_ORDER[:count]]
        assert float(model(one).detach()) == pytest.approx(sum(live))
    assert method.plan(None).keep["g"] == tuple(sorted(IN_ORDER[6:]))
    method.detach()
    # Masked units keep their weights.
    assert float(model(one).detach()) == pytest.approx(sum(SIZES))


def test_the_dead_stay_dead_and_rank_below_the_live_in_the_order_of_death() -> None:
    model, groups = ten_units()
    method = build("imp", IMPOptions(rounds=2, settle=0.5), Target(0.5, 0.0))
    method.attach(model, groups, total_steps=8)
    steps(method, 1, 2)
    first = dead(method)["g"]
    assert first == set(IN_ORDER[:3])  # sqrt(0.5) of ten stay: 7.1
    model[0].weight.data = torch.tensor(SIZES[::-1])[:, None] + 100 * torch.eye(10)[[2]].T
    steps(method, 3, 3)
    assert dead(method)["g"] == first, "masks are fixed between rounds"
    steps(method, 4, 8)
    # Two more go, by the sizes of today: units 1 (4.0) and 9 (3.0); 3 (2.0) would be smaller.
    reversed_order = [u for u in sorted(range(10), key=lambda u: SIZES[::-1][u]) if u not in first]
    assert dead(method)["g"] == first | set(reversed_order[:2])
    order = torch.argsort(method.scores()["g"]).tolist()
    assert order == IN_ORDER[:3] + reversed_order


def test_one_shot_decides_once() -> None:
    model, groups = ten_units()
    method = build("one_shot", OneShotOptions(begin=0.3), Target(0.4, 0.0))
    method.attach(model, groups, total_steps=10)
    steps(method, 1, 2)
    assert not dead(method)["g"]
    steps(method, 3, 3)
    assert dead(method)["g"] == set(IN_ORDER[:4])
    model[0].weight.data = -model[0].weight.data.flip(0)
    steps(method, 4, 10)
    assert dead(method)["g"] == set(IN_ORDER[:4])


def test_layers_are_compared_as_asked() -> None:
    small, large = [[0.1], [0.2], [0.3], [0.4]], [[10.0], [20.0], [30.0], [40.0]]
    found = {}
    for compare in ("global", "layer"):
        model, groups = matrices(small, large)
        method = build("one_shot", OneShotOptions(compare=compare), Target(0.25, 0.0))
        method.attach(model, groups, 10)
        steps(method, 1, 1)
        found[compare] = dead(method)
    assert found == {"global": {"g0": {0, 1}, "g1": set()}, "layer": {"g0": {0}, "g1": {0}}}


def test_elements_by_hand() -> None:
    rows = [[4.0, -0.5, 3.0, 0.1], [1.0, 2.0, -0.2, -6.0], [0.3, 0.3, 0.3, 0.3]]
    model, groups = matrices(rows)
    # A third goes: the last row. Of the 12 elements, a quarter is zeroed in the rows that stay.
    method = build("one_shot", OneShotOptions(), Target(1 / 3, 0.25))
    method.attach(model, groups, 10)
    steps(method, 1, 1)
    wanted = torch.tensor([[4.0, 0, 3.0, 0], [1.0, 2.0, 0, -6.0], [0.3, 0.3, 0.3, 0.3]])
    assert torch.equal(model[0].weight, wanted)
    assert method.plan(None).zero == {}, "the weights hold them already"
    model[0].weight.data += 0.01
    steps(method, 2, 2)
    assert torch.equal(model[0].weight == 0, wanted == 0), "zeros are held at exactly zero"
    model[0].weight.data += 0.01
    method.detach()
    assert torch.equal(model[0].weight == 0, wanted == 0), "whatever weights are handed on"


def test_elements_are_compared_as_asked() -> None:
    small, large = [[0.1, 0.4]] * 2, [[10.0, 40.0]] * 2
    for compare, wanted in (("global", [4, 0]), ("layer", [2, 2])):
        model, groups = matrices(small, large)
        method = build("one_shot", OneShotOptions(compare=compare), Target(0.0, 0.5))
        method.attach(model, groups, 10)
        steps(method, 1, 1)
        assert [int((layer.weight == 0).sum()) for layer in model] == wanted


def test_elements_go_in_rounds_and_never_return() -> None:
    model, groups = matrices([[float(value) for value in range(1, 101)]])
    method = build("imp", IMPOptions(rounds=2, settle=0.8), Target(0.0, 0.75))
    method.attach(model, groups, 5)
    steps(method, 1, 2)
    assert (model[0].weight == 0).flatten().tolist() == [True] * 50 + [False] * 50
    model[0].weight.data[0, 50:] = model[0].weight.data[0, 50:].flip(0)
    steps(method, 3, 4)
    zeros = [True] * 50 + [False] * 25 + [True] * 25
    assert (model[0].weight == 0).flatten().tolist() == zeros


def test_a_last_round_at_the_last_step_is_left_to_the_plan(shop: Workshop) -> None:
    speech = shop.student()
    method = started("one_shot", OneShotOptions(begin=1.0), Target(0.4, 0.0), speech)
    steps(method, 1, 10)
    assert set(method.gauges()["kept"].values()) == {1.0}
    assert method.plan(None).removed >= 0.4


@pytest.mark.parametrize("done", [0, 1, 4, 7, 10])
def test_a_plan_meets_the_target_whenever_training_ends(shop: Workshop, done: int) -> None:
    speech, target = shop.student(), Target(0.45, 0.15)
    method = started("imp", IMPOptions(), target, speech)
    steps(method, 1, done)
    method.detach()
    groups, names = speech.groups(), speech.family.prunable_weights(speech.model)
    total = sum(speech.model.get_parameter(name).numel() for name in names)
    plan = method.plan(None)
    assert 0.45 <= plan.removed < 0.45 + max(g.weights_per_unit for g in groups) / total
    assert all(not gone & set(plan.keep[key]) for key, gone in dead(method).items())
    cut(speech.model, groups, plan)
    zeros = sum(int((speech.model.get_parameter(name) == 0).sum()) for name in names)
    assert zeros == pytest.approx(0.15 * total, abs=2)


def test_the_masked_model_computes_what_the_plan_says(shop: Workshop) -> None:
    speech, batch = shop.student(), one_batch(shop)
    dense = logits(speech, batch)
    method = started("one_shot", OneShotOptions(), Target(0.4, 0.0), speech)
    steps(method, 1, 1)
    found = logits(speech, batch)
    method.detach()
    with masked(speech.model, speech.groups(), method.plan(None)):
        assert torch.equal(found, logits(speech, batch))
    assert torch.equal(dense, logits(speech, batch))
    assert not torch.equal(dense, found)


def test_random_depends_on_the_seed_alone(shop: Workshop) -> None:
    target = Target(0.4, 0.2)
    found = []
    for seed in (0, 0, 1):
        speech = shop.student()
        if found:
            for parameter in speech.model.parameters():
                parameter.data.mul_(1.5)
        method = started("random", RandomOptions(seed=seed), target, speech)
        steps(method, 1, 1)
        method.detach()
        found.append(method.state_dict())
    assert same(found[0], found[1])
    assert not same(found[0]["death"], found[2]["death"])
    assert not same(found[0]["zeros"], found[2]["zeros"])


def test_random_prefers_neither_large_nor_small(shop: Workshop) -> None:
    speech = shop.student()
    method = started("random", RandomOptions(), Target(0.0, 0.5), speech)
    before = torch.cat([p.detach().flatten() for n, p in prunable(speech)])
    steps(method, 1, 1)
    gone = torch.cat([(p == 0).flatten() for n, p in prunable(speech)])
    assert float(gone.float().mean()) == pytest.approx(0.5, abs=1e-4)
    # Half of 36864: four standard errors of a mean of |w| around 0.12 are 0.003.
    assert float(before[gone].abs().mean()) == pytest.approx(float(before.abs().mean()), abs=0.003)


def test_what_is_frozen_is_not_pruned(shop: Workshop) -> None:
    speech = shop.student()
    speech.family.freeze(speech.model, encoder=True, embeddings=True)
    method = started("imp", IMPOptions(rounds=2), Target(0.3, 0.1), speech)
    steps(method, 1, 10)
    plan = method.plan(None)
    method.detach()
    encoder = [group for group in speech.groups() if group.stack == "encoder"]
    assert all(len(plan.keep[group.key]) == group.count for group in encoder)
    assert all(bool((p != 0).all()) for name, p in prunable(speech) if ".encoder." in name)
    # The plan is made later, of a model in which nothing is frozen.
    again = started("imp", IMPOptions(rounds=2), Target(0.3, 0.1), shop.student())
    again.load_state_dict(method.state_dict())
    again.detach()
    assert again.plan(None).keep == plan.keep


def test_a_target_that_only_the_frozen_could_meet_is_refused(shop: Workshop) -> None:
    speech = shop.student()
    speech.family.freeze(speech.model, encoder=True, embeddings=True)
    # The decoder holds 11264 of 18432 weights a layer pair; one head (1024) or FFN unit (64)
    # stays in each of its six groups: (2 * 11264 - 4 * 1024 - 2 * 64) / 36864.
    with pytest.raises(PlanError, match=r"0\.62 cannot be met: 0 to 0\.4965 .* frozen"):
        started("one_shot", OneShotOptions(), Target(0.62, 0.0), speech)
    with pytest.raises(PlanError, match=r"cannot zero 0\.4 .*: 0\.3111 are left"):
        started("one_shot", OneShotOptions(), Target(0.3, 0.4), speech)


def test_fisher_must_have_been_measured(shop: Workshop) -> None:
    method = started(
        "one_shot", OneShotOptions(importance="fisher"), Target(0.3, 0), shop.student()
    )
    with pytest.raises(PlanError, match="train for a step at least"):
        method.scores()
