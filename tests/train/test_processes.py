"""Two processes train one model: equal to the bit in each, resumed as uninterrupted, and as one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.methods.method_rows import ROWS, Row
from tests.support.runs.ranked import in_processes
from tests.support.tiny_job import Workshop, build, run, same, stop_before, weights
from whisperslim.core.plan.rules import PlanRules
from whisperslim.engines import registry
from whisperslim.errors import CheckpointError
from whisperslim.events import StepDone, Stopped
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.train.calibration import CleanClips
from whisperslim.train.distill import Teacher
from whisperslim.train.loop import Job, fit
from whisperslim.train.options import DistillOptions

STEPS = 4
# Of eight clips, seven and one: the second process has nothing of every other batch.
BATCH = 7
# The order of sums differs. Weights are around 0.1, and the rate 1e-3; Adam divides by the size of
# gradients, which are tiny at first, so single elements differ by a share of a step.
TOLERANCE = 2e-4


def names() -> list[str]:
    return [f"{row.name} {row.label}".strip() for row in ROWS]


def job_of(shop: Workshop, row: Row, checkpoints: Path, **changes: Any) -> Job:
    rules = PlanRules(registry.get(registry.OWN).ties, row.prices)
    student = replace(shop.student(), rules=rules)
    augment = AugmentOptions(spec_augment=True, speed=True, noise=True)
    clips = CleanClips(student, lambda: shop.batches(BATCH), "hi")
    usual = {
        "student": student,
        "batches": shop.batches(BATCH, augment),
        "calibration": clips if row.calibrates else None,
        "teacher": Teacher(shop.student(), student, DistillOptions()),
        "steps": STEPS,
        "accumulate": 2,
        "average": 0.9,
        "learning_rate": 1e-3,
        "checkpoint_every": 1000,
    }
    return shop.job(checkpoints, build(row.name, row.gentle, row.target), **{**usual, **changes})


def result_of(job: Job, seen: list[Any]) -> dict[str, Any]:
    losses = [event.losses for event in seen if isinstance(event, StepDone)]
    method = job.method.state_dict()
    return {"weights": weights(job.student), "method": method, "losses": losses}


def train_all(folder: Path, stop: bool) -> dict[str, Any]:
    """Every method, and each once more with a stop; what became of them."""
    shop = Workshop(folder)
    job = job_of(shop, ROWS[0], folder / f"hidden-{int(stop)}")
    teacher = Teacher(shop.student(), job.student, DistillOptions(hidden_weight=1.0))
    job = replace(job, teacher=teacher)
    found: dict[str, Any] = {"hidden states": {"straight": result_of(job, run(job))}}
    place = folder / f"checkpoints-{int(stop)}"
    for number, row in enumerate(ROWS):
        job = job_of(shop, row, place / f"{number}")
        found[names()[number]] = {"straight": result_of(job, run(job))}
        if stop:
            stopped = place / f"{number}-stopped"
            run(job_of(shop, row, stopped, stop=stop_before(2), dropout=0.0))
            job = job_of(shop, row, stopped)
            found[names()[number]]["resumed"] = result_of(job, run(job))
    return found


def train_with_dropout(folder: Path) -> dict[str, Any]:
    shop, row, place = Workshop(folder), ROWS[0], folder / "dropout"
    job = job_of(shop, row, place / "straight", dropout=0.2)
    found = {"straight": result_of(job, run(job))}
    run(job_of(shop, row, place / "resumed", dropout=0.2, stop=stop_before(2)))
    job = job_of(shop, row, place / "resumed", dropout=0.2, stop=stop_before(1))
    seen = run(job)
    assert isinstance(seen[-1], Stopped)
    job = job_of(shop, row, place / "resumed", dropout=0.2)
    return {**found, "resumed": result_of(job, run(job))}


def resume_alone(folder: Path) -> str:
    shop = Workshop(folder)
    try:
        list(fit(job_of(shop, ROWS[0], folder / "dropout" / "resumed")))
    except CheckpointError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def pair(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two processes has after every method's training."""
    return in_processes(2, train_all, tmp_path_factory.mktemp("pair"), shop.folder, True)


@pytest.fixture(scope="module")
def single(
    pair: list[dict[str, Any]], shop: Workshop, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The same trainings by one process."""
    (found,) = in_processes(1, train_all, tmp_path_factory.mktemp("single"), shop.folder, False)
    return found


@pytest.mark.parametrize("name", names())
def test_both_processes_end_with_the_same_bits(pair: list[dict[str, Any]], name: str) -> None:
    first, second = (found[name] for found in pair)
    assert same(first, second)
    assert len(first["straight"]["losses"]) == STEPS


@pytest.mark.parametrize("name", names())
def test_a_resumed_training_is_the_uninterrupted_one(pair: list[dict[str, Any]], name: str) -> None:
    for found in pair:
        for what in ("weights", "method"):
            assert same(found[name]["straight"][what], found[name]["resumed"][what])


@pytest.mark.parametrize("name", names())
def test_two_processes_do_what_one_does(
    pair: list[dict[str, Any]], single: dict[str, Any], name: str
) -> None:
    found, wanted = pair[0][name]["straight"], single[name]["straight"]
    for step, losses in enumerate(wanted["losses"]):
        assert found["losses"][step] == pytest.approx(losses, rel=1e-4, abs=1e-5)
    moved = 0.0
    for parameter, value in wanted["weights"].items():
        assert torch.allclose(found["weights"][parameter], value, atol=TOLERANCE)
        moved = max(moved, float(value.abs().max()))
    assert moved > 0


def test_a_teachers_hidden_states_count_nearly_alike(
    pair: list[dict[str, Any]], single: dict[str, Any]
) -> None:
    """Their distance is relative to the mean size of a batch's states, which each process takes of
    its own clips.
    """
    found, wanted = pair[0]["hidden states"]["straight"], single["hidden states"]["straight"]
    for step, losses in enumerate(wanted["losses"]):
        assert found["losses"][step] == pytest.approx(losses, rel=1e-2)


def test_dropout_resumes_to_the_bit_and_another_number_of_processes_is_refused(
    pair: list[dict[str, Any]], shop: Workshop, tmp_path: Path
) -> None:
    first, second = in_processes(2, train_with_dropout, tmp_path, shop.folder)
    for found in (first, second):
        assert same(found["straight"]["weights"], found["resumed"]["weights"])
    assert same(first["straight"]["weights"], second["straight"]["weights"])
    (words,) = in_processes(1, resume_alone, tmp_path / "alone", shop.folder)
    assert "is of 2 processes and this is a run by one process" in words
    assert "runtime.devices 2" in words
