"""Runs planned for an engine, and sizes of finished runs for another one or in another currency."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.jobs.sizes.test_replan import HEAD, UNIT
from tests.support.models.engine_shapes import holds
from tests.support.tiny_run import finished_run, shared_run, tiny_recipe
from whisperslim.core.families import UnitGroup
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.files import read_plan
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.engines.export import export as exporting
from whisperslim.engines.export.parity import ParityVerdict
from whisperslim.engines.export.record import read_export
from whisperslim.engines.timing.profile import Profile
from whisperslim.errors import ExportError, PlanError, RecipeError, RunError, UsageError
from whisperslim.jobs.pricing.prices import PRICES_FILE, run_prices
from whisperslim.jobs.pricing.profiles import save_profile
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.derive import derive, read_derivation
from whisperslim.jobs.sizes.planned import read_planned
from whisperslim.jobs.sizes.replan import replan
from whisperslim.jobs.sizes.tuned import open_tuned
from whisperslim.jobs.stages import export as stage_export
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.sparsity import tab as tab_sparsity

CT2 = Terms("ctranslate2")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    """A finished run for PyTorch, whose scores make heads leave unevenly."""
    folder = tmp_path_factory.mktemp("terms")
    with shared_run(folder) as run:
        stored = ScoreMap.load(run.scores_path)
        scores = {
            key: value + (2.0 * index if "heads" in key else 0.0)
            for index, (key, value) in enumerate(sorted(stored.scores.items()))
        }
        replace(stored, scores=scores).save(run.scores_path)
        yield run


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are believed without the check, a process of its own that takes long to start."""

    def believed(
        speech: SpeechModel, folder: Path, quantize: str, clips: list, language: str, window: object
    ) -> ParityVerdict:
        assert clips
        return ParityVerdict(
            True, "not checked", quantize, 0, 0.0, 0, None, None, None, "", language, ""
        )

    monkeypatch.setattr(exporting, "check_parity", believed)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def groups_of(run: RunDir) -> tuple[UnitGroup, ...]:
    return open_tuned(run).facts.groups


def a_profile(groups: tuple[UnitGroup, ...], **changes: object) -> Profile:
    """Heads take a hundred times what FFN units do."""
    prices = {g.place: 1e-2 if g.kind == "heads" else 1e-4 for g in groups}
    weights = {g.place: g.weights_per_unit for g in groups}
    known = Profile("ctranslate2", "int8", "tiny", weights, prices, {}, 0.0, (), {}, 5.0, 30, 1, {})
    return replace(known, **changes)  # type: ignore[arg-type]


def test_a_run_trained_for_torch_can_be_cut_for_ctranslate2(run: RunDir) -> None:
    groups = groups_of(run)
    own, other = replan(run, 0.6, 0.0), replan(run, 0.6, 0.0, CT2)
    assert not holds(groups, own.plan) and holds(groups, other.plan)
    assert 0.6 <= other.plan.removed < 0.6 + 4 * HEAD / (24 * HEAD + 192 * UNIT)
    assert replan(run, 0.6, 0.0, Terms("onnx")).plan.keep == own.plan.keep


def test_the_derived_recipe_records_the_engine_and_the_run_writes_for_it(
    run: RunDir, unchecked: None
) -> None:
    pytest.importorskip("ctranslate2")
    derived = derive(run, 0.6, 0.0, 0, Terms("ctranslate2", "int8"))
    assert "ctranslate2" in derived.name
    recipe = derived.recipe()
    assert (recipe.export.engine, recipe.export.quantize) == ("ctranslate2", "int8")
    origin = read_derivation(derived)
    assert origin and (origin.engine, origin.quantize) == ("ctranslate2", "int8")
    assert run_worker(derived) == 0
    record = read_export(derived.path / "export" / "ctranslate2")
    assert (record.engine, record.quantize) == ("ctranslate2", "int8")
    left = load_model(str(derived.slim_path)).groups()
    assert holds(left, PruningPlan({g.key: tuple(range(g.count)) for g in left}))
    # Sizes of the derived run keep to the engine in turn, and so does the app's slider.
    assert replan(derived, 0.4).plan.keep == replan(run, 0.4, None, CT2).plan.keep
    planned, app = read_planned(derived), AppContext(RunWatch(derived.path.parent))
    shown = tab_sparsity.moved_plan(app, derived, planned, 0.4)
    assert shown and shown.keep == replan(derived, 0.4).plan.keep
    back = derive(derived, 0.6, 0.0, 0, Terms("torch")).recipe()
    assert (back.export.engine, back.export.quantize) == ("torch", "none")


def test_a_target_may_be_a_share_of_operations(run: RunDir) -> None:
    facts = open_tuned(run).facts
    costs = facts.flops_per_unit
    total = sum(g.count * costs[g.key] for g in facts.groups)
    found = replan(run, 0.5, 0.0, Terms(currency="flops"))
    gone = sum((g.count - len(found.plan.keep[g.key])) * costs[g.key] for g in facts.groups)
    assert 0.5 <= gone / total < 0.5 + max(costs.values()) / total
    assert facts.flops - found.flops == gone
    derived = derive(run, 0.5, 0.0, 0, Terms(currency="flops"))
    assert derived.recipe().target.currency == "flops"
    assert replan(derived, 0.5, 0.0).plan.keep == found.plan.keep
    assert replan(derived, 0.5, 0.0, Terms(currency="weights")).plan.keep == (
        replan(run, 0.5, 0.0).plan.keep
    )


