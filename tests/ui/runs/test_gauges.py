"""What a method shows of itself: kept in bounds while it comes, drawn layer by layer."""

from pathlib import Path

import gradio as gr
import pytest

from tests.support.runs.fake_runs import make_run, write_events
from whisperslim import events
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.view import MOST_GAUGE_POINTS, RunView, fold
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.parts.charts import STACKS
from whisperslim.ui.runs.gauges import (
    Spot,
    current_gauges,
    curves_figure,
    heat_figure,
    moving,
    spot,
    still_html,
)
from whisperslim.ui.runs.tab import NOTHING_DRAWN, lay_out_runs, look_at_runs

ATTENTION, FFN = "encoder.0.self_attn.heads", "encoder.1.ffn"
CROSS = "decoder.1.encoder_attn.heads"


def measured(step: int, stage: str = "tune", **gauges: dict[str, float]) -> events.SparsityMeasured:
    return events.SparsityMeasured(stage, step, {}, {}, gauges)


def density(first: float, second: float, third: float = 1.0) -> dict[str, float]:
    return {ATTENTION: first, FFN: second, CROSS: third}


def test_gauges_are_kept_by_stage_quantity_and_group() -> None:
    reported = [measured(1, density=density(1.0, 0.8)), measured(2, density=density(0.9, 0.6))]
    view = fold(RunView(), reported)
    gauge = view.gauges["tune/density"]
    assert (gauge.step, gauge.latest) == (2, density(0.9, 0.6))
    assert gauge.curves[FFN].steps == (1, 2) and gauge.curves[FFN].values == (0.8, 0.6)


def test_a_resumed_run_goes_on_from_its_checkpoint() -> None:
    steps = [1, 2, 3, 2, 3]
    reported = [measured(step, density=density(n, n)) for n, step in enumerate(steps)]
    curve = fold(RunView(), reported).gauges["tune/density"].curves[FFN]
    assert curve.steps == (1, 2, 3) and curve.values == (0, 3, 4)


def test_a_long_run_grows_no_further_and_its_latest_values_are_right() -> None:
    view = RunView()
    for step in range(1, 3001):
        view = fold(view, [measured(step, density=density(1 / step, 0.5))])
    gauge = view.gauges["tune/density"]
    curve = gauge.curves[ATTENTION]
    assert MOST_GAUGE_POINTS / 2 - 1 <= len(curve.steps) <= MOST_GAUGE_POINTS
    assert curve.values == tuple(1 / step for step in curve.steps)
    # Thinned, it still shows the whole way.
    assert curve.steps[0] == 1 and curve.steps[-1] > 2900
    assert gauge.latest[ATTENTION] == 1 / 3000 and gauge.step == 3000


def test_a_later_stage_without_gauges_leaves_them() -> None:
    view = fold(RunView(), [measured(1, density=density(1, 1)), measured(1, stage="recover")])
    assert [gauge.quantity for gauge in current_gauges(view)] == ["density"]
    assert current_gauges(RunView()) == ()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (ATTENTION, Spot("encoder", 0, "self-attn heads")),
        ("decoder.11.ffn", Spot("decoder", 11, "ffn")),
        ("decoder.3", Spot("decoder", 3, "layer")),
        ("all", Spot("", 0, "all")),
        ("encoder.5000000000.x", Spot("", 0, "encoder.5000000000.x")),
    ],
)
def test_keys_say_where_a_gauge_is(key: str, found: Spot) -> None:
    assert spot(key) == found


def test_heat_has_a_row_a_layer_and_a_column_a_place() -> None:
    view = fold(RunView(), [measured(1, density=density(0.25, 0.5, 0.75))])
    (heat,) = heat_figure(current_gauges(view)).data
    assert [[value for value in row] for row in heat.z] == [[0.25, None, None], [None, 0.5, 0.75]]
    assert [name.replace("<br>", " ") for name in heat.x] == [
        "encoder self- attn", "encoder ffn", "decoder encoder- attn"
    ]  # fmt: skip


def test_a_layer_no_model_has_draws_no_rows() -> None:
    view = fold(RunView(), [measured(1, density={FFN: 0.5, "encoder.5000000000.x": 0.25})])
    (heat,) = heat_figure(current_gauges(view)).data
    assert len(heat.z) == 2


def test_curves_show_every_group_of_a_stack_and_their_mean() -> None:
    reported = [measured(n, density=density(1.0 / n, 0.5 / n), level=density(n, n)) for n in (1, 2)]
    gauges = current_gauges(fold(RunView(), reported))
    traces = curves_figure(gauges, "encoder").data
    first = [trace for trace in traces if trace.yaxis in (None, "y")]
    assert [list(trace.y) for trace in first] == [[1.0, 0.5], [0.5, 0.25], [0.75, 0.375]]
    assert [trace.name for trace in first] == ["self-attn heads", "ffn", "mean"]
    assert [trace.name for trace in traces if trace.showlegend] == [t.name for t in first]
    assert len(curves_figure(gauges, "decoder").data) == 2 * 2
    heights = {curves_figure(gauges, stack).layout.height for stack in STACKS}
    assert heights == {heat_figure(gauges).layout.height}, "figures side by side line up"


def test_what_never_moves_is_said_in_words() -> None:
    reported = [measured(n, clamped=density(0, 0, 0), density=density(n, n)) for n in (1, 2)]
    gauges = current_gauges(fold(RunView(), reported))
    assert [gauge.quantity for gauge in moving(gauges)] == ["density"]
    assert "clamped is 0" in still_html(gauges) and "density" not in still_html(gauges)
    assert still_html(moving(gauges)) == ""


def test_runs_tab_draws_gauges_when_they_move_and_only_then(tmp_path: Path) -> None:
    app = AppContext(RunWatch(tmp_path / "runs"))
    run = make_run(app.runs)
    write_events(run, until="tune")
    with gr.Blocks():
        tab = lay_out_runs()
    updates, drawn = look_at_runs(tab, app, run.name, NOTHING_DRAWN)
    assert not updates[tab.gauged]["visible"]
    log = EventLog(run.events_path)
    log.append(measured(2, density=density(0.5, 0.6, 0.7)))
    updates, drawn = look_at_runs(tab, app, run.name, drawn)
    assert updates[tab.gauged]["visible"]
    assert all(updates[figure]["visible"] for figure in tab.moving)
    log.append(events.Notice("nothing to do with it"))
    updates, drawn = look_at_runs(tab, app, run.name, drawn)
    assert not {tab.gauged, tab.still, *tab.moving} & updates.keys()
