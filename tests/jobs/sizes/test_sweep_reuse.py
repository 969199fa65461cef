"""What a sweep takes over from earlier work, and what it must not."""

from pathlib import Path

import pytest
import torch

from tests.support.tiny_run import finished_run, tiny_recipe
from whisperslim.core.plan.files import read_plan
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes import measure
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.sizes.replan import replan
from whisperslim.jobs.sizes.sweep import Sweep, sweep
from whisperslim.jobs.stages.order import work

THREADS = 1  # the tests' processes have one as well, so these tests give torch another number


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clip to take the time of: what it is does not matter here."""
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measure, "LATENCY_CLIPS", 1)


def threads_of(curve: Sweep) -> set[int]:
    return {point.machine["threads"] for point in curve.points}


def test_a_size_counted_in_another_currency_is_made_anew(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, target={"removed": 0.4, "zeroed": 0.0})
    recipe["method"] = {"name": "l0_distill", "currency": "flops"}
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    work(run, lambda event: None)
    by_weights = derive(run, 0.6, 0.0, 0, Terms(currency="weights"))
    own = replan(run, 0.6, 0.0).plan
    assert read_plan(by_weights.plan_path).keep != own.keep
    point = sweep(run, [0.6], 0).points[-1]
    assert point.run != by_weights.name
    made = RunDir(run.path.parent / point.run)
    assert read_plan(made.plan_path).keep == own.keep


def test_a_derived_run_without_its_plan_is_not_taken(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    spoilt = derive(run, 0.2, None, 0)
    spoilt.plan_path.write_text("{}", "utf-8")
    assert spoilt.name not in {point.run for point in sweep(run, [0.2], 0).points}


def test_every_time_is_taken_with_the_threads_of_the_recipe(tmp_path: Path) -> None:
    run = finished_run(tmp_path, runtime={"threads": THREADS})
    torch.set_num_threads(2)
    try:
        first = sweep(run, [0.2], 0)
        assert threads_of(first) == {THREADS} and torch.get_num_threads() == 2
        again = sweep(run, [0.2, 0.5], 0)
    finally:
        torch.set_num_threads(1)
    assert threads_of(again) == {THREADS}
    kept = {point.target: point for point in again.points}
    assert all(kept[point.target] == point for point in first.points), "timed twice"
