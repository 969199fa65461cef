"""The server over HTTP: every form, every refusal, and that it lives on after each."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import wave
from collections.abc import Iterator
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.browser.conftest import free_port
from tests.server.scripted import PATIENCE, Scripted, opened, serving, tone, until, wav
from whisperslim.engines.transcripts import to_srt, to_vtt
from whisperslim.listening.address import checked_certificate
from whisperslim.listening.connections import BoundedConnection
from whisperslim.server import app, asked
from whisperslim.server.app import Bounds, Service
from whisperslim.server.serve import Place, Server

ADDRESS = "/v1/audio/transcriptions"
KEY = "a key of twelve or more".replace(" ", "-")
LONG = 9.0  # seconds: several parts for this engine


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(opened(), Bounds(bytes=1_000_000, seconds=15.0)) as (_, url):
        yield url


def ask(url: str, sound: bytes | None, **fields: Any) -> httpx.Response:
    """One request; `fields` are those of the form, `headers` aside."""
    headers = fields.pop("headers", {})
    files = {} if sound is None else {"file": ("a.wav", sound)}
    data = {"model": "m", **fields}
    return httpx.post(url + ADDRESS, data=data, files=files, headers=headers, timeout=PATIENCE)


def texts(url: str) -> list[str]:
    """What each part of the long recording is written as."""
    return [each["text"] for each in verbose(url)["segments"]]


def verbose(url: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = ask(url, wav(LONG), response_format="verbose_json", **more).json()
    return found


def lives(url: str) -> None:
    assert ask(url, wav(0.5)).json()["text"] == "0.5"


def test_each_form_holds_the_text_of_the_engine(server: str) -> None:
    wanted = opened().transcribe(tone(LONG)).text
    assert len(wanted.split()) > 2
    said = ask(server, wav(LONG)).json()
    assert said == {"text": wanted, "usage": {"type": "duration", "seconds": 9}}
    assert ask(server, wav(LONG), response_format="text").text == f"{wanted}\n"
    long = verbose(server)
    assert (long["text"], long["duration"], long["language"]) == (wanted, LONG, "hi")
    assert "words" not in long and " ".join(texts(server)) == wanted
    edges = [(each["start"], each["end"]) for each in long["segments"]]
    assert edges[0][0] == 0.0 and edges[-1][1] == LONG
    assert all(before[1] == after[0] for before, after in pairwise(edges))


def test_times_of_words_come_when_they_are_asked_for(server: str) -> None:
    fields = {"timestamp_granularities[]": ["word", "segment"], "language": "Marathi"}
    found = verbose(server, **fields)
    assert found["language"] == "mr"
    assert [each["word"] for each in found["words"]] == found["text"].split()
    assert [each["id"] for each in found["segments"]] == list(range(len(found["segments"])))


def test_subtitles_are_those_of_the_command_line(server: str) -> None:
    heard = opened().telling_words().transcribe(tone(LONG))
    for form, write in (("srt", to_srt), ("vtt", to_vtt)):
        answer = ask(server, wav(LONG), response_format=form)
        assert answer.text == write(heard) and "-->" in answer.text


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]


def test_a_stream_has_each_part_as_it_is_heard_and_the_whole_at_its_end(server: str) -> None:
    found = events(ask(server, wav(LONG), stream="true"))
    *parts, last = found
    assert {each["type"] for each in parts} == {"transcript.text.delta"}
    assert last["type"] == "transcript.text.done"
    assert len(parts) > 2
    whole = ask(server, wav(LONG)).json()["text"]
    assert "".join(each["delta"] for each in parts) == last["text"] == whole


def test_parts_are_sent_before_the_whole_has_been_heard() -> None:
    engine = Scripted()
    with serving(engine) as (_, url):
        engine.gate.set()
        form = {"model": "m", "stream": "true"}
        with httpx.stream(
            "POST", url + ADDRESS, data=form, files={"file": wav(LONG)}, timeout=PATIENCE
        ) as answer:
            lines = (line for line in answer.iter_lines() if line)
            first = json.loads(next(lines).removeprefix("data: "))
            assert first["type"] == "transcript.text.delta"
            assert [json.loads(line.removeprefix("data: "))["type"] for line in lines][-1] == (
                "transcript.text.done"
            )


REFUSED: list[tuple[str, bytes | None, dict[str, Any], int, str, str | None]] = [
    ("empty", b"", {}, 400, "invalid_audio", "file"),
    ("no audio", b"this is no recording" * 50, {}, 400, "invalid_audio", "file"),
    ("no file", None, {}, 400, "invalid_value", "file"),
    ("no model", wav(0.5), {"model": ""}, 400, "missing", "model"),
    ("model", wav(0.5), {"model": "whisper-1"}, 404, "model_not_found", "model"),
    ("form", wav(0.5), {"response_format": "docx"}, 400, "invalid_value", "response_format"),
    ("language", wav(0.5), {"language": "zz"}, 400, "invalid_value", None),
    ("prompt", wav(0.5), {"prompt": "a name"}, 400, "invalid_value", "prompt"),
    ("warm", wav(0.5), {"temperature": "0.4"}, 400, "invalid_value", "temperature"),
    ("no number", wav(0.5), {"temperature": "warm"}, 400, "invalid_value", "temperature"),
    ("stream", wav(0.5), {"stream": "true", "response_format": "srt"}, 400, "invalid_value",
     "stream"),
    ("streamed", b"", {"stream": "true"}, 400, "invalid_audio", "file"),
    ("times", wav(0.5), {"timestamp_granularities[]": "word"}, 400, "invalid_value",
     "timestamp_granularities"),
    ("field", wav(0.5), {"diarize": "yes"}, 400, "invalid_value", "diarize"),
    ("bytes", b"\0" * 1_200_000, {}, 413, "too_large", "file"),
    ("seconds", wav(16.0), {}, 400, "invalid_audio", "file"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sound", "fields", "status", "code", "param"),
    [each[1:] for each in REFUSED],
    ids=[each[0] for each in REFUSED],
)
def test_what_cannot_be_done_is_refused_in_openais_shape(
    server: str, sound: bytes | None, fields: dict[str, Any], status: int, code: str,
    param: str | None,
) -> None:  # fmt: skip
    answer = ask(server, sound, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param), error
    assert error["message"] and error["type"] == "invalid_request_error"
    lives(server)


def test_a_recording_that_is_far_too_long_takes_no_memory_for_it() -> None:
    """Two hours in few bytes: 460 MB as samples, of which ten seconds are decoded."""
    file = BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(1)
        made.setframerate(4000)
        made.writeframes(bytes(range(128, 160)) * (7200 * 4000 // 32))
    with serving(opened(), Bounds(bytes=30_000_000, seconds=10.0)) as (_, url):
        tracemalloc.start()
        try:
            answer = ask(url, file.getvalue())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert answer.status_code == 400 and "longer than the 10 s" in answer.text
        # The client's form and the upload are 29 MB each, as often as they are copied.
        assert peak < 230_000_000
        lives(url)


def test_what_is_no_form_and_no_address_is_refused(server: str) -> None:
    kind = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"--y\r\nno form", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n"):
        answer = httpx.post(server + ADDRESS, content=body, headers=kind)
        assert answer.status_code == 400 and answer.json()["error"]["code"], answer.text
    answer = httpx.post(server + ADDRESS, json={"model": "m"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "file"
    assert httpx.get(server + ADDRESS).status_code == 405
    answer = httpx.get(server + "/v1/chat/completions")
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "no_such_address"
    lives(server)


def test_models_are_listed(server: str) -> None:
    (model,) = httpx.get(server + "/v1/models").json()["data"]
    assert (model["id"], model["object"]) == ("m", "model")
    assert httpx.get(server + "/v1/models/m").json() == model
    missing = httpx.get(server + "/v1/models/other")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "model_not_found"


def test_a_page_of_another_site_may_not_ask(server: str) -> None:
    """Without a key, the visitor's browser would be all it needs."""
    for headers in (
        {"origin": "https://elsewhere.example"},
        {"sec-fetch-site": "cross-site"},
        {"host": "elsewhere.example"},
    ):
        answer = ask(server, wav(0.5), headers=headers)
        assert answer.status_code == 403, headers
        assert answer.json()["error"]["type"] == "permission_error"
    own = {"origin": server, "sec-fetch-site": "same-origin"}
    assert ask(server, wav(0.5), headers=own).status_code == 200


