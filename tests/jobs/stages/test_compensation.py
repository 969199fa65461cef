"""What stays is fitted at the cut: recorded, repeated to the bit, in other sizes, switchable."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.tiny_run import tiny_recipe
from whisperslim.core.plan.files import read_plan
from whisperslim.core.store.checkpoint import read_tensors
from whisperslim.events import Event, Notice, Progress
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive, read_derivation
from whisperslim.jobs.sizes.predict import predict, store_prediction, stored_prediction
from whisperslim.jobs.stages.order import work


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunDir, list[Event]]]:
    folder = tmp_path_factory.mktemp("compensation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_CACHE", str(folder / "cache"))
        run, seen = RunDir.create(folder / "runs", from_mapping(tiny_recipe(folder))), list[Event]()
        work(run, seen.append)
        yield run, seen


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    return read_tensors(run.path / "cut" / "model.safetensors")


def test_the_run_says_so_and_the_cut_model_has_the_folds(run: tuple[RunDir, list[Event]]) -> None:
    folder, seen = run
    plan = read_plan(folder.plan_path)
    assert plan.compensated == json.loads(folder.plan_path.read_text())["compensated"] > 0
    assert [e for e in seen if isinstance(e, Progress) and e.stage == "shrink"]
    assert any("adapted to make up for the cut" in e.message for e in seen if isinstance(e, Notice))
    found = weights(folder)
    assert plan.folds and all(torch.equal(found[name], fold) for name, fold in plan.folds.items())
    assert json.loads((folder.path / "parity.json").read_text())["same_tokens"]


def test_zeros_asked_for_are_there_all_the_same(run: tuple[RunDir, list[Event]]) -> None:
    found = weights(run[0])
    matrices = [t for n, t in found.items() if ".layers." in n and t.ndim == 2]
    zeros = sum(int((matrix == 0).sum()) for matrix in matrices)
    cut = sum(matrix.numel() for matrix in matrices)
    dense = 4 * 4 * 32 * 32 + 2 * 2 * 32 * 48 + 2 * (4 * 32 * 32 + 2 * 32 * 48)
    assert zeros == pytest.approx(0.2 * dense, rel=0.02) and zeros < cut


def test_a_cut_done_again_is_the_same_to_the_bit(
    run: tuple[RunDir, list[Event]], tmp_path: Path
) -> None:
    """Stopped before anything was cut, or after the folds were written: nothing differs."""
    before, plan = weights(run[0]), read_plan(run[0].plan_path)
    later = ("shrink", "recover", "evaluate")
    for name, undone in (("folds", later), ("bare", ("plan", *later))):
        shutil.copytree(run[0].path, tmp_path / name / run[0].name)
        again = RunDir(tmp_path / name / run[0].name)
        for stage in undone:
            (again.path / "stages" / f"{stage}.done").unlink()
        work(again, lambda event: None)
        assert read_plan(again.plan_path) == plan
        assert all(torch.equal(before[key], tensor) for key, tensor in weights(again).items())


def test_it_can_be_switched_off(
    run: tuple[RunDir, list[Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(tmp_path, shrink={"compensate": False})
    plain = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    work(plain, lambda event: None)
    plan = read_plan(plain.plan_path)
    assert not plan.folds and not plan.compensated
    assert plan.keep == read_plan(run[0].plan_path).keep
    name = "model.encoder.layers.0.fc2.bias"
    tuned = read_tensors(plain.path / "tuned" / "model" / "model.safetensors")
    assert torch.equal(weights(plain)[name], tuned[name])


def test_other_sizes_are_fitted_too(run: tuple[RunDir, list[Event]]) -> None:
    derived = derive(run[0], 0.5)
    assert read_derivation(derived).compensated == 64
    assert not read_plan(derived.plan_path).folds, "nothing is measured before it is worked on"
    assert run_worker(derived) == 0
    assert read_plan(derived.plan_path).compensated > 0


def test_a_prediction_of_another_cut_is_not_shown(run: tuple[RunDir, list[Event]]) -> None:
    found = predict(run[0], 0.5, clips=2)
    assert found.compensated == 64
    store_prediction(run[0], replace(found, compensated=0))  # as older versions have it
    assert stored_prediction(run[0], 0.5) is None
    store_prediction(run[0], found)
    assert stored_prediction(run[0], 0.5) == found
