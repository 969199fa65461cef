"""A plan with tensors on disk: readable, whole or refused, and older files still open."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from whisperslim.core.plan.files import plan_text, read_plan, write_plan
from whisperslim.core.plan.plan import PruningPlan, ZeroRule
from whisperslim.errors import PlanError

PLAN = PruningPlan(
    {"a": (0, 2), "b": ()},
    {"x.weight": ZeroRule(0.1, 1e-7)},
    target=1 / 3,
    removed=0.6,
    folds={"y.weight": torch.randn(3, 2), "y.bias": torch.tensor([1 / 3, -0.0, 2.0])},
    masks={"x.weight": torch.tensor([[True, False], [False, True]])},
    compensated=64,
)


def stored(folder: Path, plan: PruningPlan = PLAN) -> tuple[Path, Path]:
    write_plan(folder / "plan.json", plan)
    (tensors,) = folder.glob("plan-*.safetensors")
    return folder / "plan.json", tensors


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    path, tensors = stored(tmp_path)
    found = read_plan(path)
    assert found == PLAN and found.compensated == 64
    for name, fold in PLAN.folds.items():
        assert torch.equal(found.folds[name], fold) and found.folds[name].dtype == fold.dtype
    assert torch.equal(found.masks["x.weight"], PLAN.masks["x.weight"])
    raw = json.loads(path.read_text())
    assert raw["folds"] == {"y.weight": [3, 2], "y.bias": [3]}
    assert raw["tensors_sha256"].startswith(tensors.stem.removeprefix("plan-"))


def test_the_text_is_had_without_the_tensors(tmp_path: Path) -> None:
    path, tensors = stored(tmp_path)
    tensors.unlink()
    assert plan_text(path) == PLAN.to_json()
    for wrong in ("[" * 9, "{}", '{"keep": 1}'):
        path.write_text(wrong)
        with pytest.raises(PlanError):
            plan_text(path)
    path.unlink()
    with pytest.raises(PlanError, match=r"cannot be read .* plan again"):
        plan_text(path)


def test_a_plan_that_differs_in_one_element_is_another() -> None:
    fold = PLAN.folds["y.weight"].clone()
    fold[0, 0] += 1e-6
    assert replace(PLAN, folds={**PLAN.folds, "y.weight": fold}) != PLAN
    assert replace(PLAN, masks={}) != PLAN and replace(PLAN, compensated=0) != PLAN


def test_a_new_plan_leaves_no_tensors_of_the_old_one(tmp_path: Path) -> None:
    path, first = stored(tmp_path)
    _, second = stored(tmp_path, replace(PLAN, masks={}))
    assert first != second and not first.exists()
    write_plan(path, PruningPlan(PLAN.keep))
    assert [each.name for each in tmp_path.iterdir()] == ["plan.json"]
    assert read_plan(path) == PruningPlan(PLAN.keep)


def test_missing_damaged_and_other_tensors_are_refused(tmp_path: Path) -> None:
    path, tensors = stored(tmp_path)
    content, text = tensors.read_bytes(), path.read_text()
    tensors.unlink()
    with pytest.raises(PlanError, match=r"missing.*plan-.*plan again"):
        read_plan(path)
    tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(PlanError, match="damaged"):
        read_plan(path)
    tensors.write_bytes(content)
    for wrong in ({"y.weight": [2, 3], "y.bias": [3]}, {"y.weight": [3, 2]}):
        path.write_text(json.dumps({**json.loads(text), "folds": wrong}))
        with pytest.raises(PlanError, match="disagree on"):
            read_plan(path)
    with pytest.raises(PlanError, match="missing"):
        PruningPlan.from_json(text)


def test_units_can_be_looked_at_without_the_tensors() -> None:
    assert PruningPlan.units_in(PLAN.to_json()) == PruningPlan(PLAN.keep, {}, 1 / 3, 0.6)


def test_a_plan_of_an_older_version_opens(tmp_path: Path) -> None:
    """As it was written before plans had tensors, word for word."""
    path = tmp_path / "plan.json"
    text = """{
 "keep": {
  "a": [
   0,
   2
  ]
 },
 "removed": 0.5,
 "target": 0.4,
 "zero": {
  "x.weight": {
   "center": 0.1,
   "radius": 0.25
  }
 }
}"""
    path.write_text(text)
    found = read_plan(path)
    assert found == PruningPlan({"a": (0, 2)}, {"x.weight": ZeroRule(0.1, 0.25)}, 0.4, 0.5)
    assert found.to_json() == text
    path.write_text(text.replace('"center"', '"centre"'))  # as earlier versions wrote it
    assert read_plan(path) == found
