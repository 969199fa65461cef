"""Every address of the app, asked directly as no browser would: words, or a plain refusal."""

import json
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from whisperslim.ui.guard.access import Access, Login
from whisperslim.ui.parts.demo_clips import CLIPS_FOLDER

API = "/gradio_api"
SECRET = "correct horse battery"
ENDS = ("process_completed", "process_generating", "close_stream")


@dataclass(frozen=True)
class Open:
    """The app as it runs here, and the computers that it asked for anything."""

    client: httpx.Client
    blocks: gr.Blocks
    runs: Path
    asked: list[Any] = field(default_factory=list)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("open")
    make_run(folder / "runs")
    blocks, address = serve(folder, Access())
    asked: list[Any] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, to: Any) -> None:
        if isinstance(to, tuple) and to[0] not in ("127.0.0.1", "::1", "localhost"):
            asked.append(to)
            raise OSError("tests ask nobody")
        connect(self, to)

    with (
        pytest.MonkeyPatch.context() as patch,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        patch.setattr(socket.socket, "connect", watched)
        yield Open(client, blocks, folder / "runs", asked)
    blocks.close()


def call(app: Open, number: int, data: list[Any]) -> str:
    """All that the app says to one event."""
    # One of its own each time: the end of a stream takes the session's waiting events with it.
    session = secrets.token_hex(8)
    body = {"data": data, "fn_index": number, "session_hash": session, "trigger_id": None}
    joined = app.client.post(f"{API}/queue/join", json=body)
    assert joined.status_code < 500, joined.text
    if joined.status_code != 200:
        return joined.text
    said = ""
    with app.client.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as answer:
        for line in answer.iter_lines():
            said += line
            # A watching event goes on as long as its page: its first answer is enough.
            if any(f'"{end}"' in line for end in ENDS):
                break
    return said


def check_answer(app: Open, said: str) -> None:
    for inside in ("Traceback (", "site-packages", 'File \\"', "root:x:0", "TypeError", "KeyError"):
        assert inside not in said
    assert app.client.get(f"{API}/user").status_code == 200, "the app must live on"
    assert app.asked == []


def queued(app: Open) -> list[Any]:
    return [function for function in app.blocks.fns.values() if function.queue is not False]


def test_every_event_answers_bad_values_in_words(app: Open) -> None:
    before = sorted(path.name for path in app.runs.parent.iterdir())
    bad: list[Any] = [None, {"path": "/etc/passwd", "x": ["<script>"]}]
    for function in queued(app):
        count = len(function.inputs)
        check_answer(app, " ".join(call(app, function._id, [value] * count) for value in bad))
    assert sorted(path.name for path in app.runs.parent.iterdir()) == before


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(which=st.integers(0, 10_000), values=st.lists(VALUES | NASTY, max_size=12))
def test_any_event_answers_any_value(app: Open, which: int, values: list[Any]) -> None:
    functions = queued(app)
    function = functions[which % len(functions)]
    try:
        json.dumps(values, allow_nan=False).encode()
    except ValueError:  # not a number: the gate's own test
        return
    count = len(function.inputs)
    given_values = (values * (count + 1) if values else [None] * count)[:count]
    check_answer(app, call(app, function._id, given_values))


FILE = {"meta": {"_type": "gradio.FileData"}, "orig_name": "a.wav"}


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "http://example.org/a.wav"])
def test_a_recording_is_what_was_uploaded(app: Open, path: str) -> None:
    for function in queued(app):
        if any(type(each).__name__ == "Audio" for each in function.inputs):
            data = [
                {"path": path, **FILE} if type(each).__name__ == "Audio" else ""
                for each in function.inputs
            ]
            check_answer(app, call(app, function._id, data))


@pytest.mark.parametrize(
    "name", ["../../x.wav", "/etc/x.wav", "..", "a\\..\\b.wav", "<script>.wav"]
)
def test_uploads_stay_in_their_folder(app: Open, name: str) -> None:
    answer = app.client.post(f"{API}/upload", files={"files": (name, b"PK\x03\x04 no sound")})
    assert answer.status_code < 500
    for kept in answer.json() if answer.status_code == 200 else []:
        assert Path(kept).resolve().is_relative_to(Path(app.blocks.GRADIO_CACHE).resolve())
        assert "/.." not in kept


