"""An app with one finished run, whose engines only remember what they were asked to hear."""

from pathlib import Path

import pytest

from tests.support.runs.fake_runs import finish, make_run, write_events
from tests.ui.compare.test_compare import Listener
from whisperslim.jobs.run.folder import RunDir
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def app(tmp_path: Path, listener: Listener) -> AppContext:
    return AppContext(RunWatch(tmp_path / "runs"), listening=listener)  # type: ignore[arg-type]


@pytest.fixture
def run(app: AppContext) -> RunDir:
    made = make_run(app.runs)
    write_events(made)
    finish(made)
    return made
