"""Fisher information and a fit: a whole run in which no step is made."""

from pathlib import Path

import pytest
import torch

from tests.support.tiny_run import tiny_recipe
from whisperslim.core.loading import load_model
from whisperslim.core.plan.files import read_plan
from whisperslim.core.store.checkpoint import read_tensors
from whisperslim.events import CheckpointSaved, Event, StepDone
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.order import work


def test_a_model_is_cut_and_fitted_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    recipe = tiny_recipe(tmp_path, train={"steps": 0}, recover={"steps": 0})
    recipe["method"] = {"name": "fisher", "clips": 4}
    recipe["target"] = {"removed": 0.4, "zeroed": 0.0}
    run, seen = RunDir.create(tmp_path / "runs", from_mapping(recipe)), list[Event]()
    work(run, seen.append)
    assert run.stage_done("evaluate")
    assert not [e for e in seen if isinstance(e, (StepDone, CheckpointSaved))]
    plan = read_plan(run.plan_path)
    dense, slim = load_model(str(tmp_path / "model")), load_model(str(run.slim_path))
    weights = [sum(g.count * g.weights_per_unit for g in s.groups()) for s in (dense, slim)]
    assert 1 - weights[1] / weights[0] >= 0.4
    # Other than what reads the units that are left, every weight is one of the dense model's.
    before = read_tensors(tmp_path / "model" / "model.safetensors")
    after = read_tensors(run.slim_path / "model.safetensors")
    fitted = [g for g in dense.groups() if 0 < len(plan.keep[g.key]) < g.count]
    assert fitted
    for group in fitted:
        part = next(p for p in group.slices if p.parameter == f"{group.gate}.weight")
        rows = torch.arange(group.count * group.width).view(group.count, -1)
        kept = rows[list(plan.keep[group.key])].flatten()
        name = part.parameter
        assert after[name].shape[1] == len(kept)
        assert not torch.equal(after[name], before[name][:, kept])
        inner = group.slices[0]
        assert torch.equal(after[inner.parameter], before[inner.parameter][kept])
