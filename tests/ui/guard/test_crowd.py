"""Thirty people who press buttons at once: each gets an answer, and no run is lost or twice."""

import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from tests.browser.conftest import free_port
from tests.support.app.served import log_of_the_app
from tests.support.runs.light_runs import patient_command, until
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process import queue
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs
from whisperslim.ui.app.build import launch
from whisperslim.ui.context.limits import MOST_RUNS

API = "/gradio_api"
PEOPLE = 30


@dataclass(frozen=True)
class Open:
    """The app with its own queue, whose workers only wait to be stopped."""

    blocks: gr.Blocks
    address: str
    runs: Path


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    runs = tmp_path / "runs"
    monkeypatch.setattr(process, "worker_command", patient_command)
    monkeypatch.setattr(queue, "see_to", lambda runs: None)
    port = free_port()
    blocks = launch(runs, port=port, block=False)
    yield Open(blocks, f"http://127.0.0.1:{port}", runs)
    blocks.close()
    for run in list_runs(runs):
        if process.is_alive(run):
            process.stop(run, force=True)


def press(app: Open, client: httpx.Client, button: str, session: str) -> str:
    """Press a button of a page as it comes; all that the page is sent."""
    named = [each._id for each in app.blocks.blocks.values() if _name_of(each) == button]
    event = next(
        each
        for each in app.blocks.fns.values()
        if each.fn is not None and (named[0], "click") in each.targets
    )
    data = [getattr(each, "value", None) for each in event.inputs]
    body = {"data": data, "fn_index": event._id, "session_hash": session, "trigger_id": named[0]}
    joined = client.post(f"{API}/queue/join", json=json.loads(json.dumps(body, default=str)))
    assert joined.status_code == 200, joined.text
    answer = client.get(f"{API}/queue/data", params={"session_hash": session})
    assert answer.status_code == 200
    return answer.text


def _name_of(block: Any) -> str | None:
    return getattr(block, "elem_id", None)


def times_begun(run: RunDir) -> int:
    return Counter(event.kind for event in read_events(run.events_path)[0])["run_started"]


def test_thirty_people_start_and_stop_at_once(app: Open) -> None:
    def start_and_stop(session: str) -> tuple[str, str, str]:
        with httpx.Client(base_url=app.address, timeout=300) as client:
            started = press(app, client, "start", session)
            all_started.wait(300)
            return (
                started,
                press(app, client, "stop", session),
                press(app, client, "compare", session),
            )

    all_started = threading.Barrier(PEOPLE)
    with log_of_the_app() as log, ThreadPoolExecutor(PEOPLE) as crowd:
        said = list(crowd.map(start_and_stop, (secrets.token_hex(8) for _ in range(PEOPLE))))
    assert "Traceback" not in log.getvalue()
    runs = list_runs(app.runs)
    assert len(runs) == MOST_RUNS
    begun = [text for text, _, _ in said if '"success": true' in text or '"success":true' in text]
    refused = [text for text, _, _ in said if f"up to {MOST_RUNS} may" in text]
    assert (len(begun), len(refused)) == (MOST_RUNS, PEOPLE - MOST_RUNS)
    for _, stopped, compared in said:
        assert "process_completed" in stopped and "process_completed" in compared
    until(lambda: not any(process.is_alive(run) for run in runs))
    assert queue.waiting(app.runs) == ()
    # The first of them was at work; the others left the queue, or never came to its front.
    statuses = Counter(run.status() for run in runs)
    assert statuses == {RunStatus.STOPPED: 1, RunStatus.QUEUED: MOST_RUNS - 1}
    assert sum(map(times_begun, runs)) == 1
