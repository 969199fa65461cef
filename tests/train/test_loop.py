"""The training loop: rates, accumulation, loss terms, reports."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.models.inputs import WHISPERS
from tests.support.tiny import write_tone
from tests.support.tiny_job import (
    TARGET,
    Workshop,
    cross_entropy,
    one_batch,
    plain,
    quick,
    run,
    same,
    steps_of,
    weights,
)
from whisperslim.events import (
    CheckpointSaved,
    SparsityMeasured,
)
from whisperslim.methods.base import Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.methods.sgl.method import SparseGroupLasso
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.batching import Batch
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.batches import BatchSource
from whisperslim.train.distill import Teacher
from whisperslim.train.loop import learning_rate_at, make_optimizer
from whisperslim.train.options import DistillOptions


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("linear", 0, [1.0, 0.75, 0.5, 0.25]),
        ("linear", 2, [0.5, 1.0, 1.0, 0.5]),
        ("constant", 2, [0.5, 1.0, 1.0, 1.0]),
        # cos of 0, 60, 120 degrees and what is left of the way: (1 + cos) / 2.
        ("cosine", 1, [1.0, 1.0, 0.75, 0.25]),
        ("linear", 4, [0.25, 0.5, 0.75, 1.0]),
        ("linear", 100, [0.25, 0.5, 0.75, 1.0]),
    ],
)
def test_learning_rates_by_hand(schedule: str, warmup: int, expected: list[float]) -> None:
    options = quick(steps=4, warmup_steps=warmup, schedule=schedule, learning_rate=1e-3)
    found = [learning_rate_at(options, step) / 1e-3 for step in (1, 2, 3, 4)]
    assert found == pytest.approx(expected)


def test_the_rate_is_what_the_optimizer_gets(shop: Workshop, tmp_path: Path) -> None:
    changes = {"steps": 4, "warmup_steps": 2, "schedule": "linear", "learning_rate": 1e-3}
    seen = run(shop.job(tmp_path, plain(), **changes))
    rates = [event.learning_rate for event in steps_of(seen)]
    assert rates == pytest.approx([0.5e-3, 1e-3, 1e-3, 0.5e-3])


@dataclass
class OwnParameter(Plain):
    """A method with a parameter of its own, at a rate of its own."""

    factor: float = 10.0
    own: torch.nn.Parameter = field(default_factory=lambda: torch.nn.Parameter(torch.ones(2)))
    rates: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(PlainOptions(), Target(0.0, 0.0))

    def param_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.own], "weight_decay": 0.0, "rate_factor": self.factor}]

    def loss_terms(self, outputs: Any, step: int) -> dict[str, torch.Tensor]:
        return {"own": self.own.square().sum()}


def test_a_methods_own_parameters_are_trained_at_their_rate(shop: Workshop, tmp_path: Path) -> None:
    method = OwnParameter()
    seen = run(shop.job(tmp_path, method, steps=1, learning_rate=1e-3))
    # Adam's first step is the rate itself, whatever the gradient: 10 * 1e-3.
    assert method.own.tolist() == pytest.approx([0.99, 0.99], abs=1e-6)
    assert steps_of(seen)[0].losses["own"] == pytest.approx(2.0)
    assert steps_of(seen)[0].learning_rate == pytest.approx(1e-3)


def test_weight_decay_spares_biases_and_norms_and_frozen_weights(shop: Workshop) -> None:
    speech = shop.student()
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    optimizer = make_optimizer(speech.model, plain(), quick(weight_decay=0.1))
    decayed, spared = optimizer.param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim == 1 for p in spared["params"])
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in speech.model.parameters() if p.requires_grad}
    assert id(speech.model.model.decoder.embed_tokens.weight) not in held


def equal_clips(folder: Path) -> BatchSource:
    """Eight different clips of one length, with texts of one number of tokens.

    The loss is a mean over a pass's tokens, and passes are averaged with equal weight. So two
    passes of four equal one of eight exactly where the passes have equally many tokens; where they
    differ, each token of the shorter pass weighs more.
    """
    (folder / "audio").mkdir(parents=True)
    rows = ["path\ttext"]
    for index in range(8):
        write_tone(folder / f"audio/{index}.wav", seconds=0.8, pitch=200 + 50 * index)
        rows.append(f"audio/{index}.wav\tपानी {index}")
    (folder / "manifest.tsv").write_text("\n".join(rows) + "\n", "utf-8")
    return BatchSource(
        load_items(str(folder)), folder / "cache", WindowPolicy(), batch_size=4,
        augment=AugmentOptions(), seed=1, input_spec=WHISPERS,
    )  # fmt: skip


class InOne:
    """The same clips as `supply` gives in two draws, in one."""

    def __init__(self, supply: BatchSource) -> None:
        self._supply = supply

    def draw(self) -> Batch:
        a, b = self._supply.draw(), self._supply.draw()
        features = torch.cat([a.features, b.features])
        return Batch(features, a.texts + b.texts, a.keys + b.keys, a.seconds + b.seconds)

    def state_dict(self) -> dict[str, Any]:
        return self._supply.state_dict()


def test_two_passes_of_four_equal_one_of_eight(shop: Workshop, tmp_path: Path) -> None:
    chosen = SGLOptions(form="squared", lambda_group_encoder=1e-3)
    found = []
    for passes, batches in (
        (2, equal_clips(tmp_path / "a")),
        (1, InOne(equal_clips(tmp_path / "b"))),
    ):
        job = shop.job(
            tmp_path / str(passes), SparseGroupLasso(chosen, TARGET), batches=batches,
            accumulate=passes, steps=3, learning_rate=1e-4,
        )  # fmt: skip
        seen = steps_of(run(job))
        # Adam and clipping hide a gradient that is twice too large; its norm does not.
        figures = [{**event.losses, "norm": event.grad_norm} for event in seen]
        found.append((figures, weights(job.student)))
    for first, second in zip(found[0][0], found[1][0], strict=True):
        assert first == pytest.approx(second, rel=1e-4)
    start = weights(shop.student())
    for name, value in found[0][1].items():
        moved = (value - start[name]).norm()
        # Adam turns the sign of a gradient that is nearly nothing into a whole step.
        assert (value - found[1][1][name]).norm() <= 0.02 * moved + 1e-7, name


def test_losses_are_named_as_their_terms_and_summed(shop: Workshop, tmp_path: Path) -> None:
    student, dense = shop.student(), shop.student()
    teacher = Teacher(dense, student, DistillOptions())
    chosen = SGLOptions(form="squared", lambda_group_encoder=0.5, lambda_group_decoder=0.0)
    job = shop.job(
        tmp_path, SparseGroupLasso(chosen, TARGET), student=student, teacher=teacher, steps=2
    )
    first, second = steps_of(run(job))
    assert list(first.losses) == [
        "cross_entropy", "distillation", "l1_encoder", "squared_encoder", "l1_decoder",
    ]  # fmt: skip
    assert first.losses["distillation"] == pytest.approx(0.0, abs=1e-5)
    assert second.losses["distillation"] > 0
    assert same(weights(dense), weights(shop.student())), "the teacher does not move"


def test_the_gradient_is_clipped_and_its_norm_reported_before(
    shop: Workshop, tmp_path: Path
) -> None:
    loose = steps_of(run(shop.job(tmp_path / "a", plain(), steps=1, clip_norm=0.0)))[0]
    tight = steps_of(run(shop.job(tmp_path / "b", plain(), steps=1, clip_norm=1e-3)))[0]
    speech = shop.student()
    speech.family.freeze(speech.model, encoder=False, embeddings=False)
    cross_entropy(speech, one_batch(shop)).backward()
    squares = sum(
        float(p.grad.double().square().sum())
        for p in speech.model.parameters()
        if p.grad is not None
    )
    assert loose.grad_norm == pytest.approx(math.sqrt(squares), rel=1e-4)
    assert tight.grad_norm == pytest.approx(loose.grad_norm, rel=1e-6)


def test_reports_and_checkpoints_come_when_due_and_at_the_end(
    shop: Workshop, tmp_path: Path
) -> None:
    job = shop.job(tmp_path, plain(), steps=7, report_every=3, checkpoint_every=4)
    seen = run(job)
    assert [event.step for event in steps_of(seen)] == [3, 6, 7]
    assert [e.step for e in seen if isinstance(e, CheckpointSaved)] == [4, 7]
    assert [e.step for e in seen if isinstance(e, SparsityMeasured)] == [7]
    assert all(event.total == 7 and event.stage == "tune" for event in steps_of(seen))
    assert not job.student.model.training
