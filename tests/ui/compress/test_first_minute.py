"""Try it, the presets' list and the check that follows the form, as plain functions."""

import json
from pathlib import Path

import gradio as gr
import pytest

from tests.support.app.forms import shown
from tests.support.runs.fake_runs import finish, make_run, write_events
from whisperslim.errors import RecipeError, UsageError
from whisperslim.jobs.recipe import trial
from whisperslim.jobs.recipe.presets import preset_names
from whisperslim.jobs.recipe.recipe import dotted_values, load_recipe, with_values
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.machine.places import PACKAGE_PARENT
from whisperslim.ui.compress import check, preset_fields, try_it
from whisperslim.ui.compress.check import Marked
from whisperslim.ui.compress.form import RecipeForm, lay_out
from whisperslim.ui.compress.preset_actions import filled, own_presets
from whisperslim.ui.compress.preset_fields import PresetFields
from whisperslim.ui.compress.try_it import TryCard
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.parts.updates import Updates

DEMO = load_recipe("quick-demo")


@pytest.fixture
def app(tmp_path: Path) -> AppContext:
    def start(run: RunDir) -> int:
        return 1

    return AppContext(RunWatch(tmp_path / "runs"), start)


@pytest.fixture(scope="module")
def form() -> RecipeForm:
    with gr.Blocks():
        return lay_out("quick-demo", ["openai/whisper-base"])


@pytest.fixture(scope="module")
def card() -> TryCard:
    with gr.Blocks():
        return try_it.lay_out_card()


@pytest.fixture
def presets(app: AppContext) -> PresetFields:
    with gr.Blocks():
        return preset_fields.lay_out_presets(own_presets(app))


# --- what Try it takes ------------------------------------------------------------------------


def test_the_time_told_is_the_measured_one() -> None:
    record = json.loads((PACKAGE_PARENT / "benchmarks/results/quick_preset.json").read_text())
    assert record["cores"] == 2
    assert pytest.approx(record["seconds"], abs=1) == trial.MEASURED_SECONDS


def test_the_disk_told_is_arithmetic_on_the_recipe(app: AppContext) -> None:
    # Whisper-base has 72,593,920 parameters, 512 of them for each of 51,865 tokens; 871 stay.
    kept = 72_593_920 - 512 * (51_865 - 871)
    # Three checkpoints of weights and two moments, and four models, in float32.
    by_hand = (3 * 3 + 4) * kept * 4
    needs = trial.trial_needs(app.runs, trial.trial_recipe())
    assert needs.disk_bytes == pytest.approx(by_hand, rel=0.01)


def test_the_trial_is_the_quick_preset() -> None:
    assert trial.trial_recipe() == with_values(DEMO, {"name": trial.NAME})
    assert try_it.is_trial("20260101-000000-try-it")
    assert not try_it.is_trial("20260101-000000-sgl-hindi")


def test_what_it_takes_is_said_beforehand_and_what_is_missing() -> None:
    needs = trial.TrialNeeds(114.0, 2_400_000_000, 150_200_000, 3_000_000_000)
    page = try_it.offer_html(needs)
    for words in ("about 2 minutes", "2.40 GB", "150.2 MB, once"):
        assert words in page
    assert "make room" not in page
    full = trial.TrialNeeds(114.0, 2_400_000_000, 0, 1_000_000_000)
    assert "1.00 GB free: make room first" in try_it.offer_html(full)
    assert "already on this computer" in try_it.offer_html(full)


# --- the path ---------------------------------------------------------------------------------


def test_try_it_is_offered_until_there_is_a_model(app: AppContext, card: TryCard) -> None:
    offered = try_it.see(card, app, "")
    assert offered.keys() <= set(card.outputs()) and offered[card.part]["visible"] is True
    finish_with_events(make_run(app.runs, "mine"))
    assert try_it.see(card, app, "")[card.part]["visible"] is False


def test_a_trial_at_work_is_found_again_and_followed(app: AppContext, card: TryCard) -> None:
    run = try_it.begin(app)
    write_events(run, until="tune")
    with run.lock():
        assert try_it.arrived(app) == run.name
        seen = try_it.see(card, app, run.name)
        assert seen.keys() == set(card.outputs())
        assert seen[card.part]["visible"] and not seen[card.button]["interactive"]
        assert seen[card.following] == run.name and seen[card.timer].active
        assert "trains, to find out what can be removed" in seen[card.progress]
        assert not try_it.is_done(app, run.name)


def test_the_end_of_a_trial_fills_compare(app: AppContext, card: TryCard) -> None:
    run = try_it.begin(app)
    finish_with_events(run)
    seen = try_it.see(card, app, run.name)
    assert seen[card.button]["interactive"] and seen[card.following] == ""
    assert not seen[card.timer].active and "Done" in seen[card.progress]
    assert try_it.is_done(app, run.name)
    found = try_it.comparison_of(app, run.name)
    assert found.slim == run.name and found.slim in found.slims
    assert found.recording.is_file() and str(found.recording).endswith(found.clip) and found.said


def test_a_trial_that_failed_says_where_to_look(app: AppContext, card: TryCard) -> None:
    run = try_it.begin(app)
    write_events(run, until="tune")  # and no worker: it died
    seen = try_it.see(card, app, run.name)
    assert app.watch.status(run) == RunStatus.DIED
    assert seen[card.button]["interactive"] and "Resume" in seen[card.progress]


def test_other_runs_are_not_followed(app: AppContext, card: TryCard) -> None:
    run = make_run(app.runs, "mine")
    for name in (run.name, "../elsewhere", "try-it", ""):
        assert try_it.see(card, app, name)[card.following] == ""


