"""How many runs may be at work or waiting at once, whichever button begins one."""

from pathlib import Path

import gradio as gr
import pytest

from tests.support.runs.fake_runs import make_run, write_events
from whisperslim.errors import UsageError
from whisperslim.jobs.process import background
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.ui.app.build import build
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.limits import MOST_COMMANDS, MOST_RUNS, check_commands, check_runs
from whisperslim.ui.context.run_watch import MOST_LISTED, RunWatch


def test_resume_begins_no_run_beyond_the_most(tmp_path: Path) -> None:
    started: list[str] = []

    def start(run: RunDir) -> int:
        started.append(run.name)
        return 1

    app = AppContext(RunWatch(tmp_path / "runs"), start)
    ended = make_run(app.runs)
    write_events(ended, until="tune")
    waiting = [make_run(app.runs) for _ in range(MOST_RUNS)]
    assert app.watch.status(ended) == RunStatus.DIED
    blocks = build(app.runs, context=app)
    (proceed,) = [each.fn for each in blocks.fns.values() if each.name == "proceed"]
    with pytest.raises(gr.Error, match="20 runs are active or waiting"):
        proceed(ended.name)
    proceed(waiting[0].name)  # has its place already
    write_events(waiting[1], until="tune")
    proceed(ended.name)
    assert started == [waiting[0].name, ended.name]


def test_runs_that_the_page_does_not_list_count(tmp_path: Path) -> None:
    app = AppContext(RunWatch(tmp_path / "runs"))
    for _ in range(MOST_RUNS):
        make_run(app.runs)
    for _ in range(MOST_LISTED):
        write_events(make_run(app.runs), until="tune")
    with pytest.raises(UsageError, match="20 runs"):
        check_runs(app)


def test_no_third_prediction_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = AppContext(RunWatch(tmp_path / "runs"))
    busy = {make_run(app.runs).name}
    make_run(app.runs)

    def look(run: RunDir, name: str) -> background.Background:
        return background.Background(running=run.name in busy and name == "predict")

    monkeypatch.setattr(background, "look", look)
    check_commands(app, "predict", "sweep")
    busy.add(make_run(app.runs).name)
    with pytest.raises(UsageError, match=f"up to {MOST_COMMANDS} may at once"):
        check_commands(app, "predict", "sweep")
    check_commands(app, "export")