def test_with_a_key_nothing_but_the_health_is_open() -> None:
    with serving(opened(), key=KEY) as (_, url):
        for given in (b"", b"Bearer wrong", f"Basic {KEY}".encode(), b"Bearer \xe9"):
            headers = {"authorization": given}
            for address in ("/v1/models", "/metrics", "/anything"):
                answer = httpx.get(url + address, headers=headers)
                assert answer.status_code == 401, address
                assert answer.json()["error"]["code"] == "invalid_api_key"
            assert ask(url, wav(0.5), headers=headers).status_code == 401
        assert httpx.get(url + "/health").json() == {"status": "ok"}
        right = {"authorization": f"Bearer {KEY}", "host": "any.example"}
        assert ask(url, wav(0.5), headers=right).json()["text"] == "0.5"


def test_over_https_the_same_is_answered(tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("a certificate is made with openssl, which is not here")
    cert, own = tmp_path / "cert.pem", tmp_path / "key.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -subj /CN=here -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(own), "-out", str(cert)]
    made = subprocess.run(["openssl", *request.split(), *files], capture_output=True)
    assert made.returncode == 0, made.stderr
    with serving(opened(), chain=checked_certificate(cert, own)) as (_, url):
        assert url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(cert))
        form = {"data": {"model": "m"}, "files": {"file": wav(0.5)}}
        found = httpx.post(url + ADDRESS, verify=trusting, timeout=PATIENCE, **form)  # type: ignore[arg-type]
        assert found.json()["text"] == "0.5"
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http") + "/health")


