"""Apps and keepers that are killed, and two of each: every run is at work once, and none is lost.

`make kills` tries every call of the queue's.
"""

import os
import threading
from pathlib import Path

import pytest

from tests.support.runs.kill_queue import (
    NAMES,
    calls_of_a_queue,
    check_ended,
    kill_queue_at,
    new_place,
    quick_command,
    start_all,
)
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process import queue

KILLS = max(2, int(os.environ.get("WHISPERSLIM_KILL_CALLS", "10")) // 4)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "worker_command", quick_command)
    monkeypatch.setattr(queue, "see_to", lambda runs: None)
    monkeypatch.setattr(queue, "_POLL_SECONDS", 0.1)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    place = tmp_path_factory.mktemp("undisturbed")
    new_place(place)
    found = calls_of_a_queue(place)
    check_ended(place)
    return found


def test_the_calls_of_a_queue_are_seen(calls: list[str]) -> None:
    assert calls.count("a worker was begun") == len(NAMES)
    written = [call for call in calls if call.startswith("os.rename .queue/.order.json-")]
    assert len(written) == 2 * (len(NAMES) - 1)  # each but the first waits, and is begun


@pytest.mark.parametrize("turn", range(KILLS))
def test_killed_at_a_call_of_the_queue(calls: list[str], tmp_path: Path, turn: int) -> None:
    number = 1 + (2 * turn + 1) * len(calls) // (2 * KILLS)
    runs = new_place(tmp_path)
    assert kill_queue_at(tmp_path, number) in (-9, 0), calls[number - 1]
    # The next app: who pressed a button and had no answer presses it again.
    start_all(runs)
    (tmp_path / "go").touch()
    queue.keep(runs)
    check_ended(tmp_path)


def test_two_apps_and_two_keepers_begin_each_run_once(tmp_path: Path) -> None:
    runs = new_place(tmp_path)
    (tmp_path / "go").touch()

    def be_an_app() -> None:
        start_all(runs)
        queue.keep(runs)

    apps = [threading.Thread(target=be_an_app) for _ in range(2)]
    for app in apps:
        app.start()
    for app in apps:
        app.join(120)
    queue.keep(runs)  # what came after both had gone
    check_ended(tmp_path)
