"""How training ends and goes on: stopped, killed, out of room, not finite; checkpoints kept."""

import errno
import math
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
    stop_before,
    weights,
)
from whisperslim.errors import RunError, TrainingError
from whisperslim.events import (
    CheckpointSaved,
    Evaluated,
    Notice,
    Stopped,
)
from whisperslim.methods.base import Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.train.loop import fit
from whisperslim.train.state import list_checkpoints


@pytest.mark.parametrize("keep", [1, 2])
def test_old_checkpoints_go(shop: Workshop, tmp_path: Path, keep: int) -> None:
    run(shop.job(tmp_path, plain(), steps=4, checkpoint_every=1, keep_checkpoints=keep))
    found = [folder.name for folder in list_checkpoints(tmp_path)]
    assert found == ["step-000003", "step-000004"][-keep:]


def test_a_finished_stage_is_not_trained_again(shop: Workshop, tmp_path: Path) -> None:
    first = shop.job(tmp_path, plain(), steps=3, average=0.9)
    run(first)
    second = shop.job(tmp_path, plain(), steps=3, average=0.9)
    seen = run(second)
    assert [type(event) for event in seen] == [Notice]
    assert "continues after step 3 of 3" in seen[0].message
    assert same(weights(first.student), weights(second.student))


def test_no_steps_leave_the_model_alone(shop: Workshop, tmp_path: Path) -> None:
    job = shop.job(tmp_path, plain(), steps=0)
    assert run(job) == []
    assert same(weights(job.student), weights(shop.student()))


def test_a_stop_makes_a_checkpoint_first(shop: Workshop, tmp_path: Path) -> None:
    seen = run(shop.job(tmp_path, plain(), stop=stop_before(2)))
    assert [type(event) for event in seen[-2:]] == [CheckpointSaved, Stopped]
    assert seen[-1].step == 2
    assert Path(seen[-2].path) == list_checkpoints(tmp_path)[-1]


def test_a_killed_run_goes_on_from_its_last_checkpoint(shop: Workshop, tmp_path: Path) -> None:
    """Steps after it are lost and done again; half-written folders do not confuse."""
    changes: dict[str, Any] = {"steps": 6, "checkpoint_every": 2, "dropout": 0.2, "average": 0.8}
    whole = shop.job(tmp_path / "whole", build("sgl", SGLOptions()), **changes)
    run(whole)
    broken = shop.job(tmp_path / "broken", build("sgl", SGLOptions()), **changes)
    torch.manual_seed(11)
    broken.student.family.set_dropout(broken.student.model, 0.2)
    events = fit(broken)
    while (event := next(events)).kind != "step" or event.step < 5:
        pass
    events.close()
    for name in (".step-000006-k1ll3d", ".old-step-000004-k1ll3d"):
        (tmp_path / "broken" / name).mkdir()
    again = shop.job(tmp_path / "broken", build("sgl", SGLOptions()), **changes)
    seen = run(again)
    assert "after step 4 of 6" in seen[0].message
    assert same(weights(whole.student), weights(again.student))


class Poison(Plain):
    """A loss, or a gradient, that is no number from a given step on."""

    def __init__(self, step: int, what: str) -> None:
        super().__init__(PlainOptions(), Target(0.0, 0.0))
        self._step, self._what = step, what

    def loss_terms(self, outputs: Any, step: int) -> dict[str, torch.Tensor]:
        zero = outputs.logits.sum() * 0.0
        if step < self._step:
            return {}
        if self._what == "loss":
            return {"penalty": zero + math.nan}
        # The square root of zero: finite itself, and its slope infinite.
        return {"penalty": (zero - zero.detach()).abs().sqrt().nan_to_num()}


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("report_every", [1, 5])
def test_what_is_not_finite_ends_it_and_names_the_last_good_checkpoint(
    shop: Workshop, tmp_path: Path, what: str, report_every: int
) -> None:
    changes = {"steps": 10, "checkpoint_every": 2, "report_every": report_every}
    job = shop.job(tmp_path, Poison(4, what), **changes)
    with pytest.raises(TrainingError, match=r"not finite in tune.*step-000002.*learning rate"):
        run(job)
    assert [folder.name for folder in list_checkpoints(tmp_path)] == ["step-000002"]


def test_without_a_checkpoint_it_says_so(shop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no checkpoint yet"):
        run(shop.job(tmp_path, Poison(2, "loss")))


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_stop_does_not_store_what_is_not_finite(
    shop: Workshop, tmp_path: Path, what: str
) -> None:
    job = shop.job(tmp_path, Poison(3, what), report_every=100, stop=stop_before(3))
    with pytest.raises(TrainingError, match="not finite"):
        run(job)
    assert list_checkpoints(tmp_path) == []


def test_nothing_is_evaluated_that_is_not_finite(shop: Workshop, tmp_path: Path) -> None:
    def evaluate(step: int) -> Evaluated:
        raise AssertionError(step)

    changes = {"report_every": 100, "evaluate_every": 3}
    with pytest.raises(TrainingError, match="not finite"):
        run(shop.job(tmp_path, Poison(2, "loss"), evaluate=evaluate, **changes))


def test_a_full_disk_ends_it_and_earlier_checkpoints_stay(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"steps": 6, "checkpoint_every": 2, "dropout": 0.1}
    whole = shop.job(tmp_path / "whole", plain(), **changes)
    run(whole)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    job = shop.job(tmp_path / "full", plain(), **changes)
    torch.manual_seed(11)
    job.student.family.set_dropout(job.student.model, 0.1)
    with monkeypatch.context() as patch, pytest.raises(RunError, match="No space left"):
        for event in fit(job):
            if isinstance(event, CheckpointSaved):
                patch.setattr("whisperslim.train.state.save_file", full)
    assert [folder.name for folder in list_checkpoints(tmp_path / "full")] == ["step-000002"]
    again = shop.job(tmp_path / "full", plain(), **changes)
    run(again)
    assert same(weights(whole.student), weights(again.student))