def test_a_full_queue_says_when_to_come_again_and_loses_nobody() -> None:
    engine, found = Scripted(), list[httpx.Response]()

    def send(seconds: float) -> threading.Thread:
        thread = threading.Thread(target=lambda: found.append(ask(url, wav(seconds))))
        thread.start()
        return thread

    with serving(engine, Bounds(waiting=1)) as (service, url):
        running = send(0.5)
        until(lambda: len(engine.heard) == 1)
        waiting = send(0.6)
        until(lambda: service.lanes["m"].waiting == 1)
        refused = ask(url, wav(0.7))
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
        engine.gate.set()
        for thread in (running, waiting):
            thread.join(PATIENCE)
        assert sorted(each.json()["text"] for each in found) == ["0.5", "0.6"]
        lives(url)


def by_hand(url: str, form: dict[str, str], sound: bytes) -> tuple[socket.socket, bytes]:
    """A connection, and a whole request that has not been sent."""
    request = httpx.Request("POST", url + ADDRESS, data=form, files={"file": ("a.wav", sound)})
    body = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    host, port = url.removeprefix("http://").split(":")
    made = socket.create_connection((host, int(port)), timeout=PATIENCE)
    return made, f"POST {ADDRESS} HTTP/1.1\r\n{head}\r\n".encode() + body


@pytest.mark.parametrize("stream", ["false", "true"])
def test_who_hangs_up_is_dropped_and_the_work_with_them(stream: str) -> None:
    engine = Scripted()
    with serving(engine) as (service, url):
        lane = service.lanes["m"]
        connections = []
        for seconds in (LONG, LONG + 1):
            made, request = by_hand(url, {"model": "m", "stream": stream}, wav(seconds))
            made.sendall(request)
            connections.append(made)
            until(lambda: len(engine.heard) == 1)  # the first: the second comes while it is heard
        until(lambda: lane.waiting == 1)
        assert lane.running == 1
        for made in connections:
            made.close()
        until(lambda: lane.waiting == 0)
        time.sleep(0.5)  # for the one in work to be seen to be gone
        engine.gate.set()
        until(lambda: lane.running == 0)
        assert len(engine.heard) == 1, "no further part was heard for nobody"
        lives(url)


def test_who_hangs_up_in_the_middle_of_a_stream_is_dropped() -> None:
    class Slow(Scripted):
        def hear_many(self, given, seconds, language):  # type: ignore[no-untyped-def]
            time.sleep(0.3)
            return super().hear_many(given, seconds, language)

    engine = Slow()
    engine.gate.set()
    with serving(engine, Bounds(seconds=200.0)) as (service, url):
        made, request = by_hand(url, {"model": "m", "stream": "true"}, wav(120.0))
        made.sendall(request)
        assert b"transcript.text.delta" in read_until(made, b"delta")
        made.close()
        until(lambda: service.lanes["m"].running == 0)
        assert len(engine.heard) < 30, "at most 2 s of 120 are in a part"
        lives(url)


def read_until(made: socket.socket, wanted: bytes) -> bytes:
    found = b""
    while wanted not in found:
        more = made.recv(65_536)
        assert more, found
        found += more
    return found


def test_who_sends_slowly_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "_PIECE_SECONDS", 0.3)
    with serving(opened()) as (_, url):
        made, request = by_hand(url, {"model": "m"}, wav(0.5))
        made.sendall(request[:-100])
        assert b"408" in read_until(made, b"too_slow").split(b"\r\n")[0]
        made.close()
        lives(url)
        monkeypatch.setattr(asked, "_PIECE_SECONDS", 30.0)
        monkeypatch.setattr(asked, "_FORM_SECONDS", 0.5)
        made, request = by_hand(url, {"model": "m"}, wav(0.5))
        for place in range(len(request)):  # each piece comes soon enough, and all too slowly
            try:
                made.sendall(request[place : place + 1])
            except OSError:
                break
            time.sleep(0.01)
            if place > 2000:
                pytest.fail("a form may take as long as it likes")
        made.close()
        lives(url)


