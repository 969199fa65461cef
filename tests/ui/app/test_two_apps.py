"""Two apps, each a process of its own, on one folder of runs: none is begun twice, none is lost."""

import itertools
import json
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.conftest import free_port
from tests.support.runs.light_runs import until
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process import queue
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs

API = "/gradio_api"
PEOPLE = 3  # at each app
AT_REST = {RunStatus.STOPPED, RunStatus.DIED, RunStatus.QUEUED}
# The command line with workers that only wait to be stopped, and note when they were at work.
COMMAND = """
import sys
from whisperslim.cli import main
from whisperslim.jobs.process import child
WORKER = '''
import json, sys, time
from pathlib import Path
from whisperslim.events import RunStarted, Stopped
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir
run = RunDir(Path(sys.argv[1]))
with run.lock():
    began = time.monotonic()
    EventLog(run.events_path).append(RunStarted("r", 1, ("tune",)))
    while not run.stop_requested():
        time.sleep(0.02)
    EventLog(run.events_path).append(Stopped("tune", 3))
    with (run.path.parent.parent / "worked").open("a") as file:
        file.write(json.dumps([began, time.monotonic()]) + chr(10))
'''
child.worker_command = lambda run: [sys.executable, "-c", WORKER, str(run.path)]
child.own_command = lambda *given: [sys.executable, sys.argv[0], *given]
main()
"""


@dataclass(frozen=True)
class App:
    """The address of an app, and what its page is made of."""

    address: str
    page: dict[str, Any]


@dataclass
class Person:
    """Somebody with a page of their own before one of the apps."""

    app: App
    session: str = field(default_factory=lambda: secrets.token_hex(8))

    def press(self, button: str) -> str:
        """Press a button of the page as it comes; all that the page is sent."""
        (number,) = (each["id"] for each in self.app.page["components"] if _elem_id(each) == button)
        return self._send(
            next(each for each in self._events() if [number, "click"] in each["targets"])
        )

    def arrive(self) -> str:
        """Open the page: it chooses the run that is running, else the newest."""
        (listed,) = (each["id"] for each in self.app.page["components"] if _elem_id(each) == "runs")
        loads = (each for each in self._events() if "load" in [on for _, on in each["targets"]])
        return self._send(next(each for each in loads if listed in each["outputs"]))

    def _events(self) -> list[dict[str, Any]]:
        return [each for each in self.app.page["dependencies"] if each["backend_fn"]]

    def _send(self, event: dict[str, Any]) -> str:
        shown = {each["id"]: each["props"].get("value") for each in self.app.page["components"]}
        body = {
            "data": [shown.get(each) for each in event["inputs"]],
            "fn_index": event["id"],
            "session_hash": self.session,
            "trigger_id": event["targets"][0][0],
        }
        with httpx.Client(base_url=self.app.address, timeout=300) as client:
            joined = client.post(f"{API}/queue/join", json=body)
            assert joined.status_code == 200, joined.text
            return client.get(f"{API}/queue/data", params={"session_hash": self.session}).text


def _elem_id(component: dict[str, Any]) -> str | None:
    return component["props"].get("elem_id")


def succeeded(said: str) -> bool:
    return '"success":true' in said.replace(" ", "")


@contextmanager
def an_app(command: Path, runs: Path) -> Iterator[App]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    asked = [sys.executable, str(command), "ui", "--port", str(port), "--runs", str(runs)]
    with subprocess.Popen(asked, stdout=subprocess.DEVNULL) as app:
        try:
            until(lambda: _answers(address))
            yield App(address, httpx.get(f"{address}/config", timeout=300).json())
        finally:
            app.terminate()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=60).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def apps(tmp_path: Path) -> Iterator[list[App]]:
    command, runs = tmp_path / "command.py", tmp_path / "runs"
    command.write_text(COMMAND)
    with ExitStack() as stack:
        yield [stack.enter_context(an_app(command, runs)) for _ in range(2)]
        for run in list_runs(runs):
            if process.is_alive(run):
                process.stop(run, force=True)


def times_begun(run: RunDir) -> int:
    return Counter(event.kind for event in read_events(run.events_path)[0])["run_started"]


def test_two_apps_on_one_folder(apps: list[App], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    people = [Person(app) for app in apps for _ in range(PEOPLE)]
    with ThreadPoolExecutor(len(people)) as crowd:
        # All start at once, three at each app: one runs, and the others have a place each.
        assert all(map(succeeded, crowd.map(lambda each: each.press("start"), people)))
        found = list_runs(runs)
        assert len(found) == len(people)
        (first,) = (run for run in found if process.is_alive(run))
        waiting = queue.waiting(runs)
        assert sorted([first.name, *waiting]) == sorted(run.name for run in found)

        # It is stopped from the one app or the other: the next in the order begins, by itself.
        newcomer = Person(apps[1])
        newcomer.arrive()
        assert succeeded(newcomer.press("run-stop"))
        second = RunDir(runs / waiting[0])
        until(lambda: process.is_alive(second))
        until(lambda: queue.waiting(runs) == waiting[1:])

        # Everybody stops their own run at once, and again where it was just being begun.
        def at_rest() -> bool:
            list(crowd.map(lambda each: each.press("stop"), people))
            alive = any(process.is_alive(run) or process.is_begun(run) for run in found)
            return not alive and not queue.waiting(runs)

        until(at_rest)
        assert {run.status() for run in found} <= AT_REST
        assert times_begun(first) == times_begun(second) == 1
        assert all(times_begun(run) <= 1 for run in found)

        # The newest is resumed from both apps at once: one of them begins it.
        newest = list_runs(runs)[0]
        before = times_begun(newest)
        both = [Person(app) for app in apps]
        for each in both:
            each.arrive()
        said = list(crowd.map(lambda each: each.press("run-continue"), both))
        assert sorted(map(succeeded, said)) == [False, True]
        until(lambda: process.is_alive(newest))
        assert times_begun(newest) == before + 1
        assert succeeded(both[1].press("run-stop"))
        until(lambda: not process.is_alive(newest))
    assert json.loads((runs / ".queue" / "order.json").read_text()) == []
    assert not list((runs / ".queue").glob(".*")), "nothing half written is left"
    lines = (tmp_path / "worked").read_text().splitlines()
    for (_, ended), (begun, _) in itertools.pairwise(sorted(map(json.loads, lines))):
        assert ended <= begun, "two were at work on one device"
