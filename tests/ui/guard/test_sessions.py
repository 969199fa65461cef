"""What one page asks is no other page's business: its answers, and whether it goes on."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr
import httpx
import pytest
from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState

from tests.support.app.served import serve
from tests.support.runs.fake_runs import make_run

API = "/gradio_api"


@dataclass(frozen=True)
class Open:
    """The app, and an event of it that takes nothing."""

    blocks: gr.Blocks
    client: httpx.Client
    event: int


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("sessions")
    make_run(folder / "runs")
    blocks, address = serve(folder)
    with httpx.Client(base_url=address, timeout=60) as client:
        yield Open(blocks, client, event_without_inputs(blocks))
    blocks.close()


def event_without_inputs(blocks: gr.Blocks) -> int:
    asked = (each for each in blocks.fns.values() if each.queue is not False and not each.inputs)
    return next(each._id for each in asked if each.fn is not None)


def join(app: Open, session: str) -> str:
    """Ask for the event; its name."""
    body = {"data": [], "fn_index": app.event, "session_hash": session, "trigger_id": None}
    answer = app.client.post(f"{API}/queue/join", json=body)
    assert answer.status_code == 200
    return str(answer.json()["event_id"])


def stream(app: Open, session: str) -> str:
    """All that a session is sent."""
    asked = {"session_hash": session}
    return app.client.get(f"{API}/queue/data", params=asked).text


def cancel(app: Open, session: str, event: str) -> int:
    body = {"session_hash": session, "event_id": event, "fn_index": app.event}
    return app.client.post(f"{API}/cancel", json=body).status_code


def test_a_session_reads_and_cancels_its_own_events_alone(app: Open) -> None:
    mine, other = secrets.token_hex(8), secrets.token_hex(8)
    event, theirs = join(app, mine), join(app, other)
    assert cancel(app, other, event) == 404
    assert cancel(app, secrets.token_hex(8), event) == 404
    seen = stream(app, other)
    assert theirs in seen and event not in seen
    seen = stream(app, mine)
    assert event in seen and '"process_completed"' in seen and theirs not in seen


def test_a_session_that_is_not_there_has_no_stream(app: Open) -> None:
    event = join(app, mine := secrets.token_hex(8))
    assert event not in stream(app, secrets.token_hex(8))
    assert event in stream(app, mine)


def test_an_event_is_cancelled_by_its_own_session(app: Open) -> None:
    event = join(app, mine := secrets.token_hex(8))
    assert cancel(app, mine, event) == 200
    assert event in stream(app, mine)


def test_a_session_has_the_descriptions_that_gradio_gives(app: Open) -> None:
    first, second = SessionState(app.blocks), SessionState(app.blocks)
    for number, block in app.blocks.blocks.items():
        described = BlocksConfig.config_for_block(number, [], block)
        assert first.config_values[number] == second.config_values[number] == described
    changed = next(
        number for number, block in app.blocks.blocks.items() if isinstance(block, gr.Textbox)
    )
    before = second.config_values[changed]["props"].get("value")
    first._update_value_in_config(changed, "of the first session")
    assert first.config_values[changed]["props"]["value"] == "of the first session"
    for other in (second, SessionState(app.blocks)):
        assert other.config_values[changed]["props"].get("value") == before


def test_a_further_session_describes_nothing(app: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done in the thread that answers all requests, and takes as long as a page has parts."""
    SessionState(app.blocks)
    refused = staticmethod(lambda *given: pytest.fail("a component was described again"))
    monkeypatch.setattr(BlocksConfig, "config_for_block", refused)
    assert SessionState(app.blocks).config_values.keys() == app.blocks.blocks.keys()
