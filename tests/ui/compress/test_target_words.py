"""What a removal target counts is said wherever it is asked for or shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.support.app.fake_app import Acts, fake_app
from tests.support.runs.fake_runs import make_groups, make_run, write_plan
from tests.support.runs.fake_sizes import FakeResizing, make_sweep
from whisperslim import events
from whisperslim.core.plan.counting import NOT_OWN, OF_WEIGHTS, Counting
from whisperslim.core.plan.plan import check_target
from whisperslim.errors import PlanError
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.recipe.recipe import load_recipe, with_values
from whisperslim.jobs.run.console import line_for
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.planned import read_planned
from whisperslim.ui.compress.form import lay_out
from whisperslim.ui.compress.tab import forecast_of
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.parts.forms import FieldInput, read_form
from whisperslim.ui.sparsity import tab as tab_sparsity
from whisperslim.ui.tradeoff import size
from whisperslim.ui.tradeoff.charts import caption_lines
from whisperslim.ui.tradeoff.tab import lay_out_tradeoff

OPERATIONS = "the operations of all heads and FFN units on 5 s of speech"
FLOPS = {"target.currency": "flops"}
OWN_FLOPS = {"method.name": "l0_distill", "method.currency": "flops"}
GROUPS = make_groups()
# A head weighs as two FFN units, and counts for a ninth of one here.
DEAREST = 9.0
COSTS = {group.key: 1.0 if group.kind == "heads" else DEAREST for group in GROUPS}
TOTAL = sum(group.count * COSTS[group.key] for group in GROUPS)


@pytest.fixture
def app(tmp_path: Path) -> AppContext:
    return fake_app(tmp_path / "runs", Acts())


def costed_run(runs: Path, target: float) -> RunDir:
    """A run whose target is a share of operations, as `COSTS` has them."""
    run = make_run(runs, "costed", **FLOPS)
    write_plan(run, GROUPS, target, COSTS)
    return run


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, OF_WEIGHTS),
        (FLOPS, OPERATIONS),
        (OWN_FLOPS, OPERATIONS),
        ({**OWN_FLOPS, **FLOPS}, OPERATIONS),
        (
            {"target.currency": "latency", "export.engine": "onnx", "export.quantize": "int8"},
            "the time of all heads and FFN units, measured in onnx, int8",
        ),
        (
            {**OWN_FLOPS, "method.currency": "latency", "export.engine": "onnx"},
            "the time of all heads and FFN units, measured in torch, by the run itself",
        ),
    ],
)
def test_a_recipe_says_what_its_target_counts(values: Mapping[str, Any], said: str) -> None:
    assert with_values(load_recipe("quick-demo"), values).counting.words == said


def test_times_of_another_engine_take_the_place_of_the_methods_own() -> None:
    own = {**OWN_FLOPS, "method.currency": "latency", "target.currency": "latency"}
    own["export.quantize"] = "none"
    recipe = with_values(load_recipe("quick-demo"), own)
    moved = with_values(recipe, Terms("onnx").values(recipe))
    assert recipe.counting.words.endswith("torch, by the run itself")
    assert moved.counting.words.endswith("measured in onnx")
    flops = with_values(load_recipe("quick-demo"), OWN_FLOPS)
    assert with_values(flops, Terms("onnx").values(flops)).counting.words == OPERATIONS


def test_a_target_out_of_reach_is_not_told_as_weights() -> None:
    with pytest.raises(PlanError, match="of the model's prunable weights"):
        check_target(0.99, GROUPS)
    with pytest.raises(PlanError, match="of the cost of the model's units"):
        check_target(0.99, GROUPS, costs=COSTS)


def test_the_console_tells_a_target_and_what_it_is_of() -> None:
    line = line_for(events.Planned(0.41, 0.1, 0.3, 0.1, OPERATIONS))
    assert f"41.0% of the prunable weights removed (target 30.0% of {OPERATIONS})" in line
    assert "(target 30.0% of the prunable weights)" in line_for(events.Planned(0.3, 0.1, 0.3, 0.1))


# --- the app ----------------------------------------------------------------------------------


def test_the_sparsity_slider_stands_at_the_target_and_says_of_what(app: AppContext) -> None:
    run = costed_run(app.runs, 0.3)
    with gr.Blocks() as blocks:
        tab = tab_sparsity.lay_out_sparsity()
        tab_sparsity.connect_sparsity(tab, app, [])
    show = next(fn.fn for fn in blocks.fns.values() if fn.fn and fn.fn.__name__ == "show")
    given = show(run.name)
    assert given.keys() == {tab.slider, tab.pictures, *tab.drawn()}
    slider = given[tab.slider]
    planned = read_planned(run)
    assert slider["value"] == 0.3 and f"share of {OPERATIONS}" in slider["info"]
    assert abs(planned.plan.removed - 0.3) > 0.02, "a share of weights would be another number"
    page = tab_sparsity.drawings(planned, {}).summary
    assert f"target <b>30.0 % of {OPERATIONS}</b>" in page


def test_the_sparsity_slider_plans_in_what_it_says(app: AppContext) -> None:
    run = costed_run(app.runs, 0.3)
    planned = read_planned(run)
    another = tab_sparsity.moved_plan(app, run, planned, 0.6)
    assert another is not None
    kept = another.keep
    gone = sum((group.count - len(kept[group.key])) * COSTS[group.key] for group in GROUPS)
    assert 0.6 <= gone / TOTAL < 0.6 + DEAREST / TOTAL
    page = tab_sparsity.drawings(planned, {}, another).summary
    weights = sum(group.count * group.weights_per_unit for group in GROUPS)
    left = sum(len(kept[group.key]) * group.weights_per_unit for group in GROUPS)
    assert f"{100 * (1 - left / weights):.1f} % removed" in page and "target <b>60.0 %" in page


def test_the_tradeoff_slider_says_of_what(tmp_path: Path) -> None:
    app = AppContext(RunWatch(tmp_path / "runs"), resizing=FakeResizing())
    costed, plain = costed_run(app.runs, 0.3), make_run(app.runs, "plain")
    write_plan(plain, GROUPS, 0.3)
    with gr.Blocks():
        tab = lay_out_tradeoff()
    for run, said in ((costed, OPERATIONS), (plain, OF_WEIGHTS)):
        given = size.begin(tab.size, app, run.name)
        assert given[tab.size.removed]["info"] == f"Share of {said} to cut out."


def test_a_curve_says_what_its_targets_are_shares_of() -> None:
    usual = make_sweep("one")
    other = make_sweep("two", provenance={"counted in": OPERATIONS})
    assert "Targets are shares of the prunable weights." in " ".join(caption_lines([usual]))
    assert f"Targets are shares of {OPERATIONS}." in " ".join(caption_lines([other]))
    both = " ".join(caption_lines([usual, other]))
    assert f"one: of the prunable weights; two: of {OPERATIONS}." in both


@pytest.fixture(scope="module")
def fields() -> list[FieldInput]:
    with gr.Blocks():
        return list(lay_out("quick-demo", []).fields)


def forecast(app: AppContext, fields: list[FieldInput], **changes: object) -> str:
    """The forecast for a form of defaults but for `changes`, `a__b` for `a.b`."""
    wanted = {name.replace("__", "."): value for name, value in changes.items()}
    method = wanted.get("method.name", "sgl")
    shown = {
        field.component: wanted.get(field.dotted, field.default)
        if field.applies_to(str(method))
        else field.default
        for field in fields
    }
    return forecast_of(app, read_form(fields, shown))


@pytest.mark.parametrize("model", ["openai/whisper-base", "openai/whisper-small"])
def test_the_forecast_leaves_open_what_only_the_plan_tells(
    app: AppContext, fields: list[FieldInput], model: str
) -> None:
    common = {"model": model, "target__removed": 0.5, "target__zeroed": 0.25}
    weights = forecast(app, fields, **common)
    assert weights in forecast(app, fields, **common, target__head_width=48)
    assert "Narrower heads" in forecast(app, fields, **common, target__head_width=48)
    assert "Narrower heads" not in weights
    assert OPERATIONS not in weights and "→ ?" not in weights
    for changes in (
        {"target__currency": "flops"},
        {"method__name": "l0_distill", "method__currency": "flops"},
    ):
        page = forecast(app, fields, **common, **changes)
        assert f"of {OPERATIONS}" in page and "MB" not in page and "fewer" not in page
    # The currency of a method that is not chosen is none of the recipe's.
    assert "→ ?" not in forecast(app, fields, **common, method__currency="flops")


def test_the_forecast_keeps_what_is_known(app: AppContext, fields: list[FieldInput]) -> None:
    page = forecast(
        app, fields, model="openai/whisper-base", target__zeroed=0.25, target__currency="flops"
    )
    # A quarter of the 44,040,192 prunable weights.
    assert "72.6 M → ?" in page and "Zeroed: 11.0 M of the 44.0 M prunable weights" in page
    assert "before the run has planned" in page
    assert Counting.of("latency", NOT_OWN, "onnx", "none").words in forecast(
        app, fields, target__currency="latency", export__engine="onnx"
    )
