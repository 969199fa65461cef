"""Requests made up after the app's own addresses and bodies: refusals and words, never an error.

`make fuzz` sends many more than the tests do.
"""

import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.app.served import log_of_the_app, serve
from tests.support.runs.fake_runs import make_run
from tests.ui.guard.test_hostile import NASTY, VALUES

API = "/gradio_api"
CASES = int(os.environ.get("WHISPERSLIM_FUZZ", "200"))
ENDS = ("process_completed", "process_generating", "close_stream", "unexpected_error")
FINITE = VALUES.filter(lambda value: "NaN" not in json.dumps(value)).filter(
    lambda value: "Infinity" not in json.dumps(value)
)
NAMES = st.text(max_size=20) | NASTY | st.sampled_from(["s", "a-b_c", "0" * 64, "0" * 65])
NUMBERS = st.integers(-3, 130) | st.sampled_from([2**31, 2**53, -(2**63), 1.5, True, "1", None])
FIELDS = {
    "data": st.lists(FINITE, max_size=40) | FINITE,
    "fn_index": NUMBERS | FINITE,
    "session_hash": NAMES | FINITE,
    "trigger_id": NUMBERS | FINITE,
    "event_data": FINITE,
    "event_id": NAMES | FINITE,
    "component_id": st.integers(0, 700) | NUMBERS | FINITE,
    "fn_name": st.sampled_from(["begin", "feed", "end", "preprocess", "__init__"]) | NAMES,
    "batched": FINITE,
    "simple_format": FINITE,
}
BODIES = st.fixed_dictionaries({}, optional=FIELDS)
POSTS = st.sampled_from(
    [f"{API}/queue/join", f"{API}/run/predict", f"{API}/component_server", f"{API}/cancel",
     f"{API}/reset", f"{API}/upload", "/login", "/login/", f"{API}/component_server/"]
)  # fmt: skip
GETS = st.sampled_from(
    ["/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/logout",
     "/pwa_icon", "/pwa_icon/{}", "/static/{}", "/assets/{}", "/svelte/{}", f"{API}/info",
     f"{API}/app_id", f"{API}/user", f"{API}/login_check", f"{API}/startup-events",
     f"{API}/upload_progress?upload_id={{}}", f"{API}/queue/data?session_hash={{}}",
     f"{API}/queue/status", f"{API}/file={{}}", "/config?deep_link={}", "/?deep_link={}",
     "/config?page={}", f"{API}/info?all_endpoints={{}}", "/{}", f"{API}/{{}}"]
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(
        ["origin", "range", "host", "cookie", "content-type", "accept-encoding", "if-none-match",
         "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server",
         "sec-fetch-site", "expect", "upgrade", "connection"]
    ),
    st.sampled_from(
        ["", "[", "http://[", "http://a:b", "null", "bytes=0-1", "bytes=9-1", "bytes=--",
         "127.0.0.1", "a=b; c", "multipart/form-data", "multipart/form-data; boundary=", "gzip;q=x",
         "https", "*/*", "websocket", "cross-site", "100-continue", "x" * 5000]
    ) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30),
    max_size=3,
)  # fmt: skip
PARTS = st.lists(
    st.tuples(
        st.sampled_from(["files", "file", "", "data"]),
        st.none() | NASTY | st.text(max_size=20),
        st.binary(max_size=50),
    ),
    max_size=4,
)


@dataclass(frozen=True)
class Open:
    """The app, and the events that wait their turn."""

    client: httpx.Client
    blocks: gr.Blocks


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("fuzzed")
    make_run(folder / "runs")
    # Each case uploads from the same address, and there are more than may be in an hour.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("whisperslim.ui.guard.room.FILES_OF_ONE", 10**6)
        patch.setattr("whisperslim.ui.guard.room.KEPT_FILES", 10**6)
        blocks, address = serve(folder)
        with httpx.Client(base_url=address, timeout=60) as client:
            yield Open(client, blocks)
        blocks.close()


many = settings(
    max_examples=CASES // 4,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def send(app: Open, method: str, path: str, **more: Any) -> httpx.Response | None:
    """The answer, read to its end or to the first event of a stream; None: httpx sends no such."""
    try:
        with log_of_the_app() as log:
            with app.client.stream(method, path, **more) as answer:
                if "event-stream" in answer.headers.get("content-type", ""):
                    for line in answer.iter_lines():
                        if any(f'"{end}"' in line for end in ENDS):
                            break
                else:
                    answer.read()
            if answer.status_code == 200 and path.endswith("queue/join"):
                _await_event(app, more["json"]["session_hash"])
    except (httpx.LocalProtocolError, httpx.InvalidURL, UnicodeEncodeError):
        return None
    except httpx.RemoteProtocolError:
        pass  # a connection that the app closed
    assert "Traceback" not in log.getvalue(), log.getvalue()
    assert app.client.get("/", timeout=60).status_code == 200
    return answer


def _await_event(app: Open, session: str) -> None:
    said = {"session_hash": session}
    with app.client.stream("GET", f"{API}/queue/data", params=said) as stream:
        for line in stream.iter_lines():
            if any(f'"{end}"' in line for end in ENDS):
                return


@many
@given(POSTS, BODIES)
def test_bodies_of_the_wrong_shape(app: Open, path: str, body: dict[str, Any]) -> None:
    answer = send(app, "POST", path, json=body)
    assert answer is None or answer.status_code < 500


@many
@given(st.integers(0, 10**6), st.lists(FINITE | NASTY, min_size=1, max_size=12), st.data())
def test_events_with_values_of_the_wrong_kind(
    app: Open, which: int, values: list[Any], more: st.DataObject
) -> None:
    queued = [each for each in app.blocks.fns.values() if each.queue is not False]
    function = queued[which % len(queued)]
    count = max(0, len(function.inputs) + more.draw(st.sampled_from([0, 0, 0, 0, -1, 1])))
    body = {"data": (values * (count + 1))[:count], "fn_index": function._id, "trigger_id": None,
            "session_hash": secrets.token_hex(8)}  # fmt: skip
    answer = send(app, "POST", f"{API}/queue/join", json=body)
    assert answer is None or answer.status_code < 500


@many
@given(GETS, NASTY | st.text(max_size=20), HEADERS, st.sampled_from(["GET", "HEAD", "OPTIONS"]))
def test_addresses_and_headers(
    app: Open, path: str, value: str, headers: dict[str, str], method: str
) -> None:
    answer = send(app, method, path.replace("{}", value), headers=headers)
    assert answer is None or answer.status_code < 500


@many
@given(PARTS, st.sampled_from(["", "?upload_id=a", "?upload_id=" + "a" * 5000]), st.booleans())
def test_uploads(
    app: Open, parts: list[tuple[str, str | None, bytes]], query: str, cut: bool
) -> None:
    body = b""
    for name, file, content in parts:
        said = f'form-data; name="{name}"' + ("" if file is None else f'; filename="{file}"')
        body += b"--x\r\nContent-Disposition: " + said.encode() + b"\r\n\r\n" + content + b"\r\n"
    body += b"--x" if cut else b"--x--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = send(app, "POST", f"{API}/upload{query}", content=body, headers=kind)
    assert answer is None or answer.status_code < 500
    for kept in answer.json() if answer is not None and answer.status_code == 200 else []:
        assert Path(kept).resolve().is_relative_to(Path(os.environ["GRADIO_TEMP_DIR"]).resolve())
