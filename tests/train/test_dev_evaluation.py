"""Dev evaluations inside training: patience, the best weights, the running average."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_job import (
    Workshop,
    build,
    plain,
    run,
    same,
    steps_of,
    stop_before,
    weights,
)
from whisperslim.events import (
    Evaluated,
    Notice,
    StepDone,
    Stopped,
)
from whisperslim.methods.base import Target
from whisperslim.methods.magnitude.options import OneShotOptions
from whisperslim.methods.pinching.options import SelfPinchingOptions
from whisperslim.train.loop import Job, fit


def dev(step: int, loss: float | None) -> Evaluated:
    return Evaluated(
        stage="tune", label="dev", data="dev", step=step, n=1, loss=loss, wer=0.5, cer=0.5,
        normalizer="x", window="fit",
    )  # fmt: skip


@dataclass
class FakeDev:
    """Losses as given, and the weights that each evaluation saw."""

    losses: Iterator[float]
    job: Job | None = None
    seen: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)

    def __call__(self, step: int) -> Evaluated:
        assert self.job is not None and not self.job.student.model.training
        self.seen[step] = weights(self.job.student)
        return dev(step, next(self.losses))


def evaluated_job(
    shop: Workshop, folder: Path, losses: list[float], **changes: Any
) -> tuple[Job, FakeDev]:
    fake = FakeDev(iter(losses))
    fake.job = shop.job(folder, plain(), evaluate=fake, evaluate_every=1, **changes)
    return fake.job, fake


def test_patience_counts_evaluations_without_a_better_loss(shop: Workshop, tmp_path: Path) -> None:
    losses = [1.0, 0.9, 0.95, 0.8, 0.81, 0.8, 0.9]
    job, fake = evaluated_job(shop, tmp_path, losses, patience=2)
    seen = run(job)
    # 0.8 at step 4 is the best; steps 5 and 6 (0.8 again is no better) exhaust the patience.
    assert sorted(fake.seen) == [1, 2, 3, 4, 5, 6]
    assert any(isinstance(e, Notice) and "2 evaluations" in e.message for e in seen)
    assert steps_of(seen)[-1].step == 6
    assert same(weights(job.student), fake.seen[6])


def test_an_early_end_is_an_end_for_a_later_resume(shop: Workshop, tmp_path: Path) -> None:
    job, _ = evaluated_job(shop, tmp_path, [1.0, 2.0], patience=1)
    run(job)
    again = shop.job(tmp_path, plain(), patience=1)
    assert steps_of(run(again)) == []
    assert same(weights(job.student), weights(again.student))


def test_patience_survives_a_resume(shop: Workshop, tmp_path: Path) -> None:
    job, _ = evaluated_job(shop, tmp_path, [1.0, 1.1], patience=2, stop=stop_before(2))
    assert isinstance(run(job)[-1], Stopped)
    again, fake = evaluated_job(shop, tmp_path, [1.2, 0.5], patience=2)
    run(again)
    assert sorted(fake.seen) == [3]


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_best_weights_are_taken(shop: Workshop, tmp_path: Path, average: float) -> None:
    changes = {"steps": 4, "take": "best", "average": average}
    job, fake = evaluated_job(shop, tmp_path, [1.0, 0.5, 0.7, 0.6], **changes)
    run(job)
    assert same(weights(job.student), fake.seen[2])


def test_the_last_weights_are_taken_by_default(shop: Workshop, tmp_path: Path) -> None:
    job, fake = evaluated_job(shop, tmp_path, [1.0, 0.5, 0.7, 0.6], steps=4)
    run(job)
    assert same(weights(job.student), fake.seen[4])
    assert not same(fake.seen[2], fake.seen[4])


def test_best_without_an_evaluation_is_the_last(shop: Workshop, tmp_path: Path) -> None:
    best = shop.job(tmp_path / "a", plain(), steps=2, take="best")
    last = shop.job(tmp_path / "b", plain(), steps=2)
    run(best)
    run(last)
    assert same(weights(best.student), weights(last.student))


def test_the_average_is_evaluated_and_handed_on_but_not_trained(
    shop: Workshop, tmp_path: Path
) -> None:
    job, fake = evaluated_job(shop, tmp_path / "a", [1.0] * 4, steps=4, average=0.9)
    run(job)
    bare = shop.job(tmp_path / "b", plain(), steps=4)
    snapshots: dict[int, dict[str, torch.Tensor]] = {}
    for event in fit(bare):
        if isinstance(event, StepDone):
            snapshots[event.step] = weights(bare.student)
    average: dict[str, torch.Tensor] = {}
    for step, values in snapshots.items():
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in values.items():
            old = average.get(name, value)
            average[name] = decay * old + (1 - decay) * value
        for name, value in fake.seen[step].items():
            torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-6)
    assert same(weights(job.student), fake.seen[4])


def test_evaluating_does_not_disturb_training(shop: Workshop, tmp_path: Path) -> None:
    quiet = shop.job(tmp_path / "a", plain(), steps=4, dropout=0.3)
    run(quiet)
    job, _ = evaluated_job(shop, tmp_path / "b", [1.0] * 4, steps=4, dropout=0.3)
    run(job)
    assert same(weights(quiet.student), weights(job.student))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("one_shot", OneShotOptions(begin=0.5)),
        ("self_pinching", SelfPinchingOptions(granularity="elements", ramp=0.3, settle=0.5)),
    ],
)
def test_the_average_is_evaluated_with_the_zeros_it_is_handed_on_with(
    shop: Workshop, tmp_path: Path, name: str, options: Any
) -> None:
    fake = FakeDev(iter([1.0] * 6))
    method = build(name, options, Target(removed=0.0, zeroed=0.6))
    fake.job = shop.job(tmp_path, method, evaluate=fake, evaluate_every=1, average=0.9, steps=6)
    run(fake.job)
    prunable = fake.job.student.family.prunable_weights(fake.job.student.model)
    total = sum(fake.seen[1][weight].numel() for weight in prunable)
    zeros = {
        step: sum(int((seen[weight] == 0).sum()) for weight in prunable) / total
        for step, seen in fake.seen.items()
    }
    # Both decide after half of the six steps.
    assert zeros == {step: pytest.approx(0.6 if step >= 3 else 0.0, abs=1e-4) for step in zeros}
    assert same(fake.seen[6], weights(fake.job.student))
