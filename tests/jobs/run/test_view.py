"""The folded view of a run: what a reader sees after any prefix of the events."""

import math
from dataclasses import replace

import pytest

from whisperslim import events
from whisperslim.events import Event
from whisperslim.jobs.run.view import MOST_NOTICES, MOST_POINTS, RunView, Series, fold

STARTED = events.RunStarted("demo", 42, ("data", "tune", "evaluate"))


def step(number: int, total: int = 100, value: float = 1.0) -> events.StepDone:
    return events.StepDone("tune", number, total, {"ce": value, "kl": 2.0}, 1e-5, 0.1, 0.5, 7)


def score(label: str, wer: float, step: int = 0, at: float = 0.0) -> events.Evaluated:
    return events.Evaluated("evaluate", label, "x#test", step, 5, 1.0, wer, 0.1, "n", "fit", at=at)


def view_of(*found: Event) -> RunView:
    return fold(RunView(), found)


def statuses(view: RunView) -> list[str]:
    return [stage.status for stage in view.stages]


def test_before_any_event_a_run_is_queued() -> None:
    assert RunView().state == "queued" and RunView().stage == ""


def test_stages_go_from_waiting_through_running_to_done() -> None:
    view = view_of(STARTED)
    assert (view.state, view.name, view.pid) == ("running", "demo", 42)
    assert statuses(view) == ["waiting"] * 3
    view = fold(view, [events.StageStarted("data")])
    assert view.stage == "data" and statuses(view)[0] == "running"
    view = fold(view, [events.StageFinished("data", 2.5), events.StageStarted("tune")])
    assert statuses(view) == ["done", "running", "waiting"]
    assert view.stages[0].seconds == 2.5


@pytest.mark.parametrize(
    ("ending", "state", "stage"),
    [
        (events.Stopped("tune", 3), "stopped", "stopped"),
        (events.Failed("tune", "no disk"), "failed", "failed"),
    ],
)
def test_endings_mark_the_stage_they_happen_in(ending: Event, state: str, stage: str) -> None:
    view = view_of(STARTED, events.StageStarted("tune"), step(3), ending)
    assert view.state == state and statuses(view)[1] == stage
    assert view.eta_seconds is None and view.stage == ""


def test_a_resumed_run_forgets_the_error_and_keeps_what_is_done() -> None:
    view = view_of(
        STARTED,
        events.StageFinished("data", 1.0),
        events.StageStarted("tune"),
        events.Failed("tune", "no disk"),
        STARTED,
        events.StageFinished("data", 0.0, skipped=True),
        events.StageStarted("tune"),
    )
    assert view.error is None and view.state == "running"
    assert statuses(view) == ["skipped", "running", "waiting"]


def timed(event: Event, at: float) -> Event:
    return replace(event, at=at)


@pytest.mark.parametrize("ending", [events.Stopped("tune", 3), events.Failed("tune", "?"), None])
def test_the_times_of_all_attempts_count(ending: Event | None) -> None:
    broken_off = [timed(ending, 40.0)] if ending is not None else [timed(step(3), 40.0)]
    view = view_of(
        timed(STARTED, 0.0),
        timed(events.StageFinished("data", 10.0), 10.0),
        timed(events.StageStarted("tune"), 10.0),
        *broken_off,  # after 30 s; one that is killed has no more to say
        timed(STARTED, 1000.0),
        timed(events.StageFinished("data", 0.0, skipped=True), 1000.0),
        timed(events.StageStarted("tune"), 1000.0),
        timed(events.StageFinished("tune", 5.0), 1005.0),
        timed(events.Finished(5.0, "/r/slim"), 1006.0),
    )
    assert [stage.seconds for stage in view.stages[:2]] == [10.0, 35.0]
    assert view.seconds == 45.0


def test_finished() -> None:
    view = view_of(STARTED, events.Finished(12.0, "/r/slim"))
    assert (view.state, view.seconds, view.slim) == ("finished", 12.0, "/r/slim")


def test_losses_become_curves_by_stage_and_term() -> None:
    view = view_of(step(1, value=3.0), step(2, value=2.0))
    assert set(view.losses) == {"tune/ce", "tune/kl"}
    assert view.losses["tune/ce"].steps == (1, 2)
    assert view.losses["tune/ce"].values == (3.0, 2.0)


def test_steps_done_again_after_a_resume_replace_the_lost_ones() -> None:
    view = view_of(*(step(n, value=1.0) for n in (1, 2, 3, 4)), step(3, value=9.0))
    assert view.losses["tune/ce"].steps == (1, 2, 3)
    assert view.losses["tune/ce"].values == (1.0, 1.0, 9.0)


@pytest.mark.parametrize("count", [999, 1000, 1001, 2001, 5000])
def test_long_curves_are_thinned_evenly(count: int) -> None:
    series = Series()
    for number in range(count):
        series = series.with_point(number, float(number))
    stride = 2 ** max(0, math.ceil(math.log2(count / MOST_POINTS)))
    assert series.steps == tuple(range(0, count, stride))
    assert series.values == tuple(float(n) for n in series.steps)
    assert MOST_POINTS / 2 <= len(series.steps) <= MOST_POINTS


def test_time_left_of_training_is_steps_left_times_seconds_per_step() -> None:
    assert view_of(step(40, total=100)).eta_seconds == 60 * 0.5


def test_time_left_of_other_work_follows_its_rate() -> None:
    def progress(done: int, at: float, what: str = "clips") -> events.Progress:
        return events.Progress("data", what, done, 50, at=at)

    view = view_of(progress(0, 100.0))
    assert view.eta_seconds is None
    view = fold(view, [progress(10, 105.0)])
    assert view.eta_seconds == 40 * 0.5
    view = fold(view, [progress(1, 106.0, "files")])
    assert view.eta_seconds is None and view.progress and view.progress.what == "files"


def test_scores_are_kept_by_model_and_set() -> None:
    view = view_of(score("dense", 0.3, at=1.0), score("slim", 0.4, at=2.0))
    dense, slim = view.latest("dense"), view.latest("slim")
    assert dense and slim and (dense.wer, slim.wer) == (0.3, 0.4)
    assert view.latest("masked") is None


def test_a_score_measured_again_replaces_the_old_one() -> None:
    view = view_of(score("dev", 0.5, 10), score("dev", 0.4, 20), score("dev", 0.3, 20))
    assert [found.wer for found in view.evaluations["evaluate/dev/x#test"]] == [0.5, 0.3]


def test_the_rest_is_kept_as_it_came() -> None:
    sparsity = events.SparsityMeasured("tune", 5, {"g": 0.5}, {"g": 0.1})
    plan = events.Planned(0.3, 0.1, 0.3, 0.1)
    saved = events.CheckpointSaved("tune", 5, "/c")
    view = view_of(sparsity, plan, saved, events.Notice("cpu"))
    assert (view.sparsity, view.plan, view.checkpoint) == (sparsity, plan, saved)
    assert view.notices == ("cpu",) and view.updated_at is not None


def test_notices_do_not_grow_without_end() -> None:
    view = view_of(*(events.Notice(str(n)) for n in range(MOST_NOTICES + 5)))
    assert view.notices == tuple(str(n) for n in range(5, MOST_NOTICES + 5))


def test_folding_in_parts_is_folding_at_once() -> None:
    found = [STARTED, events.StageStarted("tune"), *(step(n) for n in range(1, 30))]
    found += [score("dense", 0.2), events.Finished(1.0, "s")]
    for cut in range(len(found)):
        assert fold(fold(RunView(), found[:cut]), found[cut:]) == view_of(*found)
