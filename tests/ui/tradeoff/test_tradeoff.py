"""The Trade-off tab's figures and handlers as plain functions, on hand-made curves."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.support.runs.fake_runs import finish, make_groups, make_run, write_plan
from tests.support.runs.fake_sizes import (
    FIXED,
    FakeResizing,
    make_point,
    make_prediction,
    make_sweep,
)
from tests.support.tiny_run import finished_run, plain_run
from whisperslim.cli import main
from whisperslim.core.families.base import prunable_total
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.process import background
from whisperslim.jobs.process.background import Background
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.curve import write_sweep
from whisperslim.ui.context.cache import ModelCache
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.tradeoff import actions, curve, size
from whisperslim.ui.tradeoff.charts import AXES, caption_lines, tradeoff_figure
from whisperslim.ui.tradeoff.curve import NOTHING_DRAWN, Wanted
from whisperslim.ui.tradeoff.html import points_tables, prediction_html, size_tiles, sweep_html
from whisperslim.ui.tradeoff.size import Size
from whisperslim.ui.tradeoff.tab import TradeoffTab, _problem, lay_out_tradeoff, look


@dataclass
class Acts:
    """Remembers what the app was asked to start."""

    started: list[str] = field(default_factory=list)
    commands: list[tuple[str, str, list[str]]] = field(default_factory=list)

    def start(self, run: RunDir) -> int:
        self.started.append(run.name)
        return 1

    def command(self, run: RunDir, name: str, arguments: Sequence[str]) -> int:
        self.commands.append((run.name, name, list(arguments)))
        return 1


@pytest.fixture
def acts() -> Acts:
    return Acts()


@pytest.fixture
def sizes() -> FakeResizing:
    return FakeResizing()


@pytest.fixture
def app(tmp_path: Path, acts: Acts, sizes: FakeResizing) -> AppContext:
    watch = RunWatch(tmp_path / "runs")
    return AppContext(watch, acts.start, resizing=sizes, command=acts.command)


@pytest.fixture
def run(app: AppContext) -> RunDir:
    made = make_run(app.runs)
    write_plan(made, make_groups(), 0.3)
    return made


@pytest.fixture
def tab() -> TradeoffTab:
    with gr.Blocks():
        return lay_out_tradeoff()


def has_curve(run: RunDir, **changes: Any) -> None:
    write_sweep(run, make_sweep(run.name, **changes))


# --- the picture ------------------------------------------------------------------------------


@pytest.mark.parametrize("against", list(AXES))
def test_points_are_error_against_cost_with_their_interval(against: str) -> None:
    point = make_point(0.5, wer=0.4, wer_low=0.37, wer_high=0.45)
    (trace,) = tradeoff_figure([make_sweep(points=(point,))], against).data
    assert list(trace.x) == [getattr(point, against)]
    assert list(trace.y) == pytest.approx([40.0])
    assert list(trace.error_y.array) == pytest.approx([5.0])
    assert list(trace.error_y.arrayminus) == pytest.approx([3.0])


def test_line_goes_from_small_to_large() -> None:
    (trace,) = tradeoff_figure([make_sweep()]).data
    assert list(trace.x) == sorted(trace.x)
    # The uncut model is the largest; its error is the 0.3 that the points begin with.
    assert trace.y[-1] == pytest.approx(30.0)


def test_several_runs_are_reported_apart_by_name_and_method() -> None:
    figure = tradeoff_figure([make_sweep("one", "sgl"), make_sweep("two", "imp")])
    assert [trace.name for trace in figure.data] == ["one · sgl", "two · imp"]
    assert len({trace.line.color for trace in figure.data}) == 2
    assert len({trace.marker.symbol for trace in figure.data}) == 2
    assert figure.layout.showlegend


def test_every_point_says_what_it_is_of() -> None:
    point = make_point(0.5, removed=0.512, zeroed=0.125, n=37, wer=0.4)
    (trace,) = tradeoff_figure([make_sweep(points=(point,))], "latency_seconds").data
    said = trace.customdata[0]
    for words in ("target 50.0 %", "removed 51.2 %", "zeroed 12.5 %", "37 clips", "demo_hi#test"):
        assert words in said
    for words in ("normalizer hindi-1", "window fit", "100 steps", "WER 40.0 %", "275 ms"):
        assert words in said


def test_names_cannot_become_markup() -> None:
    figure = tradeoff_figure([make_sweep("<b>x</b>", data="<i>y</i>")])
    assert "<b>x" not in figure.data[0].name and "<b>x" not in figure.data[0].customdata[0]
    assert "<i>y" not in figure.layout.title.text


def test_title_qualifies_the_figures() -> None:
    title = tradeoff_figure([make_sweep()]).layout.title.text.replace("<br>", " ")
    words = re.sub(r"<[^>]*>", "", title)
    for said in ("demo_hi#test", "60 clips", "hindi-1", "window fit", "100 steps", "95 %"):
        assert said in words
    assert "Not alike" not in words


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data": "other#test"}, "set"),
        ({"normalizer": "raw"}, "normalizer"),
        ({"window": "full"}, "window"),
        ({"recover_steps": 0}, "recovery"),
        ({"points": (make_point(n=12),)}, "number of clips"),
    ],
)
def test_unlike_measurements_are_said_to_be_unlike(changes: dict[str, Any], named: str) -> None:
    said = " ".join(caption_lines([make_sweep("one"), make_sweep("two", **changes)]))
    assert f"Not alike: {named}." in said


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ("flops", "a 6 s clip, 20 tokens"),
        ("latency_seconds", "PyTorch: median of passes, 2 clips. On Some CPU (cpu, 2 threads"),
    ],
)
def test_costs_that_depend_on_how_say_how(against: str, said: str) -> None:
    assert said in " ".join(caption_lines([make_sweep()], against))
    assert said not in " ".join(caption_lines([make_sweep()], "parameters"))


def test_times_of_two_machines_are_unlike() -> None:
    other = make_sweep("two", points=(make_point(n=60, machine={"cpu": "Another"}),))
    both = [make_sweep("one"), other]
    assert "Not alike: machine." in " ".join(caption_lines(both, "latency_seconds"))
    assert "Not alike" not in " ".join(caption_lines(both, "parameters"))


def test_an_unknown_axis_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="latency_seconds"):
        tradeoff_figure([make_sweep()], "beauty")


def test_no_curve_is_an_empty_picture() -> None:
    assert len(tradeoff_figure([]).data) == 0


# --- another size -----------------------------------------------------------------------------


def test_slider_stays_within_reach(app: AppContext, run: RunDir, sizes: FakeResizing) -> None:
    at = actions.sizes(app, run.name)
    assert (at.low, at.high) == (0.0, 0.84)
    recipe = run.recipe()
    assert (at.removed, at.zeroed) == (recipe.target.removed, recipe.target.zeroed)
    assert at.recover_steps == recipe.recover.steps
    assert at.targets == "0.2, 0.35, 0.5, 0.65"
    sizes.high = 0.25
    assert actions.sizes(app, run.name).removed <= 0.25
    assert actions.sizes(app, run.name).targets == "0.2"


def test_tiles_hold_size_against_dense(app: AppContext, run: RunDir) -> None:
    plan, rows = actions.planned(app, run.name, 0.5, 0.1)
    total = prunable_total(make_groups())
    left = sum(len(row.moved) * row.weights_per_unit for row in rows)
    page = size_tiles(plan)
    assert (
        f"{(FIXED + left) / 1e3:.1f} k" in page and f"dense {(FIXED + total) / 1e3:.1f} k" in page
    )
    assert f"{2 * (FIXED + left) / 1e6:.1f} MB" in page
    assert "3.00 G" in page and "dense 4.00 G" in page and "a 6 s clip, 20 tokens" in page
    assert f"{(total - left) / 1e3:.1f} k" in page and f"{0.1 * total / 1e3:.1f} k" in page


def test_what_is_removed_names_its_whole_and_the_vocabulary_apart(
    app: AppContext, run: RunDir
) -> None:
    plan, _ = actions.planned(app, run.name, 0.5, 0.0)
    share = f"{100 * plan.plan.removed:.1f} % of prunable weights"
    assert share in size_tiles(plan) and "vocabulary" not in size_tiles(plan)
    trimmed = replace(plan, removed=39_300_000, vocabulary=26_100_000)
    assert f"13.2 M: {share}; 26.1 M: vocabulary" in size_tiles(trimmed)


def test_layers_show_the_slider_beside_the_run(
    app: AppContext, run: RunDir, tab: TradeoffTab
) -> None:
    part = tab.size
    given = size.draw(part, app, Size(run.name, 0.6, 0.0))
    assert given.keys() == set(part.drawn())
    assert given[part.pictures]["visible"] and given[part.problem] == ""
    for plot in part.layers:
        assert "at the slider" in [trace.name for trace in given[plot]["value"].data]


@pytest.mark.parametrize(
    ("removed", "zeroed"), [(0.9, 0.0), (None, 0.0), ("0.5", 0.0), (True, 0.0), (0.5, -1)]
)
def test_what_cannot_be_planned_is_said_in_place(
    app: AppContext, run: RunDir, tab: TradeoffTab, removed: Any, zeroed: Any
) -> None:
    given = size.draw(tab.size, app, Size(run.name, removed, zeroed))
    assert "ws-bad" in given[tab.size.tiles] and not given[tab.size.pictures]["visible"]


@pytest.mark.parametrize("name", ["", "../elsewhere", "no-run", None, 3])
def test_only_runs_of_the_folder_are_resized(app: AppContext, acts: Acts, name: Any) -> None:
    asked: list[Callable[[], object]] = [
        lambda: actions.sizes(app, name),
        lambda: actions.planned(app, name, 0.5, 0.1),
        lambda: actions.start_prediction(app, name, 0.5, 0.1),
        lambda: actions.apply(app, name, 0.5, 0.1, 10),
        lambda: actions.start_sweep(app, name, "0.2", 0),
    ]
    for ask in asked:
        with pytest.raises(RunError):
            ask()
    assert acts.commands == [] and acts.started == []


def test_apply_starts_the_derived_run(
    app: AppContext, run: RunDir, acts: Acts, sizes: FakeResizing
) -> None:
    derived = actions.apply(app, run.name, 0.5, 0.1, 20)
    assert sizes.derived == [(run.name, 0.5, 0.1, 20)]
    assert acts.started == [derived.name] and derived.name != run.name


@pytest.mark.parametrize("steps", [-1, 2.5, None, "3", 10**9])
def test_apply_refuses_steps_that_are_none(
    app: AppContext, run: RunDir, acts: Acts, sizes: FakeResizing, steps: Any
) -> None:
    with pytest.raises(UsageError, match="steps"):
        actions.apply(app, run.name, 0.5, 0.1, steps)
    assert sizes.derived == [] and acts.started == []


# --- prediction -------------------------------------------------------------------------------


def test_prediction_is_a_command_of_its_own(app: AppContext, run: RunDir, acts: Acts) -> None:
    actions.start_prediction(app, run.name, 0.5, 0.1)
    ((name, _, arguments),) = acts.commands
    assert name == run.name
    wanted = ["replan", str(run.path), "--target", "0.5", "--zeroed", "0.1", "--predict"]
    assert arguments == wanted


def test_prediction_out_of_reach_starts_nothing(app: AppContext, run: RunDir, acts: Acts) -> None:
    assert "0.8437" in _problem(lambda: actions.start_prediction(app, run.name, 0.9, 0))
    assert acts.commands == []


def test_prediction_says_that_nothing_was_recovered() -> None:
    page = prediction_html(make_prediction(), Background(), [])
    for words in ("43.3 %", "before any recovery training", "38.1 to 49.0 %", "16 clips"):
        assert words in page
    for words in ("dev subset", "hindi-1", "window fit", "greedy"):
        assert words in page


def test_prediction_tells_how_it_stands() -> None:
    asked = ["replan", "r", "--target", "0.5", "--predict"]
    other = ("replan", "r", "--target", "0.2", "--predict")
    assert "in the background" in prediction_html(None, Background(), asked)
    assert "ws-busy" in prediction_html(None, Background(tuple(asked), running=True), asked)
    busy = prediction_html(None, Background(other, running=True), asked)
    assert "0.2" in busy and "ws-wait" in busy
    ended = Background(tuple(asked), running=False, said="error: no <b>dev</b> set")
    page = prediction_html(None, ended, asked)
    assert "ws-bad" in page and "no &lt;b&gt;dev&lt;/b&gt; set" in page
    assert "ws-bad" not in prediction_html(None, Background(other, said="error: x"), asked)
    unkept = Background(tuple(asked), said="predicted WER 43.30%\nerror: the disk is full")
    page = prediction_html(None, unkept, asked)
    assert "43.30%" in page and "the disk is full" in page


# --- the curve --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "found"),
    [("0.5, 0.2", [0.2, 0.5]), ("0.2 0.2,0.3,", [0.2, 0.3]), ("0", [0.0]), (".8", [0.8])],
)
def test_targets_are_read_from_text(typed: str, found: list[float]) -> None:
    assert actions.parse_targets(typed, 0.0, 0.8) == found


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "give 1 to"),
        (None, "give 1 to"),
        ("half", "not a list of numbers"),
        ("0.2; 0.3", "not a list of numbers"),
        ("--help", "not a list of numbers"),
        ("0.9", "0 to 0.8"),
        ("-0.1", "0 to 0.8"),
        ("nan", "0 to 0.8"),
        (",".join(f"0.{n:02d}" for n in range(13)), "give 1 to 12"),
    ],
)
def test_targets_that_will_not_do_are_explained(typed: Any, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        actions.parse_targets(typed, 0.0, 0.8)


@pytest.mark.parametrize(("high", "largest"), [(0.84376, 0.8437), (0.84379, 0.8437), (0.8, 0.8)])
def test_the_largest_target_that_is_reported_is_one_that_will_do(
    high: float, largest: float
) -> None:
    with pytest.raises(UsageError, match=re.escape(f"this run allows 0 to {largest}")) as refused:
        actions.parse_targets("0.8438", 0.0, high)
    offered = str(refused.value).rpartition(" ")[2]
    assert float(offered) == largest and actions.parse_targets(offered, 0.0, high) == [largest]


def test_sweep_is_a_command_of_its_own(app: AppContext, run: RunDir, acts: Acts) -> None:
    actions.start_sweep(app, run.name, "0.5, 0.2", 30)
    ((name, _, arguments),) = acts.commands
    assert name == run.name
    assert arguments == ["sweep", str(run.path), "--targets", "0.2,0.5", "--recover", "30"]


def test_a_run_at_work_is_not_swept(app: AppContext, run: RunDir, acts: Acts) -> None:
    with run.lock(), pytest.raises(UsageError, match="is running"):
        actions.start_sweep(app, run.name, "0.5", 0)
    assert acts.commands == []


def test_layers_of_a_size_show_what_the_slim_model_has_zeroed(app: AppContext, run: RunDir) -> None:
    zeroed = ModelCache(lambda folder: {"encoder.0.ffn": 0.25} if folder.endswith("slim") else {})
    _, before = actions.planned(replace(app, zeroed=zeroed), run.name, 0.5, 0.1)
    assert {row.zeroed for row in before} == {None}
    finish(run)
    _, rows = actions.planned(replace(app, zeroed=zeroed), run.name, 0.5, 0.1)
    assert [row.zeroed for row in rows if row.key == "encoder.0.ffn"] == [0.25]


def test_no_sweep_is_timed_beside_a_run_on_the_same_device(
    app: AppContext, run: RunDir, acts: Acts
) -> None:
    other = make_run(app.runs, "other")
    with other.lock(), pytest.raises(UsageError, match=f"{other.name} is running"):
        actions.start_sweep(app, run.name, "0.5", 0)
    assert acts.commands == []


def test_sweep_tells_how_far_it_is() -> None:
    command = ("sweep", "r", "--targets", "0.2,0.5,0.8", "--recover", "100")
    part = make_sweep(points=(make_point(0.0), make_point(0.2)))
    assert "1 of 3 targets" in sweep_html(part, Background(command, running=True))
    assert "0 of 3 targets" in sweep_html(None, Background(command, running=True))
    stopped = sweep_html(part, Background(command, said="stopped"))
    assert "Ended: 1 of 3" in stopped and "ws-wait" in stopped
    assert "ws-bad" in sweep_html(part, Background(command, said="error: disk full"))
    whole = make_sweep(points=tuple(make_point(t) for t in (0.0, 0.2, 0.5, 0.8)))
    assert "Done: 3 of 3" in sweep_html(whole, Background(command))
    assert sweep_html(whole, Background()) == ""


def test_a_curve_with_another_recovery_is_no_progress() -> None:
    command = ("sweep", "r", "--targets", "0.2,0.5", "--recover", "100")
    old = make_sweep(recover_steps=0, points=tuple(make_point(t) for t in (0.0, 0.2, 0.5)))
    assert "0 of 2 targets" in sweep_html(old, Background(command, running=True))
    failed = sweep_html(old, Background(command, said="error: X failed\nmend the cause"))
    assert "Ended: 0 of 2" in failed and "ws-bad" in failed and "X failed" in failed
    for said in ("stopped; the same command continues from here", ""):
        ended = sweep_html(old, Background(command, said=said))
        assert "Ended: 0 of 2" in ended and "ws-wait" in ended and "Done" not in ended


def test_an_error_after_the_last_target_is_reported() -> None:
    command = ("sweep", "r", "--targets", "0.2,0.5", "--recover", "100")
    whole = make_sweep(points=tuple(make_point(t) for t in (0.0, 0.2, 0.5)))
    page = sweep_html(whole, Background(command, said="note: x\nerror: the disk is full"))
    assert "ws-bad" in page and "the disk is full" in page and "Done" not in page
    assert "Done: 2 of 2" in sweep_html(whole, Background(command, said="no error: all is well"))


def test_a_first_curve_joins_the_picture_by_itself(
    app: AppContext, run: RunDir, tab: TradeoffTab
) -> None:
    part = tab.curve
    given, drawn = curve.picture(part, app, run.name, [], "parameters", NOTHING_DRAWN)
    assert not given[part.shown]["visible"] and not given[part.plot]["visible"]
    assert "No curve measured yet" in given[part.none_yet]["value"]
    has_curve(run)
    given, drawn = curve.picture(part, app, run.name, [], "parameters", drawn)
    assert given[part.shown]["value"] == [run.name] and not given[part.none_yet]["visible"]
    assert len(given[part.plot]["value"].data) == 1
    # Taken out by hand, it stays out.
    given, _ = curve.picture(part, app, run.name, [], "bytes", drawn)
    assert given[part.shown]["value"] == []
    assert "No run chosen" in given[part.none_yet]["value"]


def test_picture_is_drawn_again_only_when_it_changed(
    app: AppContext, run: RunDir, tab: TradeoffTab
) -> None:
    part = tab.curve
    has_curve(run, points=(make_point(0.0),))
    shown = [run.name]
    first, drawn = curve.picture(part, app, run.name, shown, "bytes", NOTHING_DRAWN)
    assert curve.picture(part, app, run.name, shown, "bytes", drawn) == ({}, drawn)
    assert first[part.plot]["value"].data
    has_curve(run, points=(make_point(0.0), make_point(0.2)))
    grown, _ = curve.picture(part, app, run.name, shown, "bytes", drawn)
    assert len(grown[part.plot]["value"].data[0].x) == 2


def test_tables_hold_every_point() -> None:
    page = points_tables([make_sweep("one"), make_sweep("<two>")])
    assert page.count("<tr>") == 2 * (1 + 5) and page.count("<table") == 2
    assert "<b>&lt;two&gt;</b> (sgl): demo_hi#test" in page and "100 steps of recovery" in page


# --- the tab ----------------------------------------------------------------------------------


def test_only_components_that_are_outputs_are_filled(
    app: AppContext, run: RunDir, tab: TradeoffTab
) -> None:
    bare = make_run(app.runs, "bare")
    for name in ("", run.name, bare.name, "gone"):
        assert size.begin(tab.size, app, name).keys() <= set(tab.size.begun())
        assert curve.begin(tab.curve, app, name).keys() <= set(tab.curve.begun())
        at, wanted = Size(name, 0.5, 0.1), Wanted([], "parameters")
        looked = look(tab, app, at, wanted, NOTHING_DRAWN)
        assert looked.keys() == set(tab.seen())
        again = look(tab, app, at, wanted, looked[tab.drawn])
        assert tab.curve.plot not in again, "the same curve is not drawn again"


def test_an_empty_folder_says_what_to_do(app: AppContext, tab: TradeoffTab) -> None:
    given = size.begin(tab.size, app, None)
    assert "Compress a model first" in given[tab.size.none_yet]["value"]
    assert not given[tab.size.controls]["visible"]
    assert actions.resizable_names(app) == []


def test_page_asks_again_only_while_something_works(
    app: AppContext, run: RunDir, tab: TradeoffTab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def active() -> bool:
        at, wanted = Size(run.name, 0.5, 0.1), Wanted([], "parameters")
        return bool(look(tab, app, at, wanted, NOTHING_DRAWN)[tab.timer]["active"])

    def works(name: str) -> None:
        at_work = {name: Background(("x",), running=True)}
        monkeypatch.setattr(background, "look", lambda _, name: at_work.get(name, Background()))

    assert not active()
    works(actions.PREDICT)
    assert active()
    works(actions.SWEEP)
    assert active()


# --- with the real work behind it -------------------------------------------------------------


def test_a_run_that_prunes_nothing_is_not_offered(tmp_path: Path, tab: TradeoffTab) -> None:
    plain = plain_run(tmp_path)
    app = AppContext(RunWatch(plain.path.parent))
    assert actions.resizable_names(app) == [] and actions.first_choice(app) is None
    given = size.begin(tab.size, app, None)
    assert "method none" in given[tab.size.none_yet]["value"]
    assert not given[tab.size.controls]["visible"]
    with pytest.raises(UsageError, match="choose a run of another method"):
        actions.sizes(app, plain.name)
    other = make_run(app.runs, "other")
    write_plan(other, make_groups(), 0.3)
    assert actions.resizable_names(app) == [other.name]
    other.scores_path.write_bytes(b"damaged")
    assert actions.resizable_names(app) == [other.name], "chosen, it says that it is damaged"


def test_what_the_tab_asks_for_is_what_the_commands_do(tmp_path: Path) -> None:
    run = finished_run(tmp_path)
    asked: list[list[str]] = []
    app = AppContext(
        RunWatch(run.path.parent),
        start=lambda run: 1,
        command=lambda run, name, arguments: asked.append(list(arguments)) or 1,
    )
    at = actions.sizes(app, run.name)
    assert (at.removed, at.zeroed) == (0.4, 0.2) and 0.4 < at.high < 1
    plan, rows = actions.planned(app, run.name, 0.5, 0.1)
    assert plan.parameters < plan.dense_parameters and len(rows) == len(plan.plan.keep)
    actions.start_prediction(app, run.name, 0.5, 0.1)
    actions.start_sweep(app, run.name, "0.5", 0)
    for arguments in asked:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    found, _, _ = actions.prediction(app, run.name, 0.5, 0.1)
    assert found is not None and "before any recovery training" in prediction_html(
        found, Background(), []
    )
    measured, _ = actions.sweep_state(app, run.name)
    assert measured is not None and [point.target for point in measured.points] == [0.0, 0.5]
    assert "Done: 1 of 1" in sweep_html(measured, Background(tuple(asked[1])))
    assert len(tradeoff_figure([measured], "latency_seconds").data[0].x) == 2
    derived = actions.apply(app, run.name, 0.6, 0.1, 0)
    assert derived.recipe().target.removed == 0.6
    assert actions.first_choice(app) == run.name, "the run trained for itself, not what came of it"


# --- commands in the background ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "reported"),
    [
        ("background", "there is a file in place of a folder"),
        ("background/nap.log/x", "there is a folder in place of a file"),
    ],
)
def test_a_command_without_a_place_for_its_log_says_so(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, taken: str, reported: str
) -> None:
    (run.path / taken).parent.mkdir(parents=True, exist_ok=True)
    (run.path / taken).write_text("mine")
    monkeypatch.setattr(background, "detached", lambda *_: pytest.fail("started"))
    page = _problem(lambda: background.start(run, "nap", ["nap"]))
    assert "ws-bad" in page and reported in page
