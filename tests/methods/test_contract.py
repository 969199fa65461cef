"""What every compression method must do. A new method is a row in `method_rows`, no new test."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.methods.method_rows import ROWS, Row, every_row
from tests.support.models.engine_shapes import holds
from tests.support.models.low_rank import open_on
from tests.support.surgery import checked_cut
from tests.support.tiny import D_MODEL
from tests.support.tiny_job import (
    Workshop,
    build,
    cross_entropy,
    logits,
    one_batch,
    run,
    same,
    stop_before,
    weights,
)
from whisperslim import methods
from whisperslim.core.families import UnitGroup, total_price
from whisperslim.core.families.factors import factored
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.files import read_plan, write_plan
from whisperslim.core.plan.plan import (
    PruningPlan,
    check_scores,
    keep_everything,
    plan_to_budget,
)
from whisperslim.core.plan.rules import PlanRules
from whisperslim.core.store.checkpoint import count_parameters, describe_cut, load_slim, save_slim
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines import registry
from whisperslim.errors import UsageError
from whisperslim.events import Evaluated, Event, SparsityMeasured, Stopped
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.train.calibration import CleanClips
from whisperslim.train.loop import Job
from whisperslim.train.state import STATE_FILE, STUDENT_FILE, list_checkpoints

Done = Callable[..., tuple[CompressionMethod, Job]]
Whole = Callable[[Row], tuple[Job, list[Event]]]


def trained(
    row: Row, shop: Workshop, folder: Path, *, strong: bool = False, **changes: Any
) -> tuple[CompressionMethod, Job]:
    """A method that has worked on a student, and the job it did."""
    options = row.strong if strong else row.gentle
    method = build(row.name, options, row.target)
    given = {"student": student_of(row, shop), **changes}
    job = shop.job(folder, method, **given, calibration=calibration(row, shop, given["student"]))
    run(job)
    return method, job


def trainings(shop: Workshop, folders: pytest.TempPathFactory) -> Done:
    """Each row's gentle training of so many steps, done once: look at it, change copies."""

    @cache
    def of(row: Row, steps: int) -> tuple[CompressionMethod, Job]:
        return trained(row, shop, folders.mktemp("done"), steps=steps)

    return lambda row, steps=3: of(row, steps)


def wholes(shop: Workshop, folders: pytest.TempPathFactory) -> Whole:
    """Each row's thorough training without a stop, done once: its job and what it showed."""

    @cache
    def of(row: Row) -> tuple[Job, list[Event]]:
        job = thorough(shop, row, folders.mktemp("whole"))
        return job, run(job)

    return of


def shared(shop: Workshop, folders: pytest.TempPathFactory) -> dict[str, Any]:
    """What several tests of a module are given, by name."""
    return {"done": trainings(shop, folders), "uninterrupted": wholes(shop, folders)}


