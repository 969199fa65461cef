"""Another size after training: the score map, the plan, the derived run, the prediction."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jiwer
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny import tiny_model_folder
from tests.support.tiny_run import copy_of, shared_run, tiny_recipe
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.cost.flops import WORKLOADS, count_flops
from whisperslim.core.families import prunable_total
from whisperslim.core.fetch import model_folder
from whisperslim.core.loading import load_model
from whisperslim.core.plan.files import read_plan
from whisperslim.core.store import checkpoint
from whisperslim.core.store.checkpoint import count_parameters, read_tensors, skeleton
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.core.surgery.shrink import cut, resize
from whisperslim.errors import CheckpointError, PlanError, RecipeError, RunError, UsageError
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs
from whisperslim.jobs.sizes import derive as derive_module
from whisperslim.jobs.sizes.derive import derive, read_derivation
from whisperslim.jobs.sizes.predict import predict, store_prediction, stored_prediction
from whisperslim.jobs.sizes.replan import reachable_range, replan
from whisperslim.jobs.sizes.tuned import open_tuned
from whisperslim.jobs.stages.order import work
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.scoring.normalizer import for_language

# The tiny model has 6 attention groups of 4 heads with 4 * 8 * 32 weights each, and 4 FFN groups
# of 48 units with 2 * 32 weights each.
HEAD, UNIT = 4 * 8 * 32, 2 * 32
PRUNABLE = 6 * 4 * HEAD + 4 * 48 * UNIT


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    """One finished run that the tests of this file read and derive from."""
    folder = tmp_path_factory.mktemp("replan")
    with shared_run(folder) as made:
        yield made


@pytest.fixture
def spoilt(run: RunDir, tmp_path: Path) -> RunDir:
    """A copy to be damaged."""
    return copy_of(run, tmp_path)


def a_map(**changes: object) -> ScoreMap:
    scores = {"a": torch.tensor([0.5, 1.0]), "b": torch.tensor([2.0])}
    return replace(ScoreMap(scores, "sgl", "ab" * 32, True), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("whole", [True, False])
def test_a_score_map_comes_back_as_it_was(tmp_path: Path, whole: bool) -> None:
    a_map(whole=whole).save(tmp_path / "scores.safetensors")
    back = ScoreMap.load(tmp_path / "scores.safetensors")
    assert (back.method, back.weights_sha256, back.whole) == ("sgl", "ab" * 32, whole)
    assert {key: value.tolist() for key, value in back.scores.items()} == {
        "a": [0.5, 1.0],
        "b": [2.0],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["scores.safetensors"]


def test_a_damaged_or_foreign_score_map_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.safetensors"
    with pytest.raises(CheckpointError, match="missing or damaged"):
        ScoreMap.load(path)
    a_map().save(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="missing or damaged"):
        ScoreMap.load(path)
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="which model"):
        ScoreMap.load(path)
    kind = {"kind": "whisperslim score map"}
    save_file({"a": torch.ones(2)}, path, metadata={**kind, "format": "2"})
    with pytest.raises(CheckpointError, match="format 2"):
        ScoreMap.load(path)
    save_file({"a": torch.ones(2)}, path, metadata={**kind, "format": "1", "method": "sgl"})
    with pytest.raises(CheckpointError, match="weights_sha256"):
        ScoreMap.load(path)


def test_a_score_map_belongs_to_one_set_of_weights() -> None:
    a_map().check_scored("ab" * 32)
    with pytest.raises(CheckpointError, match="another model"):
        a_map().check_scored("cd" * 32)


def test_the_runs_own_target_gives_the_runs_own_plan(run: RunDir) -> None:
    stored = read_plan(run.plan_path)
    found = replan(run, 0.4)
    assert found.plan.keep == stored.keep and found.plan.removed == stored.removed
    assert found.zeroed == round(0.2 * PRUNABLE)


@pytest.mark.parametrize("target", [0.0, 0.3, 0.7])
def test_a_replan_is_what_a_cut_gives(run: RunDir, target: float) -> None:
    found = replan(run, target, 0.0)
    tuned = load_model(str(run.path / "tuned" / "model"))
    dense = count_parameters(tuned.model)
    cut(tuned.model, tuned.groups(), found.plan)
    assert found.parameters == count_parameters(tuned.model)
    assert (found.dense_parameters, found.removed) == (dense, dense - found.parameters)
    assert (found.bytes, found.dense_bytes) == (4 * found.parameters, 4 * dense)
    left = prunable_total(tuned.groups())
    assert 0 <= (PRUNABLE - left) - target * PRUNABLE < HEAD
    shapes = skeleton(run.path / "tuned" / "model")
    assert found.dense_flops == count_flops(shapes, WORKLOADS[0], {}).total
    resize(shapes, {key: len(units) for key, units in found.plan.keep.items()})
    assert found.flops == count_flops(shapes, WORKLOADS[0], {}).total
    assert found.workload == WORKLOADS[0].describe()


def test_a_higher_target_drops_more_of_the_same(run: RunDir) -> None:
    small, large = replan(run, 0.3, 0.0).plan.keep, replan(run, 0.6, 0.0).plan.keep
    assert all(set(large[key]) <= set(small[key]) for key in small)


def test_a_replan_reads_no_weights(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(checkpoint, "load_file", refuse)
    monkeypatch.setattr(model_folder, "files_sha256", refuse)
    assert replan(run, 0.5).parameters < replan(run, 0.2).parameters


def test_the_reachable_range_leaves_one_unit_everywhere(run: RunDir) -> None:
    limit = 1 - (6 * HEAD + 4 * UNIT) / PRUNABLE
    assert reachable_range(run) == pytest.approx((0.0, limit))
    replan(run, limit, 0.0)
    for target in (limit + 0.001, -0.1, float("nan"), 1.0):
        with pytest.raises(PlanError, match=r"allows 0 to 0\.8263"):
            replan(run, target, 0.0)


def test_shares_that_make_no_sense_together_are_refused(run: RunDir) -> None:
    with pytest.raises(RecipeError, match="together"):
        replan(run, 0.5, 0.6)
    with pytest.raises(RecipeError, match="zeroed"):
        replan(run, 0.5, -0.1)
    with pytest.raises(RecipeError, match="zeroed"):
        derive(run, 0.5, 2.0)


def test_whole_sublayers_go_when_the_map_says_so(spoilt: RunDir) -> None:
    stored = ScoreMap.load(spoilt.scores_path)
    # The first layer's units are worth nothing, so all of them go before any other.
    scores = {
        key: torch.zeros_like(value) if ".0." in key else value.abs() + 1.0
        for key, value in stored.scores.items()
    }
    replace(stored, scores=scores, whole=True).save(spoilt.scores_path)
    assert reachable_range(spoilt)[1] == pytest.approx(1 - (3 * HEAD + 2 * UNIT) / PRUNABLE)
    found = replan(spoilt, 0.5, 0.1)
    assert found.plan.keep["encoder.0.ffn"] == () and found.plan.keep["encoder.1.ffn"]
    derived = derive(spoilt, 0.5, 0.1, 0)
    assert run_worker(derived) == 0
    slim = load_model(str(derived.path))
    assert count_parameters(slim.model) == found.parameters
    report = cost_of(derived.slim_path, workloads=WORKLOADS[:1])
    assert report.workloads[0].flops == found.flops
    assert report.zeroed / PRUNABLE == pytest.approx(0.1, abs=0.002)


def test_other_weights_beside_the_map_are_refused(spoilt: RunDir, tmp_path: Path) -> None:
    other = tiny_model_folder(tmp_path / "other", seed=5)
    shutil.copyfile(
        other / "model.safetensors", spoilt.path / "tuned" / "model" / "model.safetensors"
    )
    for ask in (replan, derive, predict):
        with pytest.raises(CheckpointError, match="another model"):
            ask(spoilt, 0.3)
    assert len(list_runs(spoilt.path.parent)) == 1


def test_a_map_of_an_older_version_can_be_made_again(spoilt: RunDir) -> None:
    before = replan(spoilt, 0.3)
    save_file(load_file(spoilt.scores_path), spoilt.scores_path)
    with pytest.raises(CheckpointError, match=r"stages/plan\.done"):
        replan(spoilt, 0.3)
    (spoilt.path / "stages" / "plan.done").unlink()
    with pytest.raises(RunError, match="no score map yet"):
        replan(spoilt, 0.3)
    assert run_worker(spoilt) == 0
    assert replan(spoilt, 0.3).plan == before.plan


def test_a_run_without_its_tuned_model_says_so(spoilt: RunDir) -> None:
    shutil.rmtree(spoilt.path / "tuned")
    with pytest.raises(RunError, match="no tuned model"):
        replan(spoilt, 0.3)


def test_a_derived_run_is_an_ordinary_run(run: RunDir) -> None:
    derived = derive(run, 0.6, 0.1, 3)
    recipe, own = derived.recipe(), run.recipe()
    assert derived.path.parent == run.path.parent and "60pct" in derived.name
    assert (recipe.target.removed, recipe.target.zeroed, recipe.recover.steps) == (0.6, 0.1, 3)
    assert (recipe.model, recipe.data, recipe.options) == (own.model, own.data, own.options)
    assert derived.status() is RunStatus.QUEUED
    assert [s for s in ("data", "tune", "plan", "shrink") if derived.stage_done(s)] == [
        "data", "tune", "plan",
    ]  # fmt: skip
    weights = Path("tuned/model/model.safetensors")
    assert (derived.path / weights).samefile(run.path / weights)
    origin = read_derivation(derived)
    assert origin and origin.source == run.name and read_derivation(run) is None
    assert run_worker(derived) == 0 and derived.status() is RunStatus.FINISHED
    facts = json.loads(derived.environment_path.read_text("utf-8"))
    before = json.loads(run.environment_path.read_text("utf-8"))
    assert facts["data"] == before.get("data", facts["data"])
    assert facts["derived_from"]["run"] == run.name and len(facts["attempts"]) == 1
    # And another size can be planned from it in turn.
    assert replan(derived, 0.3).plan == replan(run, 0.3).plan


def test_the_derived_model_is_the_tuned_one_cut(run: RunDir) -> None:
    derived = derive(run, 0.5, 0.15, 0)
    assert run_worker(derived) == 0
    plan = read_plan(derived.plan_path)
    tuned = load_file(run.path / "tuned" / "model" / "model.safetensors")
    slim = read_tensors(derived.slim_path / "model.safetensors")
    name = "model.encoder.layers.0.fc1.weight"
    wanted = tuned[name][list(plan.keep["encoder.0.ffn"])]
    kept = slim[name] != 0
    assert torch.equal(slim[name][kept], wanted[kept]) and not bool(kept.all())
    embedding = "model.decoder.embed_tokens.weight"
    assert torch.equal(slim[embedding], tuned[embedding])
    zeros = sum(int((slim[key] == 0).sum()) for key in slim if _prunable(key))
    assert zeros / PRUNABLE == pytest.approx(0.15, abs=0.002)


def _prunable(name: str) -> bool:
    return name.endswith(".weight") and any(
        part in name for part in ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    )


def test_a_derivation_that_fails_leaves_no_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(run.path.parent.iterdir())
    monkeypatch.setattr(derive_module.shutil, "copytree", full)
    with pytest.raises(RunError, match="make room"):
        derive(run, 0.25)
    assert sorted(run.path.parent.iterdir()) == before


def test_files_are_copied_where_links_are_not_possible(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(derive_module.os, "link", refuse)
    derived = derive(run, 0.25)
    weights = Path("tuned/model/model.safetensors")
    assert not (derived.path / weights).samefile(run.path / weights)
    assert replan(derived, 0.3).plan == replan(run, 0.3).plan


def test_a_prediction_is_the_error_of_the_model_right_after_the_cut(run: RunDir) -> None:
    assert stored_prediction(run, 0.55, 0.05) is None
    found = predict(run, 0.55, 0.05, clips=2)
    assert stored_prediction(run, 0.55, 0.05) is None
    store_prediction(run, found)
    assert stored_prediction(run, 0.55, 0.05) == found
    assert stored_prediction(run, 0.5, 0.05) is None
    assert found.n == 2 and found.low <= found.wer <= found.high
    # The same size made on disk, and its texts compared by jiwer itself.
    derived = derive(run, 0.55, 0.05, 0)
    assert run_worker(derived) == 0
    errors, words = 0, 0
    from whisperslim.engines.torch_engine import TorchTranscriber
    from whisperslim.jobs.scoring.evaluation import choose
    from whisperslim.jobs.stages.context import StageContext

    context = StageContext(derived, derived.recipe(), lambda event: None)
    engine = TorchTranscriber(load_model(str(derived.path)), context.window)
    normalize, cache = for_language("hi"), AudioCache(context.audio_cache)
    for item in choose(context.chosen("dev"), 2, 0):
        heard = engine.transcribe(cache.load(item)).text
        result = jiwer.process_words(normalize(item.text), normalize(heard))
        errors += result.substitutions + result.deletions + result.insertions
        words += result.substitutions + result.deletions + result.hits
    assert found.wer == pytest.approx(errors / words)


def test_a_prediction_of_other_weights_does_not_count(spoilt: RunDir) -> None:
    store_prediction(spoilt, predict(spoilt, 0.55, 0.05, clips=1))
    (path,) = (spoilt.path / "predictions").iterdir()
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "weights_sha256": "0" * 64}), "utf-8")
    assert stored_prediction(spoilt, 0.55, 0.05) is None
    path.write_text("{", "utf-8")
    with pytest.raises(RunError, match="predict again"):
        stored_prediction(spoilt, 0.55, 0.05)


def test_what_the_disk_refuses_of_a_size_is_reported(spoilt: RunDir) -> None:
    found = predict(spoilt, 0.55, 0.05, clips=1)
    shutil.rmtree(spoilt.path / "predictions", ignore_errors=True)
    (spoilt.path / "predictions").write_text("mine")
    with pytest.raises(RunError, match=r"predictions.*: there is a file in place of a folder"):
        store_prediction(spoilt, found)
    (spoilt.path / "tuned.json").unlink()
    (spoilt.path / "tuned.json").mkdir()
    with pytest.raises(RunError, match=r"tuned\.json: there is a folder in place of a file"):
        replan(spoilt, 0.3)


def test_predicting_needs_clips(spoilt: RunDir) -> None:
    with pytest.raises(UsageError, match="at least one"):
        predict(spoilt, 0.5, clips=0)
    path = spoilt.path / "data.json"
    record = json.loads(path.read_text("utf-8"))
    record["chosen"]["dev"] = []
    path.write_text(json.dumps(record), "utf-8")
    with pytest.raises(UsageError, match="no dev set"):
        predict(spoilt, 0.5)


def test_a_map_keeps_what_targets_are_counted_in(tmp_path: Path) -> None:
    scores = {"encoder.0.ffn": torch.arange(3.0), "decoder.0.ffn": torch.arange(2.0)}
    costs = {"encoder.0.ffn": 1.5, "decoder.0.ffn": 0.25}
    for given in (None, costs):
        ScoreMap(scores, "l0_distill", "ab" * 32, True, given).save(tmp_path / "map.safetensors")
        assert ScoreMap.load(tmp_path / "map.safetensors").costs == given


def test_another_size_is_counted_in_the_methods_own_currency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    method = {"name": "l0_distill", "currency": "flops", "sublayers": False, "layers": False}
    recipe = tiny_recipe(tmp_path, target={"removed": 0.3, "zeroed": 0.0})
    recipe["method"] = method
    run = RunDir.create(tmp_path / "runs", from_mapping(recipe))
    work(run, lambda event: None)
    stored = ScoreMap.load(run.scores_path)
    assert stored.costs is not None
    # The same target gives the run's own plan back, which weights as currency would not.
    assert replan(run, 0.3).plan.keep == read_plan(run.plan_path).keep
    groups = {group.key: group for group in open_tuned(run).groups}
    total = sum(group.count * stored.costs[key] for key, group in groups.items())
    kept = replan(run, 0.5).plan.keep
    gone = sum((groups[key].count - len(kept[key])) * stored.costs[key] for key in groups)
    assert 0.5 <= gone / total < 0.5 + max(stored.costs.values()) / total


def test_the_bytes_of_zeros_are_foreseen(run: RunDir) -> None:
    found, bare = replan(run, 0.5, 0.2), replan(run, 0.5, 0.0)
    left = sum(len(found.plan.keep[g.key]) * g.weights_per_unit for g in open_tuned(run).groups)
    assert bare.bytes == 4 * bare.parameters
    assert bare.bytes - found.bytes == 4 * found.zeroed - -(-left // 8)