def test_too_large_an_upload_is_refused(app: Open) -> None:
    host = f"{app.client.base_url.host}:{app.client.base_url.port}"
    lines = [f"POST {API}/upload HTTP/1.1", f"Host: {host}", "Content-Length: 99999999999"]
    lines += ["Content-Type: multipart/form-data; boundary=x", "", ""]
    with socket.create_connection(("127.0.0.1", app.client.base_url.port or 0), 60) as raw:
        raw.sendall("\r\n".join(lines).encode())
        assert raw.recv(12) == b"HTTP/1.1 413"
    assert app.client.post(f"{API}/queue/join", content=b" " * 5_000_000).status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"host": "evil.example"}, 403), ({"origin": "https://evil.example"}, 403),
     ({"origin": "null"}, 403), ({}, 400)],
)  # fmt: skip
def test_pages_of_other_sites_press_nothing_here(
    app: Open, headers: dict[str, str], status: int
) -> None:
    answer = app.client.post(f"{API}/queue/join", headers=headers, content=b"nonsense")
    assert answer.status_code == status and answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize(
    "path",
    [f"{API}/file=/etc/passwd", f"{API}/file=../../../etc/passwd", f"{API}/file=%2Fetc%2Fpasswd",
     "/static/..%2f..%2f..%2fetc/passwd", "/assets/../../../etc/passwd", f"{API}/proxy=http://a.b"],
)  # fmt: skip
def test_no_file_of_the_computer_is_served(app: Open, path: str) -> None:
    answer = app.client.get(path)
    assert answer.status_code in (403, 404) and "root:" not in answer.text


def test_component_calls_answer_in_words(app: Open) -> None:
    live = [b for b in app.blocks.blocks.values() if getattr(b, "elem_id", None) == "live-text"]
    for name in ("begin", "feed", "end", "__init__", "nothing"):
        for data in (None, "x", {}, {"rate": -1}, {"key": [], "pcm": 3}, {"rate": "9" * 99}):
            body = {"component_id": live[0]._id, "fn_name": name, "session_hash": "s", "data": data}
            answer = app.client.post(f"{API}/component_server", json=body)
            assert "Traceback" not in answer.text
    check_answer(app, "")


def test_a_login_keeps_strangers_out(tmp_path: Path) -> None:
    blocks, address = serve(tmp_path, Access(login=Login("asha", SECRET)))
    with httpx.Client(base_url=address, timeout=60) as stranger:
        for path in ("/config", f"{API}/info", f"{API}/queue/status", f"{API}/file=/x",
                     f"{API}/heartbeat/session"):  # fmt: skip
            assert stranger.get(path).status_code == 401
        for path in ("queue/join", "upload", "component_server", "run/predict", "cancel", "reset"):
            assert stranger.post(f"{API}/{path}", json={}).status_code == 401
        assert "Start" not in stranger.get("/").text
    blocks.close()


def test_logging_out_ends_ones_own_session_alone(tmp_path: Path) -> None:
    login = {"username": "asha", "password": SECRET}
    blocks, address = serve(tmp_path, Access(login=Login("asha", SECRET)))
    with httpx.Client(base_url=address) as first, httpx.Client(base_url=address) as other:
        assert first.post("/login", data=login).status_code == 200
        assert other.post("/login", data=login).status_code == 200
        from_elsewhere = {"sec-fetch-site": "cross-site"}
        assert first.get("/logout", headers=from_elsewhere).status_code == 403
        assert first.get("/config").status_code == 200
        kept = httpx.Cookies(first.cookies)
        assert first.get("/logout", params={"all_session": "true"}).status_code == 302
        first.cookies = kept
        assert first.get("/config").status_code == 401, "its cookie is worth nothing any more"
        assert other.get("/config").status_code == 200
    blocks.close()


