"""What is frozen: whole in Sparse Group LASSO's plans, and without hooks of any method of gates."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.methods.method_rows import ROWS, Row
from tests.methods.sgl.tiny_sgl import one_matrix
from tests.support.models.low_rank import open_on
from tests.support.tiny import D_MODEL, FFN
from tests.support.tiny_job import (
    Workshop,
    build,
    cross_entropy,
    one_batch,
    run,
    same,
    weights,
)
from whisperslim.core.families import UnitGroup, prunable_total
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.shrink import cut, set_elements
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.pinching.method import SelfPinching
from whisperslim.methods.pinching.options import SelfPinchingOptions
from whisperslim.methods.sgl.method import SparseGroupLasso
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.methods.shared.reach import check_within_tuned, ranked_last
from whisperslim.train.calibration import CleanClips
from whisperslim.train.distill import shares_encoder
from whisperslim.train.forward import encode_batch

TARGET = Target(removed=0.3, zeroed=0.1)
# Two layers a stack: 4 projections an attention, of which the decoder has two, and 2 FFN matrices.
DECODER, ENCODER = (
    2 * (8 * D_MODEL**2 + 2 * D_MODEL * FFN),
    2 * (4 * D_MODEL**2 + 2 * D_MODEL * FFN),
)


def frozen(shop: Workshop) -> SpeechModel:
    speech = shop.student()
    speech.family.freeze(speech.model, encoder=True, embeddings=True)
    return speech


def stepped(
    shop: Workshop, target: Target = TARGET, **changes: Any
) -> tuple[SparseGroupLasso, SpeechModel]:
    """A method that has seen one step of a student whose encoder is frozen, and the student."""
    speech = frozen(shop)
    method = SparseGroupLasso(SGLOptions(**changes), target)
    method.attach(speech.model, speech.groups(), 10)
    cross_entropy(speech, one_batch(shop)).backward()
    method.after_step(1e-3, 1)
    return method, speech


def of_stack(groups: tuple[UnitGroup, ...], stack: str) -> list[UnitGroup]:
    return [group for group in groups if group.stack == stack]


KINDS = (
    {"importance": "fisher"},
    {"importance": "norm"},
    {"importance": "norm", "prune": "bisection", "rounds": 1},
    # Every unit is less than 10 deviations above the mean, so each group keeps its best alone.
    {"importance": "norm", "prune": "constants", "k_c": -10.0},
)


@pytest.mark.parametrize("changes", KINDS)
def test_no_frozen_unit_or_element_is_pruned(shop: Workshop, changes: dict[str, Any]) -> None:
    method, speech = stepped(shop, **changes)
    groups, plan = speech.groups(), method.plan(lambda plan: 0.5)
    for group in of_stack(groups, "encoder"):
        assert plan.keep[group.key] == tuple(range(group.count))
    kept = [len(plan.keep[group.key]) for group in of_stack(groups, "decoder")]
    assert changes.get("prune") != "constants" or kept == [1] * 6
    assert plan.zero and all(".decoder." in name for name in plan.zero)


@pytest.mark.parametrize("importance", ["norm", "fisher"])
def test_shares_are_of_the_whole_model(shop: Workshop, importance: str) -> None:
    method, speech = stepped(shop, importance=importance)
    groups, plan = speech.groups(), method.plan(None)
    total = prunable_total(groups)
    assert total == DECODER + ENCODER
    gone = sum((g.count - len(plan.keep[g.key])) * g.weights_per_unit for g in groups)
    assert plan.removed == gone / total
    # A head of 8 channels is the largest unit.
    assert TARGET.removed <= plan.removed < TARGET.removed + 4 * 8 * D_MODEL / total
    cut(speech.model, groups, replace(plan, zero={}))
    set_elements(speech.model, plan)
    zeros = sum(int((speech.model.get_parameter(name) == 0).sum()) for name in plan.zero)
    assert abs(zeros - TARGET.zeroed * total) <= 1.5


@pytest.mark.parametrize("importance", ["norm", "fisher"])
def test_planning_where_nothing_is_frozen_any_more_changes_nothing(
    shop: Workshop, importance: str
) -> None:
    method, tuned = stepped(shop, importance=importance)
    speech = shop.student()
    speech.model.load_state_dict(tuned.model.state_dict())
    again = SparseGroupLasso(SGLOptions(importance=importance), TARGET)
    again.attach(speech.model, speech.groups(), 10)
    again.load_state_dict(method.state_dict())
    again.detach()
    assert again.plan(None) == method.plan(None)
    scores = again.scores()
    assert list(scores) == [group.key for group in speech.groups()]
    least = min(float(scores[g.key].min()) for g in of_stack(speech.groups(), "encoder"))
    assert least > max(float(scores[g.key].max()) for g in of_stack(speech.groups(), "decoder"))


def test_the_pull_follows_the_plan_and_spares_the_frozen(shop: Workshop) -> None:
    method, speech = stepped(shop, Target(0.4, 0.0), importance="norm")
    groups = speech.groups()
    pulled = method.gauges()["pulled"]
    assert set(pulled) == {group.key for group in of_stack(groups, "decoder")}
    total = sum(pulled[g.key] * g.count * g.weights_per_unit for g in groups if g.key in pulled)
    assert 0.4 <= total / prunable_total(groups) < 0.4 + 4 * 8 * D_MODEL / prunable_total(groups)


def test_more_than_the_tuned_groups_can_give_is_refused(shop: Workshop) -> None:
    def attach(target: Target, price: float = 0.0, **changes: Any) -> None:
        speech = frozen(shop)
        groups = [replace(group, price=price) for group in speech.groups()]
        SparseGroupLasso(SGLOptions(**changes), target).attach(speech.model, groups, 10)

    # A head (1024) or an FFN unit (64) stays in each of the decoder's six groups:
    # (22528 - 4 * 1024 - 2 * 64) / 36864 = 0.4965.
    with pytest.raises(PlanError, match=r"0\.5 cannot be met: 0 to 0\.4965 .*\(4 frozen groups"):
        attach(Target(0.5, 0.0))
    with pytest.raises(PlanError, match=r"cannot be met"):
        attach(Target(0.5, 0.0), prune="constants")  # the pull needs it
    attach(Target(0.5, 0.9), prune="constants", weighting="uniform")
    # Of the decoder's 22528, 0.3 * 36864 go, and 1024 more when a head is the last to go.
    with pytest.raises(PlanError, match=r"cannot zero 0\.4 .* leaves 0\.2833 .*4 frozen groups"):
        attach(Target(0.3, 0.4))
    attach(Target(0.3, 0.28))
    # 112 of 216 units are the decoder's, and six stay.
    with pytest.raises(
        PlanError, match=r"0 to 0\.4907 of the cost of the model's units can be removed"
    ):
        attach(Target(0.5, 0.0), price=1.0)
    # 97.2 of 216 units are 96 FFN units and 1.2 heads when most is to be left, and a head more:
    # (22528 - 96 * 64 - 2.2 * 1024) / 36864 = 0.3833.
    attach(Target(0.45, 0.38), price=1.0)
    with pytest.raises(PlanError, match=r"cannot zero 0\.39 .* leaves 0\.3833"):
        attach(Target(0.45, 0.39), price=1.0)


def test_nothing_frozen_is_no_note_and_nothing_tuned_no_removal() -> None:
    _, groups = one_matrix([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    check_within_tuned(Target(0.75, 0.0), groups, groups)
    # Half goes, and a fourth more at most.
    check_within_tuned(Target(0.5, 0.2), groups, groups)
    with pytest.raises(PlanError, match=r"cannot zero 0\.3 .* leaves 0\.2500"):
        check_within_tuned(Target(0.5, 0.3), groups, groups)
    with pytest.raises(PlanError, match=r"0 to 0\.7500 .*every layer; choose a target within"):
        check_within_tuned(Target(0.8, 0.0), groups, groups)
    check_within_tuned(Target(0.0, 0.0), groups, ())
    with pytest.raises(PlanError, match=r"0 to 0\.0000 .*\(1 frozen groups"):
        check_within_tuned(Target(0.1, 0.0), groups, ())


def test_ranks_of_the_frozen_by_hand() -> None:
    model, groups = one_matrix([[3.0, 4.0], [0.3, 0.4]])
    assert torch.equal(ranked_last(model, groups, {"g": torch.ones(2)})["g"], torch.ones(2))
    # Norms 5 and 0.5 of two elements each, behind 2 and one more.
    found = ranked_last(model, groups, {}, above=2.0)["g"]
    assert found.tolist() == pytest.approx([3 + 5 / math.sqrt(2), 3 + 0.5 / math.sqrt(2)])


def sgl(**changes: Any) -> SparseGroupLasso:
    return SparseGroupLasso(SGLOptions(importance_every=1, **changes), TARGET)


def pinching(**changes: Any) -> SelfPinching:
    return SelfPinching(SelfPinchingOptions(importance_every=1, **changes), TARGET)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sgl(importance="fisher"),
        lambda: sgl(importance="norm"),
        lambda: pinching(importance="weight"),
        lambda: pinching(importance="fisher"),
        lambda: pinching(granularity="elements"),
        lambda: pinching(granularity="both"),
    ],
)
def test_a_frozen_encoder_is_shared_at_every_step(
    shop: Workshop, make: Callable[[], SparseGroupLasso | SelfPinching]
) -> None:
    speech, teacher, batch = frozen(shop), shop.student(), one_batch(shop)
    method = make()
    method.attach(speech.model, speech.groups(), 5)
    for step in range(1, 6):  # self-pinching settles with the fourth
        assert shares_encoder(teacher, speech), step
        assert not encode_batch(speech, batch).requires_grad, "nothing to differentiate through"
        cross_entropy(speech, batch).backward()
        method.after_step(1e-3, step)
    assert shares_encoder(teacher, speech)
    method.detach()
    assert set(method.scores()) == {group.key for group in speech.groups()}


@pytest.mark.parametrize(
    "row",
    # A frozen encoder has no layers that can be dropped, and says so.
    [row for row in ROWS if row.name != "any_depth" and row.label != "encoder"],
    ids=lambda row: f"{row.name} {row.label}".strip(),
)
def test_no_method_writes_to_a_frozen_encoder(shop: Workshop, tmp_path: Path, row: Row) -> None:
    """What lets a teacher that shares the encoder compare its weights once."""
    speech = frozen(shop)
    if row.opened:
        open_on(speech, CleanClips(speech, shop.batches, "hi"))
    before = weights(speech)
    zeroed = 0.05 if row.target.zeroed else 0.0
    method = build(row.name, row.strong or row.gentle, Target(0.1, zeroed))
    run(shop.job(tmp_path, method, student=speech, steps=4))
    after = weights(speech)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved and not [name for name in moved if ".encoder." in name]
    if row.opened:  # nor does its plan take anything of it
        kept = method.plan(None).keep
        assert all(len(kept[g.key]) == g.count for g in of_stack(speech.groups(), "encoder"))


def test_worth_is_on_one_scale_in_training_and_in_planning(shop: Workshop) -> None:
    """It is divided by its mean over what is gated, in which the frozen must not count."""
    speech, fresh = frozen(shop), shop.student()
    first, again = (pinching(importance="fisher", settle=0.0) for _ in range(2))
    first.attach(speech.model, speech.groups(), 10)
    cross_entropy(speech, one_batch(shop)).backward()
    first.after_step(1e-3, 1)
    again.attach(fresh.model, fresh.groups(), 10)
    again.load_state_dict(first.state_dict())
    assert same(again.scores(), first.scores())


def test_a_plan_of_an_unfrozen_model_may_cut_both_stacks(shop: Workshop) -> None:
    speech = shop.student()
    method = SparseGroupLasso(SGLOptions(importance="norm"), TARGET)
    method.attach(speech.model, speech.groups(), 10)
    plan: PruningPlan = method.plan(None)
    for stack in ("encoder", "decoder"):
        assert any(len(plan.keep[g.key]) < g.count for g in of_stack(speech.groups(), stack))
