"""The app's own folder: what is cleared away, and when."""

import asyncio
import os
import shutil
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from whisperslim.ui import gate
from whisperslim.ui.gate import Gate, Receive, Scope, Send
from whisperslim.ui.own_folder import KEPT_SECONDS, bytes_below, clear_old


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def status_of(front: Gate, path: str) -> int:
    """What the gate answers to a POST with an empty JSON object."""
    said: list[Any] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(front(scope, receive, send))
    return int(said[0]["status"])


# --- cleared by age ---------------------------------------------------------------------------


def test_files_go_when_they_are_an_hour_old_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "hash").mkdir()
    for path in (tmp_path / "tmpbroken", tmp_path / "hash" / "a.wav"):
        path.write_bytes(b"12345678")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    kept = bytes_below(tmp_path)
    clear_old(tmp_path, time.time() + KEPT_SECONDS - 60)
    assert bytes_below(tmp_path) == kept
    clear_old(tmp_path, time.time() + KEPT_SECONDS + 60)
    assert [path.name for path in tmp_path.rglob("*")] == ["hash"]


def test_a_new_copy_of_an_old_file_is_new(tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    clip.write_bytes(b"x")
    os.utime(clip, (0, 0))
    (tmp_path / "kept").mkdir()
    shutil.copy2(clip, tmp_path / "kept")
    clear_old(tmp_path / "kept", time.time())
    assert (tmp_path / "kept" / "clip").exists()


def test_uploads_that_broke_off_block_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "KEPT_BYTES", 10_000)
    now = [0.0]
    started = time.time()
    front = Gate(
        _answer, uploads=tmp_path, clock=lambda: now[0], wall_clock=lambda: started + now[0]
    )
    (tmp_path / "tmpbroken").write_bytes(b"x" * 20_000)
    upload = "/gradio_api/upload"
    assert status_of(front, upload) == 507
    now[0] = KEPT_SECONDS - 60.0
    assert status_of(front, upload) == 507
    now[0] = KEPT_SECONDS + 60.0
    assert status_of(front, upload) == 200 and not (tmp_path / "tmpbroken").exists()


def test_any_action_on_the_page_clears_away_but_not_each_one(tmp_path: Path) -> None:
    now = [0.0]
    later = time.time() + 2 * KEPT_SECONDS
    front = Gate(_answer, uploads=tmp_path, clock=lambda: now[0], wall_clock=lambda: later)
    left = tmp_path / "left"
    for at, stays in ((0.0, False), (30.0, True), (61.0, False)):
        left.write_bytes(b"x")
        now[0] = at
        assert status_of(front, "/gradio_api/queue/join") == 200
        assert left.exists() is stays
