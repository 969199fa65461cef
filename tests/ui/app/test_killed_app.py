"""An app that is killed with runs in its queue: the next one goes on with them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.browser.conftest import free_port
from tests.support.runs.kill_queue import (
    NAMES,
    check_ended,
    keeper_command,
    new_place,
    quick_command,
    start_all,
)
from tests.support.runs.light_runs import until
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process import queue
from whisperslim.ui.app.build import launch

APP = """
import sys
from pathlib import Path
from tests.support.runs.kill_queue import keeper_command
from whisperslim.jobs.process import child
from whisperslim.ui.app.build import launch
child.own_command = keeper_command
launch(Path(sys.argv[1]), port=int(sys.argv[2]))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One run at work, and three that wait for it without a keeper."""
    monkeypatch.setattr(process, "worker_command", quick_command)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "see_to", lambda runs: None)
        start_all(new_place(tmp_path))
    monkeypatch.setattr(process, "own_command", keeper_command)
    yield tmp_path
    (tmp_path / "go").touch()


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_next_app_goes_on_with_the_runs_that_waited(place: Path) -> None:
    runs, port = place / "runs", free_port()
    command = [sys.executable, "-c", APP, str(runs), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as app:
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        (keeper,) = psutil.Process(app.pid).children()
        app.kill()
        keeper.kill()
    assert queue.waiting(runs) == NAMES[1:]
    blocks = launch(runs, port=free_port(), block=False)
    (place / "go").touch()
    check_ended(place)
    blocks.close()
