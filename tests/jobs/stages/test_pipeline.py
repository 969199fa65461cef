"""A whole run on a tiny model: every stage, stop and resume, and what lands on disk."""

import json
from pathlib import Path

import pytest

from tests.support.tiny_run import tiny_recipe
from whisperslim.core.loading import load_model
from whisperslim.events import Evaluated, Event, Finished, Planned, StageFinished, Stopped
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.order import STAGES, work


@pytest.fixture
def recipe_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    return tiny_recipe(
        tmp_path,
        data={"dev_fraction": 0.2},
        train={"steps": 6, "evaluate_every": 3, "checkpoint_every": 2, "report_every": 2},
        recover={"steps": 4, "evaluate_every": 4},
        export={"dtype": "float16"},
    )


def run_to_end(run: RunDir) -> list[Event]:
    seen: list[Event] = []
    work(run, seen.append)
    return seen


def test_a_run_makes_a_smaller_model_that_loads(tmp_path: Path, recipe_values: dict) -> None:
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe_values))
    seen = run_to_end(run)
    assert isinstance(seen[-1], Finished)
    done = [event.stage for event in seen if isinstance(event, StageFinished)]
    assert done == list(STAGES)
    planned = next(event for event in seen if isinstance(event, Planned))
    assert planned.removed == pytest.approx(0.4, abs=0.05)
    assert planned.zeroed == pytest.approx(0.2, abs=0.02)
    dense = load_model(recipe_values["model"])
    slim = load_model(str(run.path))
    dense_size = (dense.path / "model.safetensors").stat().st_size
    assert (slim.path / "model.safetensors").stat().st_size < dense_size / 2
    assert sum(p.numel() for p in slim.model.parameters()) < sum(
        p.numel() for p in dense.model.parameters()
    )
    parity = json.loads((run.path / "parity.json").read_text())
    assert parity["same_tokens"] and parity["encoder_relative_difference"] <= parity["tolerance"]
    labels = {event.label for event in seen if isinstance(event, Evaluated)}
    assert {"dense", "slim", "dev"} <= labels


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, recipe_values: dict) -> None:
    recipe = from_mapping(recipe_values)
    whole = RunDir.create(tmp_path / "whole", recipe)
    run_to_end(whole)
    broken = RunDir.create(tmp_path / "broken", recipe)
    steps = 0

    def stop_after_three(event: Event) -> None:
        nonlocal steps
        steps += event.kind == "step"
        if steps == 2:
            broken.request_stop()

    work(broken, stop_after_three)
    assert not broken.stage_done("tune")
    broken.clear_stop()
    seen = run_to_end(broken)
    assert isinstance(seen[-1], Finished) and not any(isinstance(e, Stopped) for e in seen)
    for name in ("model.safetensors", "plan.json"):
        assert (whole.slim_path / name).read_bytes() == (broken.slim_path / name).read_bytes()