@pytest.fixture(scope="module")
def done(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Done:
    return trainings(shop, tmp_path_factory)


@pytest.fixture(scope="module")
def uninterrupted(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return wholes(shop, tmp_path_factory)


def copied(speech: SpeechModel) -> SpeechModel:
    """The same weights in a model of its own."""
    return replace(speech, model=deepcopy(speech.model))


def calibration(row: Row, shop: Workshop, student: SpeechModel) -> CleanClips | None:
    return CleanClips(student, shop.batches, "hi") if row.calibrates else None


def student_of(row: Row, shop: Workshop, engine: str = registry.OWN) -> SpeechModel:
    """The tiny model as the row's method takes it, its units counted in what the target is."""
    student = replace(shop.student(), rules=PlanRules(registry.get(engine).ties, row.prices))
    if row.opened:
        open_on(student, CleanClips(student, shop.batches, "hi"))
    return student


def looks(seen: Sequence[Event]) -> dict[int, float | None]:
    """Step -> what the look at a job's student gave."""
    return {event.step: event.loss for event in seen if isinstance(event, Evaluated)}


def removed_price(plan: PruningPlan, groups: Sequence[UnitGroup]) -> float:
    """What a plan removes, as a target counts it."""
    left = sum(g.weights(plan.keep[g.key]) * g.unit_price / g.weights_per_unit for g in groups)
    return 1.0 - left / total_price(groups)


def hooks(speech: SpeechModel) -> int:
    return sum(
        len(getattr(module, name))
        for module in speech.model.modules()
        for name in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks")
    )


def test_every_registered_method_has_a_row() -> None:
    assert {row.name for row in ROWS} == set(methods.names())


@every_row
def test_attaching_changes_nothing(row: Row, shop: Workshop) -> None:
    speech, batch = student_of(row, shop), one_batch(shop)
    before, loss = logits(speech, batch), cross_entropy(speech, batch)
    method = build(row.name, row.gentle, row.target)
    method.attach(speech.model, speech.groups(), 10)
    assert torch.equal(logits(speech, batch), before)
    # With gradients too: that is when gates act.
    assert torch.equal(cross_entropy(speech, batch), loss)


@every_row
def test_detaching_gives_the_dense_model_back(row: Row, shop: Workshop) -> None:
    speech, batch = student_of(row, shop), one_batch(shop)
    before, dense, hooked = logits(speech, batch), weights(speech), hooks(speech)
    method = build(row.name, row.gentle, row.target)
    method.attach(speech.model, speech.groups(), 10)
    method.detach()
    assert torch.equal(logits(speech, batch), before)
    assert same(weights(speech), dense)
    assert hooks(speech) == hooked


@every_row
def test_ten_steps_lower_the_objective(row: Row, shop: Workshop, done: Done) -> None:
    batch = one_batch(shop, size=8)
    before = float(cross_entropy(shop.student(), batch).detach())
    _, job = done(row, 10)
    assert float(cross_entropy(job.student, batch).detach()) < before - 0.2
    assert hooks(job.student) == hooks(shop.student()), "the loop detaches"


def pressure_at_the_start(row: Row, shop: Workshop) -> float:
    """When gates, if any, act and stand where they start: after a step at a rate of nothing."""
    method, speech = build(row.name, row.strong, row.target), shop.student()
    method.attach(speech.model, speech.groups(), 10)
    cross_entropy(speech, one_batch(shop)).backward()
    method.after_step(0.0, 1)
    return row.pressure(method, speech)


@every_row
def test_strong_options_move_the_constraint_the_right_way(
    row: Row, shop: Workshop, done: Done, tmp_path: Path
) -> None:
    if row.strong is None:
        pytest.skip("nothing presses in this row")
    before = pressure_at_the_start(row, shop)
    mild, gentle = done(row, 10)
    method, job = trained(row, shop, tmp_path, strong=True)
    after = row.pressure(method, job.student)
    assert after < before
    assert after < row.pressure(mild, gentle.student)


@every_row
def test_scores_cover_every_unit(row: Row, done: Done) -> None:
    method, job = done(row)
    scores, groups = method.scores(), job.student.groups()
    check_scores(scores, groups)
    assert set(scores) == {group.key for group in groups}
    assert all(not values.requires_grad for values in scores.values())


@every_row
def test_plans_meet_their_budget(row: Row, done: Done) -> None:
    method, job = done(row)
    groups = job.student.groups()
    slack = (row.unit_of_plan or max(g.unit_price for g in groups)) / total_price(groups)
    plan = method.plan(None)
    wanted = row.target.removed if row.prunes else 0.0
    assert wanted - 1e-9 <= removed_price(plan, groups) < wanted + slack
    # The scores alone give every other size, and a higher target never a bigger model.
    kept = [
        plan_to_budget(method.scores(), groups, share).keep for share in (0.0, 0.2, 0.4, 0.7, 0.8)
    ]
    for bigger, smaller in pairwise(kept):
        assert all(set(smaller[g.key]) <= set(bigger[g.key]) for g in groups)


@every_row
def test_with_ctranslate2_the_plan_keeps_equal_heads(
    row: Row, shop: Workshop, tmp_path: Path
) -> None:
    if row.opened:
        pytest.skip("refused for CTranslate2, which holds no layer as two matrices")
    student = student_of(row, shop, "ctranslate2")
    method, job = trained(row, shop, tmp_path, student=student)
    groups = job.student.groups()
    plan = method.plan(None)
    assert holds(groups, plan)
    wanted = row.target.removed if row.prunes else 0.0
    largest = row.unit_of_plan or 4 * max(g.unit_price for g in groups)
    over = removed_price(plan, groups) - wanted
    assert -1e-9 <= over < largest / total_price(groups)
    # Masks that stand still by now are the plan's.
    for key, share in method.gauges().get("kept", {}).items():
        count = next(g.count for g in groups if g.key == key)
        assert share == pytest.approx(len(plan.keep[key]) / count)
    for share in (0.0, 0.2, 0.4, 0.6, 0.8):
        other = plan_to_budget(method.scores(), groups, share, whole=method.whole)
        assert holds(groups, other)


@every_row
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_masked_equals_cut(row: Row, shop: Workshop, done: Done, attention: str) -> None:
    method, job = done(row)
    speech, batch = copied(job.student), one_batch(shop)
    speech.model.set_attn_implementation(attention)
    smaller = checked_cut(speech, method.plan(None), batch, within=1e-6)
    assert (count_parameters(smaller.model) < count_parameters(speech.model)) is row.prunes


@every_row
def test_a_saved_model_comes_back_the_same(
    row: Row, shop: Workshop, done: Done, tmp_path: Path
) -> None:
    method, job = done(row)
    speech, batch = copied(job.student), one_batch(shop)
    groups, dense = speech.groups(), count_parameters(speech.model)
    write_plan(tmp_path / "plan.json", method.plan(None))
    plan = read_plan(tmp_path / "plan.json")
    cut(speech.model, groups, plan)
    whole = shop.student().groups()
    kept = keep_everything(whole) if row.opened else plan
    record = describe_cut("tiny", whole, dense, kept, "hi")
    record = replace(record, ranks=factored(speech.model))
    for dtype in (torch.float32, torch.float16):
        save_slim(tmp_path / "slim", speech.model, record, side_files=shop.model, dtype=dtype)
        again = replace(speech, model=load_slim(tmp_path / "slim"))
        by_hand = replace(speech, model=deepcopy(speech.model).to(dtype).float())
        assert torch.equal(logits(again, batch), logits(by_hand, batch))


def thorough(shop: Workshop, row: Row, checkpoints: Path, **changes: Any) -> Job:
    """Everything random and everything remembered, on at once, and a look after every step."""
    augment = AugmentOptions(spec_augment=True, speed=True, noise=True, gain_db=6.0)
    student, batch = student_of(row, shop), one_batch(shop)

    def look(step: int) -> Evaluated:
        size = float(logits(student, batch).double().abs().mean())
        return Evaluated("tune", "dev", "dev", step, len(batch.texts), size, None, None, "n", "fit")

    return shop.job(
        checkpoints,
        build(row.name, row.strong or row.gentle, row.target),
        **{
            "student": student,
            "calibration": calibration(row, shop, student),
            "batches": shop.batches(3, augment),
            "evaluate": look,
            "steps": 6,
            "evaluate_every": 1,
            "checkpoint_every": 1000,
            "dropout": 0.2,
            "average": 0.9,
            "accumulate": 2,
            "label_smoothing": 0.1,
            "schedule": "cosine",
            "warmup_steps": 2,
            **changes,
        },
    )


@every_row
def test_stopped_and_resumed_equals_uninterrupted_to_the_bit(
    row: Row, shop: Workshop, uninterrupted: Whole, tmp_path: Path
) -> None:
    """Stopped before the first step, and again after two and after four."""
    whole, _ = uninterrupted(row)
    for more in (0, 2, 2):
        part = thorough(shop, row, tmp_path, stop=stop_before(more))
        assert isinstance(run(part)[-1], Stopped)
    last = thorough(shop, row, tmp_path)
    run(last)
    assert same(weights(whole.student), weights(last.student))
    assert same(whole.method.state_dict(), last.method.state_dict())
    assert whole.batches.state_dict() == last.batches.state_dict()
    wanted, found = (list_checkpoints(job.checkpoints)[-1] for job in (whole, last))
    states = [torch.load(f / STATE_FILE, weights_only=True) for f in (wanted, found)]
    assert same(*states)
    assert (wanted / STUDENT_FILE).read_bytes() == (found / STUDENT_FILE).read_bytes()


@every_row
def test_looking_changes_neither_training_nor_what_is_seen(
    row: Row, shop: Workshop, uninterrupted: Whole, tmp_path: Path
) -> None:
    # Gauges are asked for before the look at step 4, and then not.
    often, events = uninterrupted(row)
    assert often.options.report_every == often.options.evaluate_every == 1
    rarely = thorough(shop, row, tmp_path, report_every=1000, evaluate_every=4)
    seen, once = looks(events), looks(run(rarely))
    assert list(once) == [4, 6] and once == {step: seen[step] for step in once}
    assert same(weights(often.student), weights(rarely.student))
    assert same(often.method.state_dict(), rarely.method.state_dict())


@every_row
def test_zeros_are_zeroed_not_removed_and_recovery_holds_them(
    row: Row, shop: Workshop, done: Done, tmp_path: Path
) -> None:
    method, job = done(row)
    student = copied(job.student)
    groups, names = student.groups(), student.family.prunable_weights(student.model)
    prunable = sum(student.model.get_parameter(name).numel() for name in names)
    plan = method.plan(None)
    removed = sum(g.parameters(range(g.count)) - g.parameters(plan.keep[g.key]) for g in groups)
    # A sub-layer that goes takes its output bias with it, and its norm's weight and bias.
    removed += sum(3 * D_MODEL for g in groups if not plan.keep[g.key])
    dense = count_parameters(student.model)
    cut(student.model, groups, plan)
    assert count_parameters(student.model) == dense - removed, "zeros take up room"
    names = student.family.prunable_weights(student.model)
    zeros = {name: student.model.get_parameter(name) == 0 for name in names}
    share = sum(int(z.sum()) for z in zeros.values()) / prunable
    assert share == pytest.approx(row.target.zeroed if row.prunes else 0.0, abs=0.005)

    recovery = Plain(PlainOptions(), Target(0.0, 0.0), hold_zeros=True)
    again = shop.job(tmp_path, recovery, student=student, stage="recover", steps=4)
    before = weights(student)
    seen = run(again)
    for name, zero in zeros.items():
        after = student.model.get_parameter(name)
        assert torch.equal(after == 0, zero), name
        assert not torch.equal(after, before[name])
    measured = [event for event in seen if isinstance(event, SparsityMeasured)][-1]
    assert (max(measured.zero_elements.values()) > 0) is (row.prunes and row.target.zeroed > 0)


def test_without_holding_recovery_would_lose_the_zeros(shop: Workshop, tmp_path: Path) -> None:
    student = shop.student()
    weight = student.model.get_parameter("model.encoder.layers.0.fc1.weight")
    weight.data[:, :8] = 0.0
    method = Plain(PlainOptions(), Target(0.0, 0.0))
    run(shop.job(tmp_path, method, student=student, steps=2))
    assert not bool((weight == 0).any())


@every_row
def test_state_is_plain_and_survives_the_disk(row: Row, done: Done, tmp_path: Path) -> None:
    method, job = done(row)
    student = copied(job.student)
    torch.save(method.state_dict(), tmp_path / "method.pt")
    state = torch.load(tmp_path / "method.pt", weights_only=True)
    again = build(row.name, row.gentle, row.target)
    again.attach(student.model, student.groups(), 3)
    again.load_state_dict(state)
    again.detach()
    assert same(again.state_dict(), method.state_dict())
    assert same(dict(again.scores()), dict(method.scores()))
    assert again.plan(None) == method.plan(None)


def test_an_unknown_method_names_the_known() -> None:
    with pytest.raises(UsageError, match=r"no method named 'magic'; known: .*sgl"):
        methods.get("magic")


def test_a_name_is_given_once() -> None:
    with pytest.raises(UsageError, match="'sgl' is registered already"):
        methods.register("sgl", methods.get("sgl"))


@every_row
def test_an_entry_builds_from_its_own_default_options(row: Row) -> None:
    entry = methods.get(row.name)
    entry.build(entry.options(), row.target)
    assert entry.summary and isinstance(row.gentle, entry.options)
