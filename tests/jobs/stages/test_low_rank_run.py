"""A whole run of method low_rank: layers become two matrices, counted and repeated to the bit."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.models.tiny_ctc import KINDS, samples_folder
from tests.support.tiny import D_MODEL, FFN
from tests.support.tiny_run import done_again_from_narrow, tiny_recipe
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.families.factors import factored, opened
from whisperslim.core.loading import load_model
from whisperslim.core.plan.files import read_plan
from whisperslim.core.store.checkpoint import count_parameters, read_record, read_tensors
from whisperslim.engines import registry
from whisperslim.engines.export.export import check_kind
from whisperslim.errors import ExportError, PlanError, RecipeError
from whisperslim.events import Event, Notice, Planned
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive
from whisperslim.jobs.sizes.predict import predict
from whisperslim.jobs.sizes.replan import replan
from whisperslim.jobs.stages.order import work

PRUNABLE = 6 * 4 * D_MODEL * D_MODEL + 4 * 2 * D_MODEL * FFN
METHOD = {"name": "low_rank", "clips": 8}


def recipe_of(folder: Path, **sections: Any) -> dict[str, Any]:
    usual = {"target": {"removed": 0.4, "zeroed": 0.0}, "train": {"steps": 0}}
    return {**tiny_recipe(folder, **{**usual, **sections}), "method": METHOD}


def done(folder: Path, **sections: Any) -> tuple[RunDir, list[Event]]:
    run = RunDir.create(folder / "runs", from_mapping(recipe_of(folder, **sections)))
    seen = list[Event]()
    work(run, seen.append)
    return run, seen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunDir, list[Event]]]:
    folder = tmp_path_factory.mktemp("low_rank")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_CACHE", str(folder / "cache"))
        yield done(folder, recover={"steps": 1})


def left_of(folder: Path) -> int:
    """Prunable weights, matrix by matrix."""
    model = load_model(str(folder))
    names = model.family.prunable_weights(model.model)
    return sum(model.model.get_parameter(name).numel() for name in names)


def test_what_goes_is_what_was_asked_for(run: tuple[RunDir, list[Event]]) -> None:
    before, tuned, slim = (load_model(str(path)) for path in (
        run[0].path / "narrowed", run[0].path / "tuned" / "model", run[0].slim_path
    ))  # fmt: skip
    assert len(opened(before.model)) == len(opened(tuned.model)) == 32
    assert left_of(before.path) == left_of(tuned.path) == PRUNABLE
    record, ranks = read_record(slim.path), factored(slim.model)
    assert record.ranks == ranks and 0 < len(ranks) < 32 and opened(slim.model) == ()
    assert record.counts == record.dense_counts, "no head and no FFN unit has gone"
    removed = 1 - left_of(slim.path) / PRUNABLE
    assert 0.4 <= removed < 0.4 + 80 / PRUNABLE
    assert record.removed == pytest.approx(removed)
    assert cost_of(slim.path).removed_of_prunable == pytest.approx(removed)
    planned = next(event for event in run[1] if isinstance(event, Planned))
    assert planned.removed == pytest.approx(removed) and planned.zeroed == 0.0
    parity = json.loads((run[0].path / "parity.json").read_text())
    assert parity["same_tokens"] and parity["encoder_relative_difference"] < 1e-5
    said = [event.message for event in run[1] if isinstance(event, Notice)]
    assert any("32 linear layers are opened into components" in each for each in said)


def test_a_run_that_begins_there_again_is_the_same_to_the_bit(
    run: tuple[RunDir, list[Event]], tmp_path: Path
) -> None:
    again = done_again_from_narrow(run[0], tmp_path)
    before, after = (read_tensors(r.slim_path / "model.safetensors") for r in (run[0], again))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], tensor) for key, tensor in after.items())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.7])
def test_another_size_is_counted_as_it_is_then_cut(
    run: tuple[RunDir, list[Event]], share: float, tmp_path: Path
) -> None:
    """Arithmetic on a plan, against the model that is made of it."""
    shutil.copytree(run[0].path, tmp_path / run[0].name)
    found = replan(RunDir(tmp_path / run[0].name), share, 0.0)
    derived = derive(RunDir(tmp_path / run[0].name), removed=share, recover_steps=0)
    work(derived, lambda event: None)
    report = cost_of(derived.slim_path)
    assert found.parameters == report.parameters
    assert found.flops == report.flops and found.dense_flops == report.flops_dense
    assert found.plan.removed == pytest.approx(report.removed_of_prunable)
    assert read_plan(derived.plan_path).keep == found.plan.keep
    if not share:
        dense = load_model(str(run[0].recipe().model))
        assert count_parameters(dense.model) == report.parameters


def test_an_error_rate_can_be_predicted(run: tuple[RunDir, list[Event]]) -> None:
    found = predict(run[0], 0.2, clips=2)
    assert found.n == 2 and found.removed == 0.2


def test_the_way_back_is_cut_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was tuned, so both ends compute the same, and so does the middle."""
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    straight, _ = done(tmp_path)
    half, _ = done(tmp_path, interpolate={"result": 0.5})
    wanted, found = (read_tensors(r.slim_path / "model.safetensors") for r in (straight, half))
    assert wanted.keys() == found.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, wanted[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("sections", "name", "words"),
    [
        ({"export": {"engine": "ctranslate2"}}, "export.engine",
         "CTranslate2 multiplies with one matrix for each linear layer.* choose one of: torch"),
        ({"target": {"removed": 0.3, "zeroed": 0.1}}, "target.zeroed", "zeroes nothing"),
        ({"target": {"removed": 0.3, "zeroed": 0.0, "currency": "flops"}}, "target.currency",
         "no prices of components"),
    ],
)  # fmt: skip
def test_what_it_does_not_go_with_is_refused_by_the_recipe(
    tmp_path: Path, sections: dict[str, Any], name: str, words: str
) -> None:
    with pytest.raises(RecipeError, match=words) as refused:
        from_mapping(recipe_of(tmp_path, **sections))
    assert list(refused.value.problems) == [name]


def test_another_size_for_such_an_engine_is_refused(run: tuple[RunDir, list[Event]]) -> None:
    with pytest.raises(RecipeError, match="one matrix for each linear layer"):
        replan(run[0], 0.3, terms=Terms(engine="ctranslate2"))


def test_an_export_of_two_matrices_is_refused_where_it_cannot_run(
    run: tuple[RunDir, list[Event]],
) -> None:
    slim = load_model(str(run[0].slim_path))
    with pytest.raises(
        ExportError, match="layers of two, of low rank; it can be written for: onnx"
    ):
        check_kind(slim.model, slim.family, "ctranslate2")
    for spec in registry.specs():
        if spec.factors and spec.exporter:
            check_kind(slim.model, slim.family, spec.name)


def test_a_model_whose_layers_are_not_opened_is_refused_before_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    recipe = recipe_of(tmp_path, prepare={"steps": 1, "evaluate_every": 0})
    samples_folder(tmp_path / "other", KINDS["conformer relative"], tmp_path / "corpus")
    recipe["model"] = str(tmp_path / "other")
    other = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    with pytest.raises(PlanError, match="are not opened into components"):
        work(other, lambda event: None)
    assert not other.stage_done("prepare")
