"""Several runs in one terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.runs.light_runs import light_run
from whisperslim import events
from whisperslim.jobs.grid.console import ManyRuns
from whisperslim.jobs.run.folder import RunDir


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunDir, RunDir]:
    return light_run(tmp_path, "first"), light_run(tmp_path, "second")


def step(number: int) -> events.StepDone:
    return events.StepDone("tune", number, 30, {"loss": 1.0}, 1e-3, 1.0, 0.1, 0)


def test_a_log_has_a_line_for_each_stage_and_end_with_the_runs_name(
    runs: tuple[RunDir, RunDir],
) -> None:
    first, second = runs
    out = io.StringIO()
    with ManyRuns(Console(file=out), {first: "at-0.2"}).shown() as view:
        view(first, events.RunStarted("r", 1, ("tune",)))
        view(first, events.StageStarted("tune"))
        view(second, events.StageStarted("plan"))
        view(first, step(3))
        view(second, events.Failed("plan", "no [data]"))
        view(first, events.Finished(2.0, ""))
    assert out.getvalue().splitlines() == [
        "at-0.2: at work",
        "at-0.2: tune ...",
        "second: plan ...",
        "second: failed in plan: no [data]",
        "at-0.2: finished in 2.0 s",
    ]


def test_the_computer_that_works_is_named(runs: tuple[RunDir, RunDir]) -> None:
    out = io.StringIO()
    view = ManyRuns(Console(file=out))
    with runs[0].lock():
        view(runs[0], events.RunStarted("r", 1, ("tune",)))
        assert out.getvalue() == f"first: at work on {runs[0].worker_machine()}\n"


def test_a_terminal_has_a_bar_for_each_run_at_work(runs: tuple[RunDir, RunDir]) -> None:
    first, second = runs
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    with ManyRuns(console).shown() as view:
        view(first, events.StageStarted("tune"))
        view(second, events.StageStarted("plan"))
        view(first, step(3))
        view(second, events.Stopped("plan", 0))
        console.file.flush()
    drawn = out.getvalue()
    assert "first tune" in drawn and "second plan" in drawn
    assert "second: stopped in plan at step 0" in drawn
