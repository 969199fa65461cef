"""Results between the weights before tuning and the tuned ones, against arithmetic by hand."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.tiny_run import tiny_recipe
from whisperslim.core.loading import load_model
from whisperslim.core.plan.files import read_plan
from whisperslim.core.surgery import head_width
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import RecipeError, UsageError
from whisperslim.events import Event, Notice
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages import context
from whisperslim.jobs.stages.interpolate import SHARES, mix
from whisperslim.jobs.stages.order import work

PREPARE = {"steps": 2, "batch_size": 2, "learning_rate": 1e-3, "evaluate_every": 0}


def done(folder: Path, **changes: Any) -> tuple[RunDir, list[Event]]:
    run, seen = RunDir.create(folder / "runs", from_mapping(tiny_recipe(folder, **changes))), []
    work(run, seen.append)
    return run, seen


def weights(path: Path | str) -> dict[str, torch.Tensor]:
    return dict(load_model(str(path)).model.named_parameters())


def between(
    before: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    return {name: (1 - share) * before[name] + share * tuned[name] for name in before}


def assert_close(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=1e-6, rtol=1e-5)


def test_the_dense_model_is_at_its_share_of_the_way(tmp_path: Path) -> None:
    whole, _ = done(tmp_path / "whole", prepare=PREPARE)
    half, _ = done(tmp_path / "half", prepare=PREPARE, interpolate={"prepared": 0.25})
    before = weights(whole.recipe().model)
    assert_close(
        weights(half.path / "prepared"), between(before, weights(whole.path / "prepared"), 0.25)
    )


def test_the_slim_model_is_between_two_models_of_the_same_cut(tmp_path: Path) -> None:
    shared = {"recover": {"steps": 2, "learning_rate": 1e-3}}
    whole, _ = done(tmp_path / "whole", **shared)
    part, _ = done(tmp_path / "part", interpolate={"result": 0.5}, **shared)
    plan = read_plan(part.plan_path)
    assert plan.keep == read_plan(whole.plan_path).keep and plan.folds
    start = load_model(whole.recipe().model)
    bare = type(plan)(plan.keep, {}, plan.target, plan.removed)
    cut(start.model, start.groups(), bare)
    tuned, found = weights(whole.slim_path), weights(part.slim_path)
    wanted = between(dict(start.model.named_parameters()), tuned, 0.5)
    zeros = 0
    for name, value in wanted.items():
        value[tuned[name] == 0] = 0.0
        zeros += int((tuned[name] == 0).sum())
    assert zeros > 0
    assert_close(found, wanted)


def test_narrowed_heads_go_back_in_their_own_dimensions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was tuned, so both ends compute the same, and so does the middle."""
    monkeypatch.setattr(head_width, "STEP", 2)
    none = {"train": {"learning_rate": 1e-8}, "recover": {"steps": 0}}
    target = {"head_width": 5, "removed": 0.0, "zeroed": 0.0}
    shared = {"target": target, "shrink": {"compensate": False}, "export": {"dtype": "float32"}}
    run, _ = done(tmp_path / "a", interpolate={"result": 0.5}, **none, **shared)
    narrowed, found = weights(run.path / "narrowed"), weights(run.slim_path)
    for name, value in found.items():
        torch.testing.assert_close(value, narrowed[name], atol=2e-4, rtol=1e-3)


def test_a_tuned_model_goes_back_to_the_one_it_was_tuned_from(tmp_path: Path) -> None:
    """The start of the second run is all there is to the way: it tunes next to nothing."""
    first, _ = done(tmp_path / "first", prepare=PREPARE)
    tuned, stock = first.path / "prepared", first.recipe().model
    still = {"train": {"learning_rate": 1e-8}, "target": {"removed": 0.0, "zeroed": 0.0}}
    interpolate = {"result": 0.25, "before": stock}
    run, _ = done(tmp_path / "next", interpolate=interpolate, model=str(tuned), **still)
    wanted = between(weights(stock), weights(tuned), 0.25)
    for name, value in weights(run.slim_path).items():
        torch.testing.assert_close(value, wanted[name], atol=1e-5, rtol=1e-3)


def test_a_model_of_other_shapes_is_refused_before_anything_is_tuned(tmp_path: Path) -> None:
    cut_one, _ = done(tmp_path / "first")
    changes = {"interpolate": {"result": 0.5, "before": str(cut_one.slim_path)}}
    with pytest.raises(UsageError, match=r"interpolate\.before .* other shapes"):
        done(tmp_path / "next", **changes)
    (run,) = (tmp_path / "next" / "runs").iterdir()
    assert not RunDir(run).stage_done("tune")


def test_the_dev_set_chooses_the_share_with_the_lowest_loss(tmp_path: Path) -> None:
    run, seen = done(tmp_path, prepare=PREPARE, interpolate={"prepared": 0.0})
    said = next(e.message for e in seen if isinstance(e, Notice) and "loss on" in e.message)
    losses = dict(
        pair.split(": ") for pair in said.partition("by share: ")[2].split(", ")
    )  # fmt: skip
    assert list(map(float, losses)) == list(SHARES)
    facts = json.loads(run.environment_path.read_text())
    taken = facts["interpolated_prepare"]
    assert float(losses[f"{taken:g}"]) == min(map(float, losses.values()))
    assert said.startswith(f"weights at {taken:g} of the way")


def test_without_a_loss_on_the_dev_set_the_tuned_weights_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = done(tmp_path / "whole", prepare=PREPARE)
    heard = context.evaluate
    monkeypatch.setattr(
        context, "evaluate", lambda *a, **k: replace(heard(*a, **k), loss=float("nan"))
    )
    run, seen = done(tmp_path / "none", prepare=PREPARE, interpolate={"prepared": 0.0})
    assert any("no loss to choose" in e.message for e in seen if isinstance(e, Notice))
    assert_close(weights(run.path / "prepared"), weights(whole.path / "prepared"))


def test_zeros_of_the_tuned_weights_stay_zero_where_asked() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    before, tuned = {"weight": torch.tensor([[4.0, 4.0]])}, {"weight": torch.tensor([[0.0, 8.0]])}
    mix(model, before, tuned, 0.5, hold_zeros=True)
    assert model.weight.tolist() == [[0.0, 6.0]]
    mix(model, before, tuned, 0.25)
    assert model.weight.tolist() == [[3.0, 5.0]]


def test_a_share_that_nothing_can_choose_is_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, interpolate={"result": 0.0})
    recipe["data"] = {**recipe["data"], "dev": [], "dev_fraction": 0.0}
    for stage in ("train", "recover"):
        recipe[stage] = {**recipe.get(stage, {}), "evaluate_every": 0}
    with pytest.raises(RecipeError, match="dev_fraction"):
        from_mapping(recipe)


def test_a_new_ctc_head_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, head="ctc", interpolate={"result": 0.9})
    recipe["vocabulary"] = {"languages": []}
    with pytest.raises(RecipeError, match=r"interpolate\.result"):
        from_mapping(recipe)
