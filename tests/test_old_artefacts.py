"""What earlier versions left on a user's disk still opens; `data/old/README.md` says how."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest

from tests.commands.test_cli_sizes import Cli, cli  # noqa: F401
from whisperslim.errors import CheckpointError
from whisperslim.events import RunStarted, StepDone
from whisperslim.jobs.recipe.own_presets import OwnPresets
from whisperslim.jobs.recipe.recipe import load_recipe
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.sizes.curve import read_sweep
from whisperslim.jobs.sizes.derivation import read_derivation
from whisperslim.jobs.sizes.planned import read_planned
from whisperslim.jobs.sizes.predict import stored_prediction
from whisperslim.jobs.sizes.replan import replan
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.ui.compare.folder import BatchCompare
from whisperslim.ui.compare.folder_panel import batch_html
from whisperslim.ui.compare.history import History
from whisperslim.ui.compare.html import comparison_html
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.record.desk import RecordingDesk
from whisperslim.ui.runs.tab import NOTHING_DRAWN, lay_out_runs, look_at_runs
from whisperslim.ui.sparsity import tab as tab_sparsity
from whisperslim.ui.tradeoff import actions
from whisperslim.ui.tradeoff.charts import tradeoff_figure

OLD = Path(__file__).parent / "data" / "old"
FIRST, SECOND = "2026-11-21", "2026-11-22"
BOTH = pytest.mark.parametrize("old", [FIRST, SECOND], indirect=True)
LAST = pytest.mark.parametrize("old", [SECOND], indirect=True)


@pytest.fixture
def old(cli: Cli, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """The folder that commands run in, with what a version left there."""
    here = Path.cwd()
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(here / "cache"))
    for name in ("model", "corpus"):
        shutil.copytree(OLD / name, here / name)
    shutil.copytree(OLD / request.param, here, dirs_exist_ok=True)
    return here


@pytest.fixture
def app(old: Path) -> AppContext:
    return AppContext(RunWatch(old / "runs"))


def the_run(old: Path, ends: str = "tiny") -> RunDir:
    (found,) = (old / "runs").glob(f"*-{ends}")
    return RunDir(found)


@pytest.fixture
def old_l0() -> RunDir:
    (found,) = (OLD / SECOND / "runs").glob("*-broken")
    return RunDir(found)


def comparison_record(old: Path) -> dict:
    (path,) = (old / "runs" / "comparisons").glob("*/comparison.json")
    return dict(json.loads(path.read_text("utf-8")))


def test_nothing_in_them_names_the_machine_that_made_them() -> None:
    for file in OLD.rglob("*"):
        assert file.is_dir() or not any(
            word in file.read_bytes() for word in (b"/home/", b"/root/", b"/tmp/", b"/work/")
        ), file


# --- runs -------------------------------------------------------------------------------------


@BOTH
def test_a_finished_run_is_listed_shown_and_reported(old: Path, app: AppContext, cli: Cli) -> None:  # noqa: F811
    run = the_run(old)
    assert run.status() == RunStatus.FINISHED
    listed = json.loads(cli("runs", "--json").out)
    assert run.name in {each["name"] for each in listed}
    with gr.Blocks():
        tab = lay_out_runs()
    updates, _ = look_at_runs(tab, app, run.name, NOTHING_DRAWN)
    assert "finished" in str(updates).lower()
    assert cli("report", run.name, "page.html").code == 0
    assert run.name in Path("page.html").read_text("utf-8")
    assert cli("resume", run.name).code == 0, "nothing is left to do"


@BOTH
def test_a_run_broken_off_is_resumed_to_its_end(old: Path, cli: Cli) -> None:  # noqa: F811
    run = the_run(old, "broken")
    assert not run.stage_done("tune")
    done = cli("resume", run.name)
    assert done.code == 0, done.err
    found, _ = read_events(run.events_path)
    begun = max(place for place, event in enumerate(found) if isinstance(event, RunStarted))
    steps = [e.step for e in found[begun:] if isinstance(e, StepDone) and e.stage == "tune"]
    assert steps == [5, 6], "on from its checkpoint at step 4 of 6"
    assert run.status() == RunStatus.FINISHED and run.stage_done("evaluate")


@BOTH
def test_a_recipe_of_a_run_is_read_as_it_was_meant(old: Path) -> None:
    recipe = load_recipe(str(the_run(old).path / "recipe.yaml"))
    assert (recipe.method, recipe.target.removed, recipe.target.zeroed) == ("sgl", 0.4, 0.2)
    assert (recipe.train.steps, recipe.recover.steps, recipe.options.importance) == (2, 2, "fisher")
    assert recipe.counting.words == "the prunable weights" and recipe.data.dev_fraction == 0.3


# --- models -----------------------------------------------------------------------------------


@BOTH
def test_a_slim_folder_is_inspected_and_listens(old: Path, cli: Cli) -> None:  # noqa: F811
    slim = the_run(old).slim_path
    record = json.loads((slim / "slim.json").read_text("utf-8"))
    found = json.loads(cli("inspect", str(slim), "--json").out)
    units = {row["key"]: row["units"] for row in found["rows"]}
    assert {key: units[key] for key in record["counts"]} == record["counts"]
    heard = cli("transcribe", "--model", str(slim), "corpus/audio/clip_00.wav", "--json")
    assert heard.code == 0, heard.err


@LAST
@pytest.mark.parametrize("engine", ["onnx", "hf", "ctranslate2"])
def test_an_export_hears_what_its_slim_model_hears(old: Path, cli: Cli, engine: str) -> None:  # noqa: F811
    pytest.importorskip({"onnx": "onnxruntime", "hf": "transformers"}.get(engine, engine))
    run = the_run(old)
    folder = run.path / "export" / engine if engine == "ctranslate2" else old / "exports" / engine
    file = "corpus/audio/clip_00.wav"
    said = [
        json.loads(cli("transcribe", "--model", str(model), file, "--json").out)[0]["text"]
        for model in (folder, run.slim_path)
    ]
    assert said[0] == said[1]


# --- sizes ------------------------------------------------------------------------------------


@LAST
def test_a_score_map_gives_other_sizes(old: Path, app: AppContext, cli: Cli) -> None:  # noqa: F811
    run = the_run(old)
    planned = read_planned(run)
    # The run's own target gives its own plan back, though that was made by another version.
    assert replan(run, 0.4).plan.keep == planned.plan.keep
    assert cli("replan", run.name, "--target", "0.5").code == 0
    assert tab_sparsity.moved_plan(app, run, planned, 0.6) is not None
    size, rows = actions.planned(app, run.name, 0.5, 0.1)
    assert size.parameters < size.dense_parameters and len(rows) == len(planned.groups)
    predicted = stored_prediction(run, 0.3, 0.1)
    assert predicted is not None and predicted.n == 2


@LAST
def test_a_curve_is_drawn(old: Path, app: AppContext) -> None:
    run, resized = the_run(old), the_run(old, "tiny-50pct")
    curve = read_sweep(run)
    assert curve is not None and [point.target for point in curve.points] == [0.0, 0.5]
    assert curve.points[1].run == resized.name and curve.counted_in == "the prunable weights"
    origin = read_derivation(resized)
    assert origin is not None and (origin.source, origin.removed) == (run.name, 0.5)
    assert actions.swept_names(app) == [run.name]
    assert len(tradeoff_figure([curve], "parameters").data) > 0


@pytest.mark.parametrize("old", [FIRST], indirect=True)
def test_a_map_that_does_not_name_its_model_is_looked_at_and_made_again(
    old: Path,
    app: AppContext,
    cli: Cli,  # noqa: F811
) -> None:
    run = the_run(old)
    planned = read_planned(run)
    assert all(len(planned.plan.keep[group.key]) <= group.count for group in planned.groups)
    slider = tab_sparsity.slider_for(app, run, planned)
    assert not slider["interactive"] and "older versions" in slider["info"]
    with pytest.raises(CheckpointError, match=r"delete the run's stages/plan\.done and resume"):
        replan(run, 0.4)
    (run.path / "stages" / "plan.done").unlink()
    assert cli("resume", run.name).code == 0
    assert replan(run, 0.4).plan.keep == read_planned(run).plan.keep


# --- the app's own ----------------------------------------------------------------------------


@LAST
def test_a_preset_of_ones_own_is_offered_and_read(old: Path) -> None:
    presets = OwnPresets(old / "runs" / "presets")
    assert presets.names() == ("mine",)
    recipe = presets.load("mine")
    assert (recipe.name, recipe.export.engine, recipe.train.steps) == ("mine", "ctranslate2", 2)


@LAST
def test_a_comparison_is_listed_shown_and_heard(old: Path) -> None:
    history = History(old / "runs")
    (found,) = history.listed()
    record = comparison_record(old)
    assert found == history.find(record["key"])
    assert [side.parameters for side in found.sides] == [
        side["parameters"] for side in record["sides"]
    ]
    assert record["fairness"] in comparison_html(found)
    assert history.recording(found.key)[:4] == b"fLaC"
    assert history.vote(found.key, "slim").vote == "slim"


@LAST
def test_a_folder_that_was_compared_is_shown(old: Path) -> None:
    state = BatchCompare(lambda *_: pytest.fail("heard again"), old / "runs").look()
    assert state is not None and not state.running and not state.broken_off
    assert [row.key for row in state.rows] == ["clip_00.wav", "clip_01.wav"]
    assert "clip_01.wav" in batch_html(state)


@LAST
def test_a_recording_session_goes_on(old: Path) -> None:
    desk = RecordingDesk(old / "recordings")
    assert desk.choices() == [("asha · 2 of 3", "asha")]
    session = desk.open("asha")
    assert session.next_open() == 2 and session.damaged() == {}
    items = load_items(str(session.manifest))
    # 6400 samples at 16 kHz.
    assert [(item.text, item.duration) for item in items] == [("दिन घर", 0.4), ("रात पानी", 0.4)]


# --- options that came later ------------------------------------------------------------------


def test_a_run_of_before_an_option_does_what_was_done_before_it(old_l0: RunDir) -> None:
    recipe = old_l0.recipe()
    options = recipe.options
    assert (options.coarse_from, options.start, recipe.shrink.compensate) == (0, "alike", False)
    # A new recipe has what is the default today.
    anew = load_recipe(str(old_l0.path / "recipe.yaml"))
    assert anew.options == replace(options, coarse_from=2000, start="fisher")
    assert anew.shrink == replace(recipe.shrink, compensate=True)