def test_a_target_may_be_a_share_of_measured_time(run: RunDir, cache: Path) -> None:
    groups, terms = groups_of(run), Terms("ctranslate2", "int8", "latency")
    command = "whisperslim profile --engine ctranslate2 --quantize int8"
    with pytest.raises(PlanError, match=command):
        replan(run, 0.5, 0.0, terms)
    save_profile(a_profile(groups))
    found = replan(run, 0.5, 0.0, terms)
    total = 24 * 1e-2 + 192 * 1e-4
    heads = sum(g.count - len(found.plan.keep[g.key]) for g in groups if g.kind == "heads")
    units = sum(g.count - len(found.plan.keep[g.key]) for g in groups if g.kind == "ffn")
    gone = (heads * 1e-2 + units * 1e-4) / total
    assert 0.5 <= gone < 0.5 + 4e-2 / total and holds(groups, found.plan)
    derived = derive(run, 0.5, 0.0, 0, terms)
    prices = json.loads((derived.path / PRICES_FILE).read_text("utf-8"))
    assert prices == dict(a_profile(groups).seconds_per_unit)
    assert found.counted_in.endswith("measured in ctranslate2, int8")
    with pytest.raises(PlanError, match=r"allows 0 to 0\.\d+ of the time of all .* ctranslate2"):
        replan(derived, 0.99)
    # Times of one engine say nothing of another.
    with pytest.raises(PlanError, match="--engine onnx"):
        replan(derived, 0.5, 0.0, Terms("onnx"))


def test_terms_know_their_words() -> None:
    for wrong, message in (
        ({"engine": "abacus"}, "no engine 'abacus'; choose one of: torch, ctranslate2"),
        ({"quantize": "int3"}, "no quantize 'int3'"),
        ({"currency": "rupees"}, "no currency 'rupees'; choose one of: weights, flops, latency"),
    ):
        with pytest.raises(UsageError, match=message):
            Terms(**wrong)


def test_a_recipe_whose_parts_contradict_is_refused(tmp_path: Path) -> None:
    for changes, message in (
        ({"export": {"quantize": "int8"}}, "nothing is written for engine torch"),
        ({"export": {"engine": "abacus"}}, "export.engine"),
        (
            {
                "method": {"name": "l0_distill", "currency": "flops"},
                "target": {"removed": 0.3, "zeroed": 0.0, "currency": "latency"},
            },
            "the method's own is flops",
        ),
    ):
        recipe = tiny_recipe(tmp_path)
        for section, values in changes.items():
            recipe[section] = values
        with pytest.raises(RecipeError, match=message):
            from_mapping(recipe)


@pytest.mark.parametrize("method", ["sgl", "l0_distill", "layer_drop"])
def test_a_whole_run_for_ctranslate2_counted_in_operations(
    method: str, tmp_path: Path, cache: Path, unchecked: None
) -> None:
    pytest.importorskip("ctranslate2")
    run = finished_run(
        tmp_path,
        method=method,
        target={"removed": 0.4, "zeroed": 0.0, "currency": "flops"},
        export={"engine": "ctranslate2"},
    )
    tuned = open_tuned(run)
    plan = read_plan(run.plan_path)
    assert holds(tuned.groups, plan)
    costs = tuned.facts.flops_per_unit
    total = sum(g.count * costs[g.key] for g in tuned.groups)
    gone = sum((g.count - len(plan.keep[g.key])) * costs[g.key] for g in tuned.groups)
    first = [g for g in tuned.groups if g.key.startswith("encoder.0.")]
    layer = sum(g.count * costs[g.key] for g in first)
    heads = 2 * costs["encoder.0.self_attn.heads"]  # one of each of the encoder's two layers
    step = {"layer_drop": layer, "l0_distill": 2 * heads}.get(method, heads)
    assert 0.4 <= gone / total < 0.4 + step / total
    assert read_export(run.path / "export" / "ctranslate2").quantize == "none"
    if method != "layer_drop":  # which rounds its target up to whole layers
        assert replan(run, 0.4).plan.keep == plan.keep


def test_prices_are_those_a_run_began_with(run: RunDir, tmp_path: Path) -> None:
    derived = derive(run, 0.4, 0.0, 0, Terms(currency="flops"))
    speech = load_model(str(derived.path / "tuned" / "model"))
    (derived.path / PRICES_FILE).write_text('{"encoder.ffn": 7}')
    assert run_prices(derived, derived.recipe(), speech) == {"encoder.ffn": 7.0}
    (derived.path / PRICES_FILE).write_text("[]")
    with pytest.raises(RunError, match="restore it"):
        run_prices(derived, derived.recipe(), speech)


def test_a_missing_engine_ends_a_run_before_it_trains(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(engine: str) -> None:
        raise ExportError(f"the engine {engine} cannot be used here")

    monkeypatch.setattr(stage_export, "load_exporter", missing)
    with pytest.raises(ExportError, match="engine onnx cannot be used"):
        finished_run(tmp_path, export={"engine": "onnx"})
    (folder,) = (tmp_path / "runs").iterdir()
    assert not RunDir(folder).stage_done("data")
