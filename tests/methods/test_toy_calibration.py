"""A newcomer's method that never trains: it measures clean clips, and folds what it finds."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.methods import test_contract
from tests.methods.method_rows import Row
from tests.methods.test_toy_method import keep, promises
from tests.support.tiny_job import Workshop
from tests.support.tiny_run import tiny_recipe
from whisperslim import methods
from whisperslim.core.families import UnitSite
from whisperslim.core.plan.files import read_plan
from whisperslim.core.plan.plan import PruningPlan, Scores, plan_to_budget
from whisperslim.core.store.checkpoint import read_tensors
from whisperslim.events import CheckpointSaved, Event, StepDone
from whisperslim.fields import check, option
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.order import work
from whisperslim.methods.base import Calibration, CompressionMethod, MethodEntry, Target
from whisperslim.methods.sgl.two_pass import with_zeros


@dataclass(frozen=True)
class ActiveOptions:
    """Knobs of the toy."""

    clips: int = option(8, "Clips measured.", minimum=1, maximum=1000)

    def __post_init__(self) -> None:
        check(self)


class Active(CompressionMethod):
    """Drops the units that are least active, and adds their mean to the bias behind them."""

    def __init__(self, options: ActiveOptions, target: Target) -> None:
        self._options, self._target = options, target
        self._model: nn.Module = nn.Identity()
        self._groups: tuple[UnitSite, ...] = ()
        self._found: dict[str, dict[str, torch.Tensor]] = {}

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        self._model, self._groups = model, tuple(groups)

    def calibrate(self, data: Calibration, trained: bool) -> None:
        for key, moments in data.moments(self._groups, self._options.clips).items():
            self._found[key] = {"power": moments.square.diagonal(), "mean": moments.mean}

    def scores(self) -> Scores:
        return {
            g.key: self._found[g.key]["power"].view(g.count, g.width).sum(1) for g in self._groups
        }

    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        plan = plan_to_budget(self.scores(), self._groups, self._target.removed)
        plan = with_zeros(self._model, self._groups, plan, self._target.zeroed)
        return replace(plan, folds={f"{g.gate}.bias": self._bias(g, plan) for g in self._groups})

    def state_dict(self) -> dict[str, Any]:
        return {"found": self._found}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._found = dict(state["found"])

    def _bias(self, group: UnitSite, plan: PruningPlan) -> torch.Tensor:
        reader: Any = self._model.get_submodule(group.gate)
        mean = self._found[group.key]["mean"].view(group.count, group.width).clone()
        mean[list(plan.keep[group.key])] = 0.0
        # A product of float32 would end in other bits for weights that begin elsewhere in memory.
        added = (reader.weight.double() * mean.flatten().double()).sum(1).float()
        return (reader.bias + added).detach()


ROW = Row("active", ActiveOptions(), calibrates=True)


@pytest.fixture
def active() -> Iterator[None]:
    methods.register("active", MethodEntry(ActiveOptions, Active, "drops what is least active"))
    yield
    methods.unregister("active")


@pytest.fixture(scope="module")
def shared(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return test_contract.shared(shop, tmp_path_factory)


@pytest.mark.parametrize("name", promises())
def test_it_keeps_every_promise(
    name: str, active: None, shop: Workshop, shared: dict[str, Any], tmp_path: Path
) -> None:
    keep(name, row=ROW, shop=shop, tmp_path=tmp_path, **shared)


def test_a_recipe_runs_it_without_a_single_step(
    active: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    recipe = tiny_recipe(
        tmp_path, train={"steps": 0}, recover={"steps": 0}, shrink={"compensate": False}
    )
    recipe["method"] = {"name": "active"}
    run, seen = RunDir.create(tmp_path / "runs", from_mapping(recipe)), list[Event]()
    work(run, seen.append)
    assert run.stage_done("evaluate")
    assert not [e for e in seen if isinstance(e, (StepDone, CheckpointSaved))]
    # No weight has moved, but for what the plan folds and zeroes.
    plan = read_plan(run.plan_path)
    start = read_tensors(tmp_path / "model" / "model.safetensors")
    tuned = read_tensors(run.path / "tuned" / "model" / "model.safetensors")
    assert all(torch.equal(tuned[name], start[name]) for name in tuned)
    slim = read_tensors(run.slim_path / "model.safetensors")
    assert len(plan.folds) == 10
    for name, fold in plan.folds.items():
        assert torch.equal(slim[name], fold)
    assert any(not torch.equal(fold, start[name]) for name, fold in plan.folds.items())
