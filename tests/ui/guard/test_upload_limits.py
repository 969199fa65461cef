"""Uploads: places are taken before a body is read, files are counted, slow ones are cut off."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.app.served import served
from whisperslim.listening import connections
from whisperslim.ui.guard import requests, room
from whisperslim.ui.guard.refusals import RefusedError
from whisperslim.ui.guard.room import Form, Room
from whisperslim.ui.guard.uploads import Kept

UPLOAD = "/gradio_api/upload"
LINES = "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
PART = '--x\r\nContent-Disposition: form-data; name="files"; filename="{}.wav"\r\n\r\n{}\r\n'


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("uploads")) as address:
        yield address


def connect(address: str) -> socket.socket:
    url = httpx.URL(address)
    return socket.create_connection((url.host, url.port or 0), 60)


def begin_upload(address: str, length: int) -> socket.socket:
    """An upload of `length` bytes of which the first have come."""
    raw = connect(address)
    host = address.removeprefix("http://")
    head = f"{LINES.format(UPLOAD, host)}Content-Length: {length}\r\n\r\n"
    raw.sendall((head + PART.format("a", "RIFF")[:-2]).encode())
    return raw


def answer_of(raw: socket.socket, seconds: float) -> str:
    """The first line of an answer; empty when none comes in time."""
    raw.settimeout(seconds)
    with contextlib.suppress(TimeoutError):
        return raw.recv(64).decode().partition("\r\n")[0]
    return ""


def test_sixty_uploads_at_once_find_no_room(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "UPLOADS_OF_ONE", 1000)  # as if each came from another address
    opened = [begin_upload(address, 50_000_000) for _ in range(60)]
    assert httpx.get(address, timeout=60).status_code == 200
    refused = [raw for raw in opened if "507" in answer_of(raw, 0.5)]
    assert len(refused) == 60 - room.KEPT_BYTES // 50_000_000
    for raw in opened:
        raw.close()
    wait_for_room(address, 50_000_000)


def wait_for_room(address: str, length: int) -> None:
    for _ in range(120):
        with begin_upload(address, length) as raw:
            if not answer_of(raw, 0.5):
                return
    pytest.fail("what was reserved is not given back")


def test_few_from_one_address_are_on_their_way_at_once(address: str) -> None:
    opened = [begin_upload(address, 1000) for _ in range(room.UPLOADS_OF_ONE + 2)]
    refused = [raw for raw in opened if "429" in answer_of(raw, 0.5)]
    assert len(refused) == 2
    for raw in opened:
        raw.close()
    wait_for_room(address, 1000)


def test_files_have_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FILES_OF_ONE", 20)
    with served(tmp_path) as address, httpx.Client(base_url=address, timeout=60) as client:
        many = [("files", (f"{number}.wav", b"")) for number in range(900)]
        assert client.post(UPLOAD, files=many).status_code == 429
        kept = [path for path in Path(os.environ["GRADIO_TEMP_DIR"]).rglob("*") if path.is_file()]
        assert len(kept) <= 20
        monkeypatch.setattr(room, "FILES_OF_ONE", 40)
        statuses = [
            client.post(UPLOAD, files={"files": (f"{number}.wav", b"%d" % number)}).status_code
            for number in range(30)
        ]
    assert statuses == [200] * (40 - 20) + [429] * 10


def test_a_body_that_trickles_is_cut_off(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_PIECE_SECONDS", 0.2)
    with begin_upload(address, 1000) as raw:
        assert "408" in answer_of(raw, 60)


@pytest.mark.parametrize("said", ["", "GET / HTTP/1.1\r\nHost: localh"])
def test_a_connection_that_asks_nothing_is_closed(
    address: str, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with connect(address) as raw:
        raw.sendall(said.encode())
        raw.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(10) == b""


def test_one_address_cannot_hold_all_connections(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_OF_ONE", 20)
    opened = [connect(address) for _ in range(40)]
    time.sleep(1.0)
    closed = 0
    for raw in opened:
        raw.settimeout(0.05)
        try:
            closed += raw.recv(1) == b""
        except ConnectionResetError:
            closed += 1
        except TimeoutError:
            pass
    for raw in opened:
        raw.close()
    assert closed >= 20


# --- the count itself -------------------------------------------------------------------------


def test_reserved_room_is_given_back_and_what_came_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEPT_BYTES", 1000)
    count = Room(lambda: 0.0)
    first = count.reserve("a", 600)
    with pytest.raises(RefusedError):
        count.reserve("b", 500)
    count.take(first, 100, 1)
    count.end(first)
    second = count.reserve("b", 900)
    with pytest.raises(RefusedError):
        count.reserve("b", 1)
    count.end(second)
    # What lies on the disk takes the place of what came before it was looked at.
    count.begin_count()
    third = count.reserve("a", 10)
    count.take(third, 10, 1)
    count.end(third)
    count.end_count(Kept(bytes=500, files=1))
    with pytest.raises(RefusedError):
        count.reserve("a", 491)
    count.end(count.reserve("a", 490))


def test_files_of_one_place_are_counted_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FILES_OF_ONE", 3)
    now = [0.0]
    count = Room(lambda: now[0])
    upload = count.reserve("a", 10)
    with pytest.raises(RefusedError):
        count.take(upload, 0, 4)
    count.end(upload)
    with pytest.raises(RefusedError):
        count.reserve("a", 10)
    count.end(count.reserve("b", 10))
    now[0] = 3601.0
    count.end(count.reserve("a", 10))


def test_all_files_together_have_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEPT_FILES", 3)
    count = Room(lambda: 0.0)
    count.begin_count()
    count.end_count(Kept(bytes=0, files=3))
    with pytest.raises(RefusedError, match="too many files"):
        count.reserve("a", 10)


FORM = "multipart/form-data; boundary=x"


def test_files_of_a_form_are_counted_whatever_the_pieces() -> None:
    body = (PART.format("a", "sound") + PART.format("b", "--x in the sound") + "--x--\r\n").encode()
    for size in (1, 3, 7, len(body)):
        form = Form(FORM)
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        found = [form.feed(piece, ends=False) for piece in pieces]
        assert sum(found) + form.feed(b"", ends=True) == 2


@pytest.mark.parametrize(
    ("kind", "body"),
    [("text/plain", ""), ("multipart/form-data", ""), (f"{FORM}; charset=idna", ""),
     (FORM, "no form"),
     (FORM, '--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--x--\r\n'),
     (FORM, '--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nx\r\n--x--\r\n'),
     (FORM, "--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n"),
     (FORM, "--x\r\n" + "a" * 9000 + ": b\r\n\r\nx\r\n--x--\r\n")],
)  # fmt: skip
def test_what_is_no_form_of_files_is_refused(kind: str, body: str) -> None:
    with pytest.raises(RefusedError) as refused:
        Form(kind).feed(body.encode(), ends=True)
    assert refused.value.status == 400