def test_an_answer_holds_none_of_the_requests_headers(tmp_path: Path) -> None:
    login = {"username": "asha", "password": SECRET}
    blocks, address = serve(tmp_path, Access(login=Login("asha", SECRET)))
    clip = next((CLIPS_FOLDER / "audio").iterdir())
    with httpx.Client(base_url=address) as client:
        client.post("/login", data=login)
        said = {"range": "bytes=0-9", "x-secret": "x", "etag": "mine", "content-range": "mine"}
        answer = client.get(f"{API}/file={clip}", headers=said)
        assert answer.status_code == 206 and answer.content == clip.read_bytes()[:10]
        assert not {"cookie", "x-secret", "host", "user-agent"} & set(answer.headers)
        assert "mine" not in answer.headers.values()
    blocks.close()


@pytest.mark.parametrize(
    "said", ["bytes=9-5", "bytes=5-9,1-2", "bytes=-", "bytes=1-2-3", "bytes=" + "9" * 5000 + "-",
             "bytes=²-³", "lines=1-2"],
)  # fmt: skip
def test_ranges_that_are_none_bring_the_whole_file(app: Open, said: str) -> None:
    clip = next((CLIPS_FOLDER / "audio").iterdir())
    answer = app.client.get(f"{API}/file={clip}", headers={"range": said.encode()})
    assert answer.status_code == 200 and answer.content == clip.read_bytes()
    past = {"range": "bytes=99999999-99999999"}
    assert app.client.get(f"{API}/file={clip}", headers=past).status_code == 416


JOIN = {"data": [], "session_hash": "s", "fn_index": 0, "trigger_id": None}


@pytest.mark.parametrize(
    "spoilt",
    [{"fn_index": -1}, {"fn_index": 10**6}, {"fn_index": 1.5}, {"fn_index": "0"},
     {"fn_index": True}, {"fn_index": None}, {"session_hash": ""}, {"session_hash": "x" * 5000},
     {"session_hash": None}, {"session_hash": "a b"}, {"data": {}}, {"batched": True},
     {"trigger_id": "x"}, {"event_id": "x"}],
)  # fmt: skip
def test_what_is_no_event_of_the_page_is_refused(app: Open, spoilt: dict[str, Any]) -> None:
    for path in ("queue/join", "run/predict"):
        answer = app.client.post(f"{API}/{path}", json={**JOIN, **spoilt})
        assert answer.status_code in (400, 404, 422), answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/", {"origin": "http://["}), ("/", {"host": "["}), ("/", {"host": "a:99999"}),
     ("/", {"x-forwarded-host": "["}), ("/", {"x-gradio-server": "http://["}),
     ("/", {"x-forwarded-proto": "gopher"}), (f"{API}/queue/data?session_hash=nobody", {}),
     (f"{API}/queue/data", {}), (f"{API}/heartbeat/{'x' * 5000}", {}),
     (f"{API}/file=/{'x' * 5000}", {}), (f"{API}/file=%00", {}), (f"{API}/file=", {}),
     (f"/static/{'x' * 5000}", {}), ("/assets/%00", {}), ("/svelte/" + "a/" * 3000, {}),
     (f"/?deep_link={'x' * 5000}", {}), ("/config?deep_link=..", {}), ("/config?page=%00", {}),
     (f"{API}/info?all_endpoints=1", {}), (f"/pwa_icon/{'9' * 5000}", {})],
)  # fmt: skip
def test_no_address_and_no_header_makes_an_error(
    app: Open, path: str, headers: dict[str, str]
) -> None:
    with log_of_the_app() as log, app.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code < 500
        answer.read()
    assert "Traceback" not in log.getvalue()


def test_a_page_that_loads_is_its_own_trigger(app: Open) -> None:
    loads = [each for each in app.blocks.fns.values() if (app.blocks._id, "load") in each.targets]
    for each in loads:
        body = {**JOIN, "fn_index": each._id, "trigger_id": app.blocks._id,
                "data": [None] * len(each.inputs)}  # fmt: skip
        assert app.client.post(f"{API}/queue/join", json=body).status_code == 200
    assert loads