# --- the check of the form --------------------------------------------------------------------


def test_nothing_is_wrong_or_changed_in_a_fresh_form(app: AppContext, form: RecipeForm) -> None:
    values = shown(form)
    assert check.problems_of(app, form, values) == {}
    found = check.form_changes(form, values, DEMO)
    assert found == []
    assert "Unchanged from" in check.changes_html(form, found, "quick-demo")


def test_changes_are_reported_by_the_labels_of_the_page(form: RecipeForm) -> None:
    values = shown(form, target__removed=0.6, vocabulary__timestamps=True, name="<b>")
    page = check.changes_html(form, check.form_changes(form, values, DEMO), "demo")
    assert "3 changes from demo" in page
    assert "<s>0.3</s> → <b>0.6</b>" in page and "<s>off</s> → <b>on</b>" in page
    assert "&lt;b&gt;" in page and "<b><b>" not in page


def test_only_controls_whose_state_changes_are_sent(app: AppContext, form: RecipeForm) -> None:
    values = shown(form, train__steps=None, name="no/folder")
    problems = check.problems_of(app, form, values)
    assert set(problems) == {"train.steps", "name"}
    assert "is empty" in problems["train.steps"]
    now = check.marked_now(form, values, problems)
    assert changed(form, check.mark_changes(form, Marked(), now)) == set(problems)
    assert changed(form, check.mark_changes(form, now, now)) == set()
    corrected = Marked(now.method, {"name": problems["name"]})
    updates = check.mark_changes(form, now, corrected)
    assert changed(form, updates) == {"train.steps"}
    (update,) = updates.values()
    assert update["elem_classes"] == []


def test_the_check_says_nothing_of_folders_elsewhere(app: AppContext, form: RecipeForm) -> None:
    there, not_there = (
        check.problems_of(app, form, shown(form, data__train=path))["data.train"]
        for path in ("/etc/passwd", "/etc/no-such-file")
    )
    assert there.replace("/etc/passwd", "") == not_there.replace("/etc/no-such-file", "")


def test_a_preset_sends_only_what_it_changes(app: AppContext, form: RecipeForm) -> None:
    values = shown(form, train__steps=7, target__removed=0.3)
    marked = Marked("sgl", {"name": "wrong"})
    recipe = with_values(DEMO, {"train.steps": 9, "data.train": "no/such/folder"})
    now = Marked(recipe.method, check.problems_in(app, recipe))
    assert set(now.problems) == {"data.train"}
    updates = filled(form, values, marked, recipe, now)
    assert changed(form, updates) == {"train.steps", "data.train", "name"}
    assert set(updates) == {form.component(name) for name in ("train.steps", "data.train", "name")}
    steps, train, name = (
        updates[form.component(each)] for each in ("train.steps", "data.train", "name")
    )
    assert steps["value"] == 9 and "elem_classes" not in steps
    assert train["value"] == "no/such/folder" and train["elem_classes"] == ["ws-wrong"]
    assert name["elem_classes"] == [] and "value" not in name


def test_a_preset_of_another_method_brings_its_knobs(form: RecipeForm) -> None:
    recipe = load_recipe("gates-hindi")
    updates = filled(form, shown(form), Marked(), recipe, Marked(recipe.method))
    after = {each: update["value"] for each, update in updates.items() if "value" in update}
    values = {**shown(form), **after}
    assert dotted_values(check.recipe_of(form, values)) == dotted_values(recipe)
    visible = {name for name, part in form.method_parts if updates[part]["visible"]}
    assert visible == {recipe.method}


# --- the presets' list ------------------------------------------------------------------------


def test_own_presets_stand_beside_the_runs_and_first_in_the_list(
    app: AppContext, presets: PresetFields
) -> None:
    own = own_presets(app)
    own.save("mine", DEMO)
    assert own.folder.parent == app.runs
    assert app.watch.listed() == []
    assert preset_fields.choices(own)[0] == ("mine (yours)", "own/mine")
    assert len(preset_fields.choices(own)) == 1 + len(preset_names())
    chosen = preset_fields.chosen_updates(presets, own, "own/mine")
    assert chosen.keys() == set(presets.chosen())
    assert chosen[presets.choice]["value"] == "own/mine"
    assert "Your own preset" in chosen[presets.note]
    assert chosen[presets.name] == "mine" and chosen[presets.delete]["interactive"]


@pytest.mark.parametrize("choice", ["own/gone", "own/../x", "nothing", "<script>", None, 5])
def test_presets_nobody_knows_are_refused(app: AppContext, choice: object) -> None:
    with pytest.raises(UsageError):
        preset_fields.chosen_recipe(own_presets(app), choice)


def test_a_shared_file_can_be_taken(app: AppContext, form: RecipeForm) -> None:
    own = own_presets(app)
    recipe = check.recipe_of(form, shown(form, train__steps=9, name="shared"))
    name, _, body = preset_fields.shared_file(recipe).partition("\n")
    assert name == "shared.yaml"
    assert preset_fields.taken(own, body.encode()) == "own/shared"
    assert preset_fields.taken(own, body.encode()) == "own/shared-2"
    assert dotted_values(own.load("shared-2")) == dotted_values(recipe)
    with pytest.raises(UsageError, match="no file"):
        preset_fields.taken(own, "/etc/passwd")
    with pytest.raises(RecipeError):
        preset_fields.taken(own, b"steps: 3")


def changed(form: RecipeForm, updates: Updates) -> set[str]:
    return {field.dotted for field in form.fields if field.component in updates}


def finish_with_events(run: RunDir) -> None:
    write_events(run)
    finish(run)
