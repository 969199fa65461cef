"""Tuning the dense model before compression, in the same run."""

import json
from pathlib import Path

import pytest
import torch

from tests.support.tiny_run import finished_run, tiny_recipe
from whisperslim.core.loading import load_model
from whisperslim.errors import PlanError
from whisperslim.events import Event, Notice, StepDone
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.stages.order import work

PREPARE = {"steps": 3, "batch_size": 4, "learning_rate": 1e-3, "evaluate_every": 0,
           "checkpoint_every": 1, "report_every": 1}  # fmt: skip
STILL = {"steps": 0, "evaluate_every": 0}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder)).model.named_parameters())


def same(first: Path, second: Path) -> bool:
    ours, theirs = parameters(first), parameters(second)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_compression_starts_from_the_prepared_model_and_is_scored_against_it(
    tmp_path: Path,
) -> None:
    run = finished_run(tmp_path, prepare=PREPARE, train=STILL, method="none",
                       target={"removed": 0.0, "zeroed": 0.0})  # fmt: skip
    prepared = run.path / "prepared"
    assert not same(prepared, tmp_path / "model")
    # Nothing else moved a weight, so every later model is the prepared one.
    assert same(run.path / "tuned" / "model", prepared)
    assert same(run.slim_path, prepared)
    dense, slim = (json.loads(run.eval_path(name).read_text()) for name in ("dense", "slim"))
    assert dense["weights_sha256"] == load_model(str(prepared)).info.weights_sha256
    scores = [next(iter(record["sets"].values()))["scores"] for record in (dense, slim)]
    assert scores[0] == scores[1]


def test_stopped_while_preparing_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    recipe = from_mapping(tiny_recipe(tmp_path, prepare=PREPARE, distill={"teacher": "dense"}))
    whole = RunDir.create(tmp_path / "whole", recipe)
    work(whole, lambda event: None)
    broken = RunDir.create(tmp_path / "broken", recipe)

    def stop_at_once(event: Event) -> None:
        if event.kind == "step":
            broken.request_stop()

    work(broken, stop_at_once)
    assert not broken.stage_done("prepare")
    broken.clear_stop()
    seen: list[Event] = []
    work(broken, seen.append)
    assert any(isinstance(e, Notice) and "prepare continues" in e.message for e in seen)
    weights = "model.safetensors"
    assert (whole.slim_path / weights).read_bytes() == (broken.slim_path / weights).read_bytes()


def test_a_run_of_another_size_has_the_same_dense_model(tmp_path: Path) -> None:
    run = finished_run(tmp_path, prepare=PREPARE)
    derived = derive(run, 0.2)
    assert derived.stage_done("prepare")
    assert same(derived.path / "prepared", run.path / "prepared")
    work(derived, lambda event: None)
    assert derived.stage_done("evaluate")


def test_without_it_the_model_itself_is_the_dense_one(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    assert not (run.path / "prepared").exists()
    dense = json.loads(run.eval_path("dense").read_text())
    assert dense["weights_sha256"] == load_model(str(tmp_path / "model")).info.weights_sha256


@pytest.mark.parametrize("method", ["sgl", "imp", "self_pinching", "layer_drop"])
def test_an_unreachable_target_is_refused_before_the_dense_model_is_tuned(
    tmp_path: Path, method: str
) -> None:
    recipe = tiny_recipe(tmp_path, prepare=PREPARE, target={"removed": 0.94, "zeroed": 0.0})
    recipe["method"] = {"name": method}
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    reported: list[Event] = []
    with pytest.raises(PlanError, match=r"cannot be met.*0 to 0\.\d+"):
        work(run, reported.append)
    assert not any(isinstance(event, StepDone) for event in reported)
    assert not run.stage_done("prepare")
