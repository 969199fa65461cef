"""The Compress tab: its form, what starting makes of it, the expected size."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.support.app.fake_app import Acts, fake_app
from tests.support.app.forms import shown
from whisperslim import methods
from whisperslim.errors import RecipeError, UsageError
from whisperslim.fields import FieldSpec
from whisperslim.jobs.recipe.recipe import dotted_specs, dotted_values, from_mapping, load_recipe
from whisperslim.jobs.recipe.sections import TargetOptions
from whisperslim.ui.compress.check import Marked
from whisperslim.ui.compress.forecast import PUBLISHED, forecast_html
from whisperslim.ui.compress.form import RecipeForm
from whisperslim.ui.compress.tab import (
    CompressTab,
    forecast,
    lay_out_compress,
    problem_updates,
    start_run,
)
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.models import ModelSize
from whisperslim.ui.parts.forms import label_of, nested, read_form, to_value, to_widget
from whisperslim.ui.parts.markup import text


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
def app(tmp_path: Path, acts: Acts) -> AppContext:
    return fake_app(tmp_path / "runs", acts)


@pytest.fixture
def page(app: AppContext) -> CompressTab:
    with gr.Blocks():
        return lay_out_compress(app)


@pytest.fixture
def form(page: CompressTab) -> RecipeForm:
    return page.form


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
    updates = form.shown_parts(method)
    assert updates.keys() == set(form.swapped)
    assert {name for name, part in form.method_parts if updates[part]["visible"]} <= {method}
    assert text(methods.get(method).summary.rstrip(".")) in updates[form.summary]
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
    started = start_run(app, form, shown(form, target__removed=0.4))
    assert started.run is not None and acts.started == [started.run.name]
    assert started.run.path.parent == app.runs
    assert started.run.recipe().target.removed == 0.4


def test_problems_stand_beside_their_fields(app: AppContext, acts: Acts, page: CompressTab) -> None:
    form = page.form
    wrong = shown(form, train__steps=-5, train__clip_norm=None, name="../x")
    started = start_run(app, form, wrong)
    assert started.run is None and acts.started == [] and not app.runs.exists()
    assert set(started.problems) == {"train.steps", "train.clip_norm", "name"}
    before = {page.marked: Marked("sgl", {"train.batch_size": "was wrong"})}
    updates = problem_updates(page, {**wrong, **before}, started.problems)
    assert updates.keys() <= set(page.problem_outputs())
    sent = {f.dotted: updates[f.component] for f in form.fields if f.component in updates}
    assert sent.pop("train.batch_size")["elem_classes"] == []
    marked = {name for name, update in sent.items() if update["elem_classes"] == ["ws-wrong"]}
    assert marked == set(started.problems) == set(updates[page.marked].problems)
    assert updates[form.advanced]["open"] is True
    assert "Training, Steps: -5 is outside" in updates[page.problems]


def test_missing_data_is_a_problem_of_its_field(app: AppContext, form: RecipeForm) -> None:
    started = start_run(app, form, shown(form, data__train="nowhere/at_all#train"))
    assert set(started.problems) == {"data.train"}


def test_expected_size_is_arithmetic_on_the_prunable_weights() -> None:
    page = forecast_html(ModelSize(1_000_000_000, 600_000_000), 0.5, 0.25, "float16")
    # 300 M of 600 M cut, 150 M of the rest zeroed: 550 M values of two bytes, and 300 M bits.
    assert "1,000.0 M → 700.0 M" in page
    assert "2.00 GB → 1.14 GB as float16" in page
    assert "150.0 M; each takes one bit" in page


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
    page = forecast(app, "openai/whisper-small", 0.3, 0.1, "float16")
    assert "−30 %" in page and "known once" in page


def test_forecast_and_form_have_one_limit_and_say_it_alike(app: AppContext) -> None:
    for removed, zeroed in ((0.9, 0.9), (0.6, 0.37)):
        with pytest.raises(RecipeError) as caught:
            TargetOptions(removed=removed, zeroed=zeroed)
        said = caught.value.problems["zeroed"]
        assert said.endswith("is over 0.95 together; lower one of them")
        assert said in forecast(app, "openai/whisper-base", removed, zeroed, "float16")
    # 0.9 + 0.05 is over 0.95 in binary alone.
    TargetOptions(removed=0.9, zeroed=0.05)
    assert "over 0.95" not in forecast(app, "openai/whisper-base", 0.9, 0.05, "float16")