def test_uploads_at_once_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MOST_UPLOADS", 1)
    with serving(opened()) as (service, url):
        made, request = by_hand(url, {"model": "m"}, wav(0.5))
        made.sendall(request[:-100])
        until(lambda: service.uploads == 1)
        refused = ask(url, wav(0.5))
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "too_many_uploads"
        made.sendall(request[-100:])
        assert b'"0.5"' in read_until(made, b"usage")
        made.close()
        lives(url)


def test_what_takes_too_long_is_given_up() -> None:
    engine = Scripted()
    with serving(engine, Bounds(patience=0.5)) as (service, url):
        answer = ask(url, wav(0.5))
        assert answer.status_code == 504 and answer.json()["error"]["code"] == "too_long"
        engine.gate.set()
        until(lambda: service.lanes["m"].running == 0)
        lives(url)


def test_a_model_that_fails_says_nothing_of_this_computer(caplog: pytest.LogCaptureFixture) -> None:
    with serving(opened()) as (_, url):
        for language in ("xx", "fault"):
            answer = ask(url, wav(0.5), language=language)
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "model_failed"
            assert "secret" not in answer.text and "fault of" not in answer.text
            lives(url)
    assert "secret" in caplog.text and "a fault of the engine" in caplog.text


def test_a_server_that_is_ending_takes_nothing_more() -> None:
    with serving(opened()) as (service, url):
        assert httpx.get(url + "/health").status_code == 200
        service.draining = True
        answer = ask(url, wav(0.5))
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "ending"
        assert httpx.get(url + "/health").status_code == 503


def test_what_happened_is_counted() -> None:
    with serving(opened()) as (_, url):
        for _ in range(3):
            ask(url, wav(0.5))
        ask(url, b"")
        text = httpx.get(url + "/metrics").text
    assert 'whisperslim_answers_total{status="200"} 3' in text
    assert 'whisperslim_answers_total{status="400"} 1' in text
    assert 'whisperslim_recordings_total{model="m"} 3' in text
    assert 'whisperslim_audio_seconds_total{model="m"} 1.5' in text
    assert 'whisperslim_waiting{model="m"} 0' in text
    assert 'whisperslim_request_seconds_bucket{le="+Inf"} 4' in text
    assert "whisperslim_request_seconds_count 4" in text
    # The form: a name, labels, a number; each family is explained once, before it.
    rows = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r'[a-z_]+(\{\w+="[^"]*"\})? [0-9.e+-]+', row) for row in rows)
    assert text.count("# TYPE whisperslim_waiting gauge") == 1


def test_connections_are_bounded_as_the_apps_are() -> None:
    server = Server(Service({}), Place(), 1, lambda message: None)
    assert server.config.http is BoundedConnection
    assert not server.config.proxy_headers and not server.config.server_header


_AT_WORK = """
import sys, time
from tests.server.scripted import opened
from whisperslim.server.app import Bounds, Service
from whisperslim.server.serve import Place, run, service_of
from whisperslim.engines.windowed import Heard

class Slow(type(opened())):
    def hear_many(self, given, seconds, language):
        print("heard", flush=True)
        time.sleep(float(sys.argv[2]))
        return super().hear_many(given, seconds, language)

engine = Slow()
engine.gate.set()
where = Place(port=int(sys.argv[1]))
service = service_of({"m": engine}, where, Bounds())
run(service, where, grace=int(sys.argv[3]), announce=lambda m: print(m, flush=True))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends processes otherwise")
@pytest.mark.parametrize(("takes", "grace", "status"), [("2", "30", 200), ("60", "1", 503)])
def test_sigterm_finishes_what_was_taken_while_there_is_time(
    takes: str, grace: str, status: int
) -> None:
    port, found = free_port(), list[httpx.Response]()
    url = f"http://127.0.0.1:{port}"
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", _AT_WORK, str(port), takes, grace], cwd=root, text=True,
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    try:
        assert child.stdout and "Ctrl-C ends it" in child.stdout.readline()
        thread = threading.Thread(target=lambda: found.append(ask(url, wav(0.5))))
        thread.start()
        assert child.stdout.readline() == "heard\n"
        child.send_signal(signal.SIGTERM)
        thread.join(PATIENCE)
        assert child.wait(PATIENCE) == 0, "it ended in good order"
    finally:
        child.kill()
    (answer,) = found
    assert answer.status_code == status
    if status == 200:
        assert answer.json()["text"] == "0.5"
    else:
        assert answer.json()["error"]["code"] == "ending"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
