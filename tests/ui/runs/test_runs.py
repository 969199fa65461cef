"""The Runs and Sparsity tabs: what a look at a run draws, and what it survives."""

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.support.runs.fake_runs import finish, make_groups, make_run, write_events, write_plan
from tests.support.runs.light_runs import move_elsewhere
from whisperslim import events
from whisperslim.core.families.base import prunable_total
from whisperslim.errors import RunError
from whisperslim.jobs.process.queue import Turn
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.run.view import RunView, fold
from whisperslim.jobs.sizes.planned import read_planned
from whisperslim.ui.context import run_watch
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.context.run_watch import RunWatch, log_tail
from whisperslim.ui.parts.charts import loss_figure, wer_figure
from whisperslim.ui.runs.card import done_share, run_card, run_label, scores_table
from whisperslim.ui.runs.tab import (
    NOTHING_DRAWN,
    RunsTab,
    first_choice,
    glance_at_runs,
    look_at_runs,
)
from whisperslim.ui.sparsity import tab as tab_sparsity
from whisperslim.ui.sparsity.charts import heads_figure, weights_figure
from whisperslim.ui.sparsity.layers import LayerRow, layer_rows

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


def test_look_draws_once_and_then_only_changes(app: AppContext, tab: RunsTab) -> None:
    run = make_run(app.runs)
    write_events(run, until="tune")
    updates, drawn = look_at_runs(tab, app, run.name, NOTHING_DRAWN)
    assert drawn == glance_at_runs(app, run.name)
    parts = (tab.choice, tab.card, tab.report.button, tab.losses, tab.scores, tab.log, tab.gauged)
    assert set(parts) <= updates.keys() <= set(tab.outputs())
    assert look_at_runs(tab, app, run.name, drawn) == ({}, drawn)
    EventLog(run.events_path).append(events.Notice("one more"))
    third, _ = look_at_runs(tab, app, run.name, drawn)
    assert "one more" in third[tab.notices]
    curves = {tab.curves, tab.losses, tab.errors, tab.scores}
    assert not curves & third.keys(), "a notice must not redraw the curves"


def test_look_survives_a_run_that_is_gone(app: AppContext, tab: RunsTab) -> None:
    gone = "20200101-000000-gone"
    updates, drawn = look_at_runs(tab, app, gone, NOTHING_DRAWN)
    assert updates.keys() <= set(tab.outputs()) and "No run chosen" in updates[tab.card]
    hidden = (tab.stop, tab.proceed, tab.report.button, tab.curves, tab.gauged)
    assert not any(updates[part]["visible"] for part in hidden)
    assert drawn == glance_at_runs(app, gone)
    assert look_at_runs(tab, app, gone, drawn) == ({}, drawn)


def test_another_run_is_drawn_in_full(app: AppContext, tab: RunsTab) -> None:
    first, second = make_run(app.runs, "first"), make_run(app.runs, "second")
    write_events(first, until="tune")
    _, drawn = look_at_runs(tab, app, first.name, NOTHING_DRAWN)
    updates, _ = look_at_runs(tab, app, second.name, drawn)
    fresh, _ = look_at_runs(tab, app, second.name, NOTHING_DRAWN)
    assert updates.keys() == fresh.keys()


