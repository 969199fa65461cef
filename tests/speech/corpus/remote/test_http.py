"""Files that are fetched: whole or not at all, and continued where they broke off."""

import hashlib
import io
from pathlib import Path

import pytest

from tests.speech.corpus.remote.server import Server, serving
from whisperslim.errors import DataError
from whisperslim.speech.corpus.remote.http import HttpError, RangeFile, ask_json, fetch

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def ranges(server: Server) -> list[str]:
    return [stretch for _, _, stretch in server.asked]


def test_what_breaks_off_is_continued_where_it_was(server: Server, tmp_path: Path) -> None:
    server.answers["GET /x"] = CONTENT
    server.breaks = [1000, 500]
    fetch(f"{server.url}/x", tmp_path / "to" / "x", len(CONTENT), SHA256)
    assert (tmp_path / "to" / "x").read_bytes() == CONTENT
    assert ranges(server) == ["", "bytes=1000-", "bytes=1500-"]


def test_another_attempt_continues_what_is_kept(server: Server, tmp_path: Path) -> None:
    server.answers["GET /x"] = CONTENT
    server.breaks = [1000, *[0] * 5]
    with pytest.raises(DataError, match=r"interrupted at .* kept, and the next attempt continues"):
        fetch(f"{server.url}/x", tmp_path / "x", len(CONTENT), SHA256)
    assert not (tmp_path / "x").exists()
    server.asked.clear()
    fetch(f"{server.url}/x", tmp_path / "x", len(CONTENT), SHA256)
    assert ranges(server) == ["bytes=1000-"] and (tmp_path / "x").read_bytes() == CONTENT
    fetch(f"{server.url}/x", tmp_path / "x", len(CONTENT), SHA256)
    assert len(server.asked) == 1  # what is here is not asked for


def test_a_server_that_gives_no_parts_is_asked_for_all(server: Server, tmp_path: Path) -> None:
    server.answers["GET /x"], server.ranged = CONTENT, False
    (tmp_path / "x.part").write_bytes(CONTENT[:10])
    fetch(f"{server.url}/x", tmp_path / "x", len(CONTENT), SHA256)
    assert (tmp_path / "x").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"more"])
def test_another_file_than_announced_is_not_kept(
    server: Server, tmp_path: Path, content: bytes
) -> None:
    server.answers["GET /x"] = content
    size = len(CONTENT)
    with pytest.raises(DataError, match="not the file that was announced"):
        fetch(f"{server.url}/x", tmp_path / "x", size, hashlib.sha256(b"").hexdigest())
    assert not (tmp_path / "x").exists() and not (tmp_path / "x.part").exists()


def test_a_token_is_for_the_server_that_was_asked_alone(server: Server, tmp_path: Path) -> None:
    with serving() as other:
        other.answers["GET /file"] = CONTENT
        server.answers |= {"GET /a": f"{server.url}/b", "GET /b": f"{other.url}/file"}
        fetch(f"{server.url}/a", tmp_path / "x", len(CONTENT), SHA256, token="secret")
        assert [said for _, said, _ in server.asked] == ["Bearer secret"] * 2
        assert [said for _, said, _ in other.asked] == [""]


def test_no_other_kind_of_address_is_opened(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    server.answers["GET /a"] = secret.as_uri()
    for url in (secret.as_uri(), f"{server.url}/a", "ftp://127.0.0.1/x", "data:,{}"):
        with pytest.raises(DataError):
            ask_json(url)


def test_bytes_are_read_where_they_are_asked_for(server: Server) -> None:
    server.answers["GET /x"] = CONTENT
    file = io.BufferedReader(RangeFile(f"{server.url}/x", len(CONTENT)), 16)
    assert (file.seek(-4, io.SEEK_END), file.read()) == (len(CONTENT) - 4, CONTENT[-4:])
    assert (file.seek(300), file.read(100)) == (300, CONTENT[300:400])
    assert file.seek(0, io.SEEK_END) == len(CONTENT) and file.read(1) == b""
    server.ranged = False
    with pytest.raises(HttpError, match="no part of a file"):
        RangeFile(f"{server.url}/x", len(CONTENT)).read(10)


def test_answers_that_are_no_json_are_refused(server: Server) -> None:
    server.answers["GET /x"] = b"<html>"
    with pytest.raises(DataError, match="cannot be understood"):
        ask_json(f"{server.url}/x")
    with pytest.raises(HttpError, match="404"):
        ask_json(f"{server.url}/y?signature=secret")


def test_a_signed_address_is_not_shown(server: Server) -> None:
    with pytest.raises(HttpError) as refused:
        ask_json(f"{server.url}/y?signature=secret")
    assert "secret" not in str(refused.value)


def test_offline_nothing_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisperslim.speech.corpus.remote.http.is_offline", lambda: True)
    with pytest.raises(DataError, match="offline"):
        ask_json(f"{server.url}/x")
    assert server.asked == []
