"""Layers computed again in the backward pass change nothing but memory and time."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from tests.methods.method_rows import ROWS, Row
from tests.methods.test_flavours import FLAVOURS, batches, folder  # noqa: F401
from tests.support.tiny_job import Workshop, build, plain, quick, run, same, weights
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.train.distill import Teacher
from whisperslim.train.loop import Job, fit
from whisperslim.train.options import DistillOptions

CHOSEN = (
    "sgl",
    "l0_distill",
    "self_pinching fisher",
    "self_pinching both",
    "one_shot fisher, layer",
)


def rows() -> list[Row]:
    return [row for row in ROWS if f"{row.name} {row.label}".strip() in CHOSEN]


def with_checkpointing(speech: SpeechModel) -> SpeechModel:
    speech.model.activation_checkpointing_enable({"use_reentrant": False})
    return speech


def alike(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.allclose(found[name], value, atol=1e-6) for name, value in wanted.items())


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row.name} {row.label}".strip())
def test_a_method_with_a_teacher_and_dropout_does_the_same(
    shop: Workshop, tmp_path: Path, row: Row
) -> None:
    found = []
    for again in (False, True):
        student = shop.student()
        if again:
            with_checkpointing(student)
        teacher = Teacher(shop.student(), student, DistillOptions(hidden_weight=1.0))
        job = shop.job(
            tmp_path / str(again), build(row.name, row.gentle, row.target), student=student,
            teacher=teacher, steps=4, dropout=0.1,
        )  # fmt: skip
        run(job)
        found.append((weights(student), job.method.state_dict()))
    assert alike(found[1][0], found[0][0])
    assert not same(weights(shop.student()), found[0][0])


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_models_without_a_decoder_do_the_same(
    folder: Path,  # noqa: F811
    tmp_path: Path,
    flavour: str,
) -> None:
    found = []
    for again in (False, True):
        speech = load_model(str(folder / flavour))
        speech.family.set_dropout(speech.model, 0.0)
        if again:
            with_checkpointing(speech)
        with batches(folder, speech) as supply:
            job = Job(
                stage="tune", student=speech, method=plain(), batches=supply,
                options=quick(steps=3), checkpoints=tmp_path / str(again), language="hi",
            )  # fmt: skip
            list(fit(job))
        found.append(weights(speech))
    assert alike(found[1], found[0])


def test_layers_are_really_computed_again(shop: Workshop, tmp_path: Path) -> None:
    """The states inside a layer are not kept: its parts run twice for one backward pass."""
    calls = {}
    for again in (False, True):
        student = with_checkpointing(shop.student()) if again else shop.student()
        count = [0]
        part = student.model.model.encoder.layers[0].fc1
        part.register_forward_hook(lambda *of, count=count: count.__setitem__(0, count[0] + 1))
        run(shop.job(tmp_path / str(again), plain(), student=student, steps=1))
        calls[again] = count[0]
    assert calls == {False: 1, True: 2}