def test_the_list_waits_for_no_bomb_and_reads_it_once(
    app: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb, good = sorted((make_run(app.runs, "a"), make_run(app.runs, "b")), key=lambda r: r.name)
    (bomb.path / "recipe.yaml").write_text("x: !!int none")
    read: list[str] = []
    may_end = threading.Event()
    damage = RunDir.damage

    def slowly(run: RunDir) -> str:
        read.append(run.name)
        if run.name == bomb.name:
            assert may_end.wait(60)
        return damage(run)

    monkeypatch.setattr(RunDir, "damage", slowly)
    monkeypatch.setattr(run_watch, "LISTING_SECONDS", 0.0)
    try:
        # Whoever asks about one run waits for that run alone.
        until(lambda: bomb.name in read, app.watch.listed)
        assert app.watch.status(good) == RunStatus.QUEUED
        assert app.watch.listed() == [(good, RunStatus.QUEUED), (bomb, RunStatus.READING)]
        assert "being read" in run_label(bomb, RunStatus.READING)
    finally:
        may_end.set()
    assert app.watch.status(bomb) == RunStatus.DAMAGED
    assert app.watch.listed() == [(good, RunStatus.QUEUED), (bomb, RunStatus.DAMAGED)]
    assert "recipe.yaml cannot be read" in app.watch.damage(bomb)
    assert sorted(read) == sorted([bomb.name, good.name])


def test_a_long_log_keeps_nobody_from_another_run(
    app: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, other = make_run(app.runs, "long"), make_run(app.runs, "other")
    write_events(other, until="tune")
    began, may_end = threading.Event(), threading.Event()
    read_events = run_watch.read_events

    def slowly(path: Path, offset: int) -> Any:
        if path == long.events_path:
            began.set()
            assert may_end.wait(60)
        return read_events(path, offset)

    monkeypatch.setattr(run_watch, "read_events", slowly)
    reader = threading.Thread(target=app.watch.view, args=(long,))
    reader.start()
    try:
        assert began.wait(60)
        assert app.watch.view(other).stage == "tune"
    finally:
        may_end.set()
        reader.join()


def until(reached: Callable[[], bool], again: Callable[[], object]) -> None:
    """Do `again` until something is so."""
    while not reached():
        again()
        time.sleep(0.01)


def test_a_fresh_page_shows_the_run_at_work(app: AppContext) -> None:
    working = make_run(app.runs, "first")
    newest = make_run(app.runs, "second")
    assert first_choice(app, None) == max(working.name, newest.name)
    older = min(working, newest, key=lambda run: run.name)
    with older.lock():
        assert first_choice(app, None) == older.name
    assert first_choice(app, working.name) == working.name
    assert first_choice(app, "not-there") == max(working.name, newest.name)


def test_card_tells_the_end_and_escapes_it(app: AppContext) -> None:
    run = make_run(app.runs)
    write_events(run, until="tune")
    EventLog(run.events_path).append(events.Failed("tune", "<script>alert(1)</script>"))
    status = app.watch.status(run)
    card = run_card(run, status, app.watch.view(run))
    assert status == RunStatus.FAILED
    assert "&lt;script&gt;" in card and "<script>" not in card


def test_card_says_what_the_log_knows_of_a_worker_without_last_words(app: AppContext) -> None:
    run = make_run(app.runs)
    write_events(run, until="tune")
    page = run_card(run, RunStatus.DIED, app.watch.view(run))
    assert "without an error message" in page and "Resume continues" in page
    run.log_path.write_text("terminate called after throwing an instance of 'std::bad_alloc'\n")
    page = run_card(run, RunStatus.DIED, app.watch.view(run))
    assert "not enough memory" in page and "Resume continues" in page


def test_a_run_at_work_on_another_computer_says_where_and_can_only_be_asked(
    app: AppContext, tab: RunsTab
) -> None:
    run = make_run(app.runs)
    write_events(run, until="tune")
    with run.lock():
        move_elsewhere(run)
        updates, _ = look_at_runs(tab, app, run.name, NOTHING_DRAWN)
        assert "on <b>elsewhere</b>" in updates[tab.card]
        assert updates[tab.stop]["value"] == "Stop" and updates[tab.stop]["interactive"]
        run.request_stop()
        updates, _ = look_at_runs(tab, app, run.name, NOTHING_DRAWN)
        assert "with a checkpoint, on elsewhere." in updates[tab.card]
        assert "immediately" not in updates[tab.card] and not updates[tab.stop]["interactive"]


def test_a_run_out_of_the_queue_is_not_started(app: AppContext) -> None:
    run = make_run(app.runs)
    status = app.watch.status(run)
    assert status == RunStatus.QUEUED
    for page in (run_label(run, status), run_card(run, status, RunView())):
        assert "not started" in page and "queued" not in page
    turn = Turn(place=2, behind="another")
    assert run_label(run, status, place=2).endswith("waiting, place 2")
    assert "waiting, place 2" in run_card(run, status, RunView(), turn)


def test_progress_is_of_the_stage_at_work() -> None:
    begun = fold(RunView(), [events.RunStarted("r", 1, ("tune",)), events.StageStarted("tune")])
    assert done_share(begun) is None
    step = events.StepDone("tune", 5, 20, {"ce": 1.0}, 1e-5, 1.0, 2.0, 10)
    assert done_share(fold(begun, [step])) == 0.25
    progress = events.Progress("tune", "clips", 3, 4)
    assert done_share(fold(begun, [step, progress])) == 0.75


def test_scores_name_their_set_and_normalizer(app: AppContext) -> None:
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


def test_a_loss_and_a_penalty_do_not_share_an_axis(app: AppContext) -> None:
    run = make_run(app.runs)
    log = EventLog(run.events_path)
    log.append(events.RunStarted("r", 1, ("tune",)))
    log.append(events.StageStarted("tune"))
    for step in (1, 2):
        terms = {"cross_entropy": 1.0, "distillation": 0.4 * step, "group": 1e6 / step}
        log.append(events.StepDone("tune", step, 2, terms, 1e-5, 1.0, 2.0, 10))
    made = loss_figure(app.watch.view(run))
    assert made.layout.legend.yanchor == "top" and made.layout.legend.y < 0, "below the panels"
    axes = {trace.name: trace.yaxis for trace in made.data}
    assert axes == {"cross_entropy": "y", "distillation": "y", "group": "y2"}
    assert made.layout.yaxis.type == made.layout.yaxis2.type == "linear"


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
    row = LayerRow("k", "encoder", "heads", 0, link, 4, 10, (0,), (1,), None, 40, 10, 10)
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
    planned = read_planned(run)
    kept = {}
    for target in (0.0, 0.3, 0.6):
        another = tab_sparsity.moved_plan(app, run, planned, target)
        assert (another is None) == (target == 0.3)
        rows = layer_rows(planned, {}, another or planned.plan)
        left = sum(len(row.moved) * row.weights_per_unit for row in rows)
        gone = 1 - left / prunable_total(groups)
        # At most one unit too many; the heaviest weighs 2000.
        assert target <= gone + 1e-9 <= target + 2000 / prunable_total(groups) + 1e-9
        kept[target] = {row.key: set(row.moved) for row in rows}
    assert all(kept[0.6][key] <= kept[0.3][key] <= kept[0.0][key] for key in kept[0.0])


def test_drawings_show_units_of_run_and_slider(app: AppContext) -> None:
    run = make_run(app.runs)
    write_plan(run, make_groups(), 0.3)
    planned = read_planned(run)
    another = tab_sparsity.moved_plan(app, run, planned, 0.6)
    assert another is not None
    rows = layer_rows(planned, {}, another)
    page = tab_sparsity.drawings(planned, {}, another).table
    for row in rows:
        line = re.search(rf"{row.stack} {row.name}</td>(.*?)</tr>", page)
        assert line is not None
        numbers = [int(n) for n in re.findall(r">(\d+)</td>", line.group(1))]
        assert numbers == [row.count, len(row.kept), len(row.moved)]


def test_zeroed_weights_are_a_column_of_their_own(app: AppContext) -> None:
    run = make_run(app.runs)
    write_plan(run, make_groups(), 0.3)
    finish(run)
    planned = read_planned(run)
    rows = layer_rows(planned, app.zeroed_in(run), planned.plan)
    assert [row.zeroed for row in rows if row.key == "encoder.0.ffn"] == [0.25]


@pytest.mark.parametrize("spoil", ["plan.json", "groups.json"])
def test_a_damaged_run_is_explained(app: AppContext, spoil: str) -> None:
    run = make_run(app.runs)
    write_plan(run, make_groups())
    (run.path / spoil).write_text("{}" if spoil == "plan.json" else "nonsense")
    with pytest.raises(gr.Error, match=r"damaged|not a pruning plan"):
        for_people(read_planned)(run)


def test_without_readable_scores_the_slider_stays_still_and_says_why(tmp_path: Path) -> None:
    app = AppContext(RunWatch(tmp_path / "runs"))
    run = make_run(app.runs)
    write_plan(run, make_groups(), 0.3)
    run.mark_done("plan")
    run.scores_path.write_text("nonsense")
    slider = tab_sparsity.slider_for(app, run, read_planned(run))
    assert not slider["interactive"] and slider["value"] == 0.3
    assert "missing or damaged" in slider["info"]


def test_a_run_without_plan_is_not_offered(app: AppContext) -> None:
    make_run(app.runs, "young")
    grown = make_run(app.runs, "grown")
    write_plan(grown, make_groups())
    assert tab_sparsity.pruned_names(app) == [grown.name]


def _last_at(run: RunDir) -> float:
    return json.loads(run.events_path.read_text("utf-8").splitlines()[-1])["at"]
