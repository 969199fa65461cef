"""The app's handlers as plain functions, with fakes for everything that acts."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.fake_runs import finish, make_groups, make_run, write_events, write_plan
from whisperslim import events, methods
from whisperslim.core.families.base import prunable_total
from whisperslim.errors import DataError, RunError, UsageError
from whisperslim.fields import FieldSpec
from whisperslim.jobs.eventlog import EventLog
from whisperslim.jobs.live import RunView, fold
from whisperslim.jobs.recipe import dotted_specs, dotted_values, from_mapping, load_recipe
from whisperslim.jobs.rundir import RunDir, RunStatus
from whisperslim.speech.wer import word_differences
from whisperslim.ui import tab_compress, tab_runs, tab_sparsity
from whisperslim.ui.build import build
from whisperslim.ui.charts import loss_figure, wer_figure
from whisperslim.ui.choices import chosen_model, slim_choices
from whisperslim.ui.context import AppContext, for_people
from whisperslim.ui.demo_clips import demo_clip, demo_clips
from whisperslim.ui.forecast import PUBLISHED, forecast_html
from whisperslim.ui.forms import label_of, nested, read_form, to_value, to_widget
from whisperslim.ui.layer_charts import heads_figure, weights_figure
from whisperslim.ui.layers import LayerRow
from whisperslim.ui.lazy import ModelSize
from whisperslim.ui.markup import table, text, words
from whisperslim.ui.model_cache import ModelCache
from whisperslim.ui.quantities import duration, megabytes, millions
from whisperslim.ui.recipe_form import RecipeForm, lay_out
from whisperslim.ui.run_card import done_share, run_card, scores_table
from whisperslim.ui.run_watch import RunWatch, log_tail
from whisperslim.ui.theme import STYLE_SHEET, page_head
from whisperslim.ui.word_marks import marked_words


@dataclass
class Acts:
    """Remembers what the app was told to do."""

    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def start(self, run: RunDir) -> int:
        self.started.append(run.name)
        return 1

    def stop(self, run: RunDir) -> None:
        self.stopped.append(run.name)


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
def app(tmp_path: Path, acts: Acts) -> AppContext:
    sizes = ModelCache(lambda name: ModelSize(1000, 600))
    zeros = ModelCache(lambda path: {"encoder.0.ffn": 0.25})
    watch = RunWatch(tmp_path / "runs")
    return AppContext(watch, acts.start, acts.stop, sizes, zeros)


@pytest.fixture
def form() -> RecipeForm:
    with gr.Blocks():
        return lay_out("quick-demo", ["openai/whisper-base"])


def shown(form: RecipeForm, **changes: Any) -> list[Any]:
    """What the browser would send, with some controls changed: `train__steps=5`."""
    wanted = {name.replace("__", "."): value for name, value in changes.items()}
    return [wanted.get(f.dotted, f.component.value) for f in form.fields]


# --- the form ---------------------------------------------------------------------------------


def test_untouched_form_is_the_preset(form: RecipeForm) -> None:
    recipe = from_mapping(nested(read_form(form.fields, shown(form))))
    assert dotted_values(recipe) == dotted_values(load_recipe("quick-demo"))


def test_every_declared_knob_of_every_method_has_one_control(form: RecipeForm) -> None:
    for method in ("sgl", "none"):
        names = [f.dotted for f in form.fields if f.applies_to(method)]
        assert sorted(names) == sorted(dotted_specs(method))


def test_fields_of_another_method_are_left_out(form: RecipeForm) -> None:
    values = read_form(form.fields, shown(form, method__name="none"))
    assert [name for name in values if name.startswith("method.")] == ["method.name"]


def test_only_basic_knobs_stand_outside_the_fold(form: RecipeForm) -> None:
    assert form.is_folded("train.clip_norm")
    assert not form.is_folded("target.removed")
    assert not form.is_folded("method.lambda_group_encoder")


@pytest.mark.parametrize(
    ("held", "default", "value"),
    [
        (3.0, 5, 3),
        (2.5, 5, 2.5),  # stays, so that the recipe's check can say it is no whole number
        (3, 0.5, 3.0),
        (None, 5, None),
        (" a \n\n b ", ("x",), ["a", "b"]),
        (" hi ", "hi", "hi"),
        (True, False, True),
    ],
)
def test_controls_become_values(held: Any, default: Any, value: Any) -> None:
    found = to_value(held, default)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("method", methods.names())
def test_another_method_brings_its_own_knobs_and_words(form: RecipeForm, method: str) -> None:
    *parts, summary = form.shown_parts(method)
    names = [name for name, _ in form.method_parts]
    assert {n for n, part in zip(names, parts, strict=True) if part["visible"]} <= {method}
    assert text(methods.get(method).summary.rstrip(".")) in summary
    chosen = shown(form, method__name=method)
    own = {f.dotted for f in form.fields if f.method == method}
    assert own == {n for n in dotted_specs(method) if n.startswith("method.")} - {"method.name"}
    values = read_form(form.fields, chosen)
    defaults = vars(methods.get(method).options())
    if method != "sgl":  # whose values are the preset's
        assert {n: values[f"method.{n}"] for n in defaults} == {
            n: to_value(to_widget(value), value) for n, value in defaults.items()
        }
    assert values["train.steps"] == dotted_values(load_recipe("quick-demo"))["train.steps"]


def test_a_method_nobody_knows_is_refused(form: RecipeForm) -> None:
    with pytest.raises(UsageError, match="no method named"):
        form.shown_parts("<script>")


def test_labels_carry_units_once() -> None:
    assert label_of("train.batch_size", FieldSpec("help", unit="clips")) == "Batch size (clips)"
    assert label_of("train.steps", FieldSpec("help", unit="steps")) == "Steps"


# --- Compress ---------------------------------------------------------------------------------


def test_start_makes_a_run_and_starts_its_worker(
    app: AppContext, acts: Acts, form: RecipeForm
) -> None:
    started = tab_compress.start_run(app, form, shown(form, target__removed=0.4))
    assert started.run is not None and acts.started == [started.run.name]
    assert started.run.path.parent == app.runs
    assert started.run.recipe().target.removed == 0.4


def test_problems_stand_beside_their_fields(app: AppContext, acts: Acts, form: RecipeForm) -> None:
    wrong = shown(form, train__steps=-5, train__clip_norm=None, name="../x")
    started = tab_compress.start_run(app, form, wrong)
    assert started.run is None and acts.started == [] and not app.runs.exists()
    assert set(started.problems) == {"train.steps", "train.clip_norm", "name"}
    *fields, fold, summary = tab_compress.problem_updates(form, wrong, started.problems)
    marked = {
        f.dotted
        for f, update in zip(form.fields, fields, strict=True)
        if update["elem_classes"] == ["ws-wrong"]
    }
    assert marked == set(started.problems)
    assert fold["open"] is True
    assert "Training, Steps: -5 is outside" in summary


def test_missing_data_is_a_problem_of_its_field(app: AppContext, form: RecipeForm) -> None:
    started = tab_compress.start_run(app, form, shown(form, data__train="nowhere/at_all#train"))
    assert set(started.problems) == {"data.train"}


def test_expected_size_is_arithmetic_on_the_prunable_weights() -> None:
    page = forecast_html(ModelSize(1_000_000_000, 600_000_000), 0.5, 0.25, "float16")
    # 300 M of 600 M cut, 150 M of the rest zeroed: 550 M values of two bytes, and 300 M bits.
    assert "1,000.0 M → 700.0 M" in page
    assert "2.00 GB → 1.14 GB as float16" in page
    assert "150.0 M; they take a bit each" in page


def test_size_of_whisper_base_follows_from_its_shape() -> None:
    width, ffn, layers = 512, 2048, 6
    attention = 4 * width * width
    mlp = 2 * width * ffn
    prunable = layers * (attention + mlp) + layers * (2 * attention + mlp)
    # Query, value and output have a bias, key has none.
    biases = layers * (3 * 3 * width + 2 * (ffn + width))
    norms = 2 * width * (layers * 2 + layers * 3 + 2)
    convolutions = 80 * width * 3 + width + width * width * 3 + width
    positions = (1500 + 448) * width
    embedding = 51865 * width
    total = prunable + biases + norms + convolutions + positions + embedding
    assert PUBLISHED["openai/whisper-base"] == ModelSize(total, prunable)


def test_a_model_that_is_not_here_is_not_fetched_for_a_slider(app: AppContext) -> None:
    page = tab_compress.forecast(app, "openai/whisper-small", 0.3, 0.1, "float16")
    assert "−30 %" in page and "known once" in page


def test_impossible_shares_are_explained(app: AppContext) -> None:
    page = tab_compress.forecast(app, "openai/whisper-base", 0.9, 0.9, "float16")
    assert "at most 1 together" in page


# --- Runs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../etc", "/etc", "a/b", "", ".", "..", None, 3, ["x"], "no-run"])
def test_run_names_from_outside_reach_nothing_but_runs(app: AppContext, name: Any) -> None:
    make_run(app.runs)
    (app.runs.parent / "etc").mkdir()
    with pytest.raises(RunError):
        app.watch.open(name)


def test_a_link_out_of_the_runs_folder_is_no_run(app: AppContext, tmp_path: Path) -> None:
    outside = make_run(tmp_path / "elsewhere")
    app.runs.mkdir()
    (app.runs / "link").symlink_to(outside.path)
    with pytest.raises(RunError):
        app.watch.open("link")


def test_watch_reads_only_what_is_new(app: AppContext) -> None:
    run = make_run(app.runs)
    write_events(run, until="tune", steps=40)
    first = app.watch.view(run)
    EventLog(run.events_path).append(events.Notice("one more"))
    assert app.watch.view(run) == fold(first, [events.Notice("one more", at=_last_at(run))])
    run.events_path.write_text("")
    assert app.watch.view(run) == RunView()


def test_look_draws_once_and_then_only_changes(app: AppContext) -> None:
    run = make_run(app.runs)
    write_events(run, until="tune")
    updates, drawn = tab_runs.look(app, run.name, tab_runs.NOTHING_DRAWN)
    assert not any(_skipped(update) for update in updates)
    again, same = tab_runs.look(app, run.name, drawn)
    assert same == drawn and all(_skipped(update) for update in again)
    EventLog(run.events_path).append(events.Notice("told"))
    third, _ = tab_runs.look(app, run.name, drawn)
    curves = third[5:9]
    assert all(_skipped(update) for update in curves), "a notice must not redraw the curves"
    assert "told" in third[9]


def test_look_survives_a_run_that_is_gone(app: AppContext) -> None:
    updates, drawn = tab_runs.look(app, "20200101-000000-gone", tab_runs.NOTHING_DRAWN)
    assert "No run chosen" in updates[2]
    again, _ = tab_runs.look(app, "20200101-000000-gone", drawn)
    assert all(_skipped(update) for update in again)


def test_number_of_outputs_is_that_of_the_components(app: AppContext) -> None:
    with gr.Blocks():
        components = tab_runs.lay_out_tab().outputs()
    for name in ("", make_run(app.runs).name):
        assert len(tab_runs.look(app, name, tab_runs.NOTHING_DRAWN)[0]) == len(components)


def test_a_fresh_page_shows_the_run_at_work(app: AppContext) -> None:
    working = make_run(app.runs, "first")
    newest = make_run(app.runs, "second")
    assert tab_runs.first_choice(app, None) == max(working.name, newest.name)
    older = min(working, newest, key=lambda run: run.name)
    with older.lock():
        assert tab_runs.first_choice(app, None) == older.name
    assert tab_runs.first_choice(app, working.name) == working.name
    assert tab_runs.first_choice(app, "not-there") == max(working.name, newest.name)


def test_card_tells_the_end_and_escapes_it(app: AppContext) -> None:
    run = make_run(app.runs)
    write_events(run, until="tune")
    EventLog(run.events_path).append(events.Failed("tune", "<script>alert(1)</script>"))
    status = app.watch.status(run)
    card = run_card(run, status, app.watch.view(run))
    assert status == RunStatus.FAILED
    assert "&lt;script&gt;" in card and "<script>" not in card


def test_progress_is_of_the_stage_at_work() -> None:
    begun = fold(RunView(), [events.RunStarted("r", 1, ("tune",)), events.StageStarted("tune")])
    assert done_share(begun) is None
    step = events.StepDone("tune", 5, 20, {"ce": 1.0}, 1e-5, 1.0, 2.0, 10)
    assert done_share(fold(begun, [step])) == 0.25
    progress = events.Progress("tune", "clips", 3, 4)
    assert done_share(fold(begun, [step, progress])) == 0.75


def test_scores_name_their_set_and_normaliser(app: AppContext) -> None:
    run = make_run(app.runs)
    write_events(run)
    page = scores_table(app.watch.view(run))
    for word in ("dense (evaluate)", "demo_hi#test", "hindi-1", "fit", "110.4 %", "51.2 %"):
        assert word in page


def test_log_is_plain_text(app: AppContext) -> None:
    run = make_run(app.runs)
    run.log_path.write_bytes(b"one\r\x1b[32mtwo\x1b[0m\nthree\r\n")
    assert log_tail(run) == "two\nthree"


def test_curves_of_a_later_stage_go_on_after_the_first(app: AppContext) -> None:
    run = make_run(app.runs)
    write_events(run, steps=60)
    view = app.watch.view(run)
    first, later = [t for t in loss_figure(view).data if t.name == "cross_entropy"]
    assert first.x[-1] == 60 and later.x[0] == 62
    assert first.line.color == later.line.color and first.line.dash != later.line.dash
    assert first.showlegend and not later.showlegend
    assert [trace.y[0] for trace in wer_figure(view).data][1:] == [110.4, 51.2]


def test_names_of_a_sent_run_are_no_markup_in_a_figure(app: AppContext) -> None:
    link = '<a href="x">'
    run = make_run(app.runs)
    log = EventLog(run.events_path)
    log.append(events.RunStarted("r", 1, ("tune", link)))
    for stage in ("tune", link):
        log.append(events.StageStarted(stage))
        log.append(events.StepDone(stage, 1, 2, {link: 1.0}, 1e-5, 1.0, 2.0, 10))
    for stage, label in (("tune", link), ("no steps", link), ("tune", f"{link}#x")):
        log.append(events.Evaluated(stage, label, f"{link}#x", 1, 3, 0.5, 0.4, 0.3, "raw", "fit"))
    view = app.watch.view(run)
    row = LayerRow("k", "encoder", "heads", 0, link, 4, 10, (0,), (1,), None)
    layers = [weights_figure([row], moved=True), heads_figure([row])]
    losses, errors = loss_figure(view), wer_figure(view)
    assert len(losses.data) == 2 and len(errors.data) == 3
    assert [trace.showlegend for trace in losses.data] == [True, False]
    for made in (losses, errors, *layers):
        assert "<a " not in str(made.to_dict()) and "&lt;a " in str(made.to_dict())


# --- Sparsity ---------------------------------------------------------------------------------


def test_slider_plans_anew_from_the_saved_scores(app: AppContext) -> None:
    groups = make_groups()
    run = make_run(app.runs)
    write_plan(run, groups, 0.3)
    pruned = tab_sparsity.pruned_run(app, run.name)
    kept = {}
    for target in (0.0, 0.3, 0.6):
        rows = pruned.rows(pruned.replanned(target))
        left = sum(len(row.moved) * row.weights_per_unit for row in rows)
        gone = 1 - left / prunable_total(groups)
        # At most one unit too many; the heaviest weighs 2000.
        assert target <= gone + 1e-9 <= target + 2000 / prunable_total(groups) + 1e-9
        kept[target] = {row.key: set(row.moved) for row in rows}
    assert all(kept[0.6][key] <= kept[0.3][key] <= kept[0.0][key] for key in kept[0.0])
    assert {row.key: set(row.kept) for row in pruned.rows(pruned.plan)} == kept[0.3]


def test_drawings_show_units_of_run_and_slider(app: AppContext) -> None:
    run = make_run(app.runs)
    write_plan(run, make_groups(), 0.3)
    pruned = tab_sparsity.pruned_run(app, run.name)
    rows = pruned.rows(pruned.replanned(0.6))
    *_, page = tab_sparsity.drawings(pruned, 0.6, moved=True)
    for row in rows:
        line = re.search(rf"{row.stack} {row.name}</td>(.*?)</tr>", page)
        assert line is not None
        numbers = [int(n) for n in re.findall(r">(\d+)</td>", line.group(1))]
        assert numbers == [row.count, len(row.kept), len(row.moved)]


def test_zeroed_weights_are_a_column_of_their_own(app: AppContext) -> None:
    run = make_run(app.runs)
    write_plan(run, make_groups(), 0.3)
    finish(run)
    rows = tab_sparsity.pruned_run(app, run.name)
    assert [row.zeroed for row in rows.rows(rows.plan) if row.key == "encoder.0.ffn"] == [0.25]


@pytest.mark.parametrize("spoil", ["plan.json", "groups.json", "scores.safetensors"])
def test_a_damaged_run_is_explained(app: AppContext, spoil: str) -> None:
    run = make_run(app.runs)
    write_plan(run, make_groups())
    (run.path / spoil).write_text("{}" if spoil == "plan.json" else "nonsense")
    with pytest.raises(gr.Error, match=r"damaged|not a pruning plan"):
        for_people(tab_sparsity.pruned_run)(app, run.name)


def test_a_run_without_plan_is_not_offered(app: AppContext) -> None:
    make_run(app.runs, "young")
    grown = make_run(app.runs, "grown")
    write_plan(grown, make_groups())
    assert tab_sparsity.pruned_names(app) == [grown.name]


# --- Compare ----------------------------------------------------------------------------------


def test_a_typed_folder_is_a_model_when_it_holds_one(app: AppContext, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert chosen_model(app, f" {tmp_path / 'model'} ") == str(tmp_path / "model")
    assert slim_choices(app) == []


def test_demo_clips_are_those_of_the_manifest() -> None:
    clips = demo_clips()
    assert len(clips) == 60
    name = next(iter(clips))
    path, said = demo_clip(name)
    assert path.is_file() and said == clips[name]
    for wrong in ("../manifest.tsv", "", None):
        with pytest.raises(DataError):
            demo_clip(wrong)


def test_word_marks_keep_vowel_signs_with_their_letters() -> None:
    page = marked_words(word_differences("मैं किताब पढ़ता हूँ", "मैं किताबें पढ़ता हूँ जी"))
    assert "<mark" in page and "<s>किताब</s> → किताबें" in page
    assert '<ins title="inserted">जी</ins>' in page
    assert page.count("<del") == 0
    assert '<del title="left out">हूँ</del>' in marked_words(word_differences("जी हूँ", "जी"))


def test_word_marks_cannot_become_markup() -> None:
    page = marked_words(word_differences("<img>", "<script>"))
    assert "<img>" not in page and "<script>" not in page


# --- small parts ------------------------------------------------------------------------------


def test_cache_lets_the_longest_unused_go() -> None:
    loads: list[str] = []
    cache = ModelCache(lambda name: loads.append(name) or name, capacity=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(name) == name
    assert loads == ["a", "b", "c", "b"]
    cache.get("b", "newer")
    assert loads[-1] == "b" and len(loads) == 5


def test_errors_reach_people_escaped_and_without_traceback() -> None:
    def fails() -> None:
        raise RunError("no <b>run</b>\nsecond line")

    with pytest.raises(gr.Error) as caught:
        for_people(fails)()
    assert caught.value.message == "no &lt;b&gt;run&lt;/b&gt;<br>second line"
    assert caught.value.print_exception is False


@pytest.mark.parametrize(
    ("show", "value", "said"),
    [
        (duration, 4.26, "4.3 s"),
        (duration, 59.4, "59 s"),
        (duration, 61.0, "1 min 01 s"),
        (duration, 7260.0, "2 h 01 min"),
        (megabytes, 145_187_840, "145.2 MB"),
        (megabytes, 2.5e9, "2.50 GB"),
        (millions, 72_593_920, "72.6 M"),
        (millions, 53_100, "53.1 k"),
    ],
)
def test_quantities(show: Callable[[float], str], value: float, said: str) -> None:
    assert show(value) == said


def test_cells_are_escaped() -> None:
    assert text("<&\"'>") == "&lt;&amp;&quot;&#x27;&gt;"
    assert "<script>" not in table(("<script>",), [[words("<script>")]], caption="<script>")


# --- the page ---------------------------------------------------------------------------------


def test_fonts_and_styles_travel_with_the_page() -> None:
    for page in (page_head(), STYLE_SHEET.read_text("utf-8")):
        assert not re.search(r"https?://|url\((?!data:)", page)


def test_no_handler_is_offered_as_an_api(app: AppContext) -> None:
    blocks = build(app.runs, context=app)
    assert {fn.api_visibility for fn in blocks.fns.values()} == {"private"}


def test_importing_the_page_leaves_torch_alone() -> None:
    code = (
        "import sys, whisperslim.ui.build\n"
        "heavy = {'torch', 'transformers', 'librosa', 'ctranslate2'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr


def _skipped(update: Any) -> bool:
    return isinstance(update, dict) and update == gr.skip()


def _last_at(run: RunDir) -> float:
    return json.loads(run.events_path.read_text("utf-8").splitlines()[-1])["at"]
