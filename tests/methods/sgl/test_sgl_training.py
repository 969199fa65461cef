"""Sparse Group LASSO at work: what it pulls and when, and what it makes of a model."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.methods.sgl.tiny_sgl import NO_PULL, NOTHING, options
from tests.support.tiny_job import (
    TARGET,
    Workshop,
    build,
    cross_entropy,
    logits,
    one_batch,
    run,
    weights,
)
from whisperslim.core.loading import SpeechModel
from whisperslim.errors import PlanError, RecipeError
from whisperslim.events import SparsityMeasured, StepDone
from whisperslim.methods.base import Target
from whisperslim.methods.sgl.method import SparseGroupLasso
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.methods.shared.units import unit_norms


def test_the_squared_form_makes_nothing_zero(shop: Workshop, tmp_path: Path) -> None:
    chosen = options(form="squared", lambda_group_encoder=5.0, lambda_group_decoder=5.0)
    job = shop.job(tmp_path, SparseGroupLasso(chosen, TARGET))
    before = total_norm(job.student)
    seen = run(job)
    assert last_sparsity(seen) == (0.0, 0.0)
    assert total_norm(job.student) < before


def total_norm(speech: SpeechModel) -> float:
    return sum(float(unit_norms(speech.model, group).sum()) for group in speech.groups())


def last_sparsity(seen: list) -> tuple[float, float]:
    """Largest share of dead units and of zero elements in any group."""
    measured = [event for event in seen if isinstance(event, SparsityMeasured)][-1]
    return max(measured.dead_units.values()), max(measured.zero_elements.values())


def test_strong_penalties_make_dead_units(shop: Workshop, tmp_path: Path) -> None:
    chosen = options(lambda_group_encoder=12.0, lambda_group_decoder=12.0)
    job = shop.job(tmp_path, SparseGroupLasso(chosen, TARGET), steps=8)
    before = total_norm(job.student)
    seen = run(job)
    dead, zero = last_sparsity(seen)
    assert dead > 0 and zero > 0
    assert total_norm(job.student) < before
    penalty = [e.losses["group_encoder"] for e in seen if isinstance(e, StepDone) and e.step > 1]
    assert penalty[-1] < penalty[0]
    for group in job.student.groups():
        norms = unit_norms(job.student.model, group)
        for part in group.slices:
            weight = job.student.model.get_parameter(part.parameter)
            rows = weight.movedim(part.dim, 0).reshape(group.count, -1)
            assert (rows[norms == 0] == 0).all(), "a dead unit is dead in every part"


def test_stronger_penalties_kill_more(shop: Workshop, tmp_path: Path) -> None:
    counts = []
    for strength in (0.0, 6.0, 50.0):
        chosen = options(lambda_group_encoder=strength, lambda_group_decoder=strength)
        job = shop.job(tmp_path / str(strength), SparseGroupLasso(chosen, TARGET), steps=8)
        run(job)
        counts.append(
            sum(int((unit_norms(job.student.model, g) == 0).sum()) for g in job.student.groups())
        )
    assert counts[0] == 0 < counts[1] < counts[2]


def test_l1_makes_single_zeros(shop: Workshop, tmp_path: Path) -> None:
    chosen = options(lambda_l1_encoder=1.0)
    job = shop.job(tmp_path, SparseGroupLasso(chosen, TARGET))
    seen = run(job)
    measured = [event for event in seen if isinstance(event, SparsityMeasured)][-1]
    by_stack = {
        stack: [v for key, v in measured.zero_elements.items() if key.startswith(stack)]
        for stack in ("encoder", "decoder")
    }
    assert min(by_stack["encoder"]) > 0 and max(by_stack["decoder"]) == 0


def test_paper_grouping_in_training_zeroes_columns(shop: Workshop, tmp_path: Path) -> None:
    chosen = options(grouping="paper", lambda_group_encoder=25.0, lambda_group_decoder=25.0)
    job = shop.job(tmp_path, SparseGroupLasso(chosen, TARGET))
    run(job)
    columns = 0
    for name in job.student.family.prunable_weights(job.student.model):
        weight = job.student.model.get_parameter(name)
        empty = (weight == 0).all(0)
        columns += int(empty.sum())
        assert not bool((weight[:, ~empty] == 0).any()), "nothing but whole columns"
    assert columns > 0


@pytest.mark.parametrize("form", ["proximal", "squared"])
def test_nothing_is_pulled_before_the_beginning(shop: Workshop, form: str) -> None:
    speech = shop.student()
    before = weights(speech)
    chosen = options(
        begin=0.5, form=form, lambda_group_encoder=1.0, lambda_l1_decoder=1.0, lambda_l1_encoder=1.0
    )
    method = SparseGroupLasso(chosen, TARGET)
    method.attach(speech.model, speech.groups(), total_steps=10)
    assert not method.loss_terms(NOTHING, 5)
    method.after_step(0.01, 5)
    assert all(torch.equal(p, before[n]) for n, p in speech.model.named_parameters())
    method.after_step(0.01, 6)
    assert method.loss_terms(NOTHING, 7)


def test_a_frozen_encoder_is_left_alone(shop: Workshop, tmp_path: Path) -> None:
    chosen = options(
        lambda_group_encoder=25.0, lambda_group_decoder=25.0, lambda_l1_encoder=1.0,
        lambda_l1_decoder=1.0,
    )  # fmt: skip
    for grouping in ("units", "paper"):
        chosen = options(**{**vars(chosen), "grouping": grouping})
        job = shop.job(tmp_path / grouping, SparseGroupLasso(chosen, Target(0.4, 0.1)), steps=3)
        job.student.family.freeze(job.student.model, encoder=True, embeddings=True)
        before = weights(job.student)
        run(job)
        for name, parameter in job.student.model.named_parameters():
            moved = not torch.equal(parameter, before[name])
            trained = name.startswith("model.decoder.") and "embed_tokens" not in name
            assert moved is trained, name


def test_scores_are_information_per_weight(shop: Workshop) -> None:
    speech = shop.student()
    method = SparseGroupLasso(SGLOptions(**NO_PULL), TARGET)
    method.attach(speech.model, speech.groups(), 10)
    cross_entropy(speech, one_batch(shop)).backward()
    method.after_step(0.01, 1)
    information = method.state_dict()["fisher"]["mean"]
    for group in speech.groups():
        expected = information[group.key] / group.weights_per_unit
        assert torch.equal(method.scores()[group.key], expected)


def test_importance_that_was_never_measured_is_not_invented(shop: Workshop) -> None:
    speech = shop.student()
    method = SparseGroupLasso(SGLOptions(), TARGET)
    method.attach(speech.model, speech.groups(), 10)
    with pytest.raises(PlanError, match="train for a step at least"):
        method.scores()


def test_bisection_without_a_dev_set_is_refused(shop: Workshop) -> None:
    speech = shop.student()
    method = build("sgl", options(prune="bisection"))
    method.attach(speech.model, speech.groups(), 10)
    with pytest.raises(PlanError, match="needs a dev set"):
        method.plan(None)


def test_plans_by_constants(shop: Workshop) -> None:
    speech = shop.student()
    method = build("sgl", options(prune="constants", k_c=0.5, k_w=0.4))
    method.attach(speech.model, speech.groups(), 10)
    plan = method.plan(None)
    for group in speech.groups():
        norms = unit_norms(speech.model, group).double()
        low = norms < norms.mean() - 0.5 * norms.std(unbiased=False)
        assert plan.keep[group.key] == tuple(torch.nonzero(~low).flatten().tolist())
    assert set(plan.zero) == set(speech.family.prunable_weights(speech.model))
    assert plan.removed > 0


def test_a_target_out_of_reach_is_refused_before_any_training(shop: Workshop) -> None:
    speech = shop.student()
    method = build("sgl", SGLOptions(), Target(removed=0.99, zeroed=0.0))
    with pytest.raises(PlanError, match=r"cannot be met"):
        method.attach(speech.model, speech.groups(), 10)
    assert torch.equal(logits(speech, one_batch(shop)), logits(shop.student(), one_batch(shop)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"lambda_group_encoder": -1.0}, {"lambda_l1_decoder": math.nan}, {"form": "other"},
        {"k_w": -0.1}, {"settle": 1.5}, {"importance_every": 0}, {"rounds": 2.5},
    ],
)  # fmt: skip
def test_wrong_options_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(wrong))):
        SGLOptions(**wrong)
