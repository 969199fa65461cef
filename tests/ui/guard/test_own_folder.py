"""The app's own folder: what is cleared away, and when."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs.fake_runs import make_run
from whisperslim.machine.places import PACKAGE_PARENT
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.guard import room
from whisperslim.ui.guard.refusals import Receive, Scope, Send
from whisperslim.ui.guard.requests import Gate
from whisperslim.ui.guard.uploads import KEPT_SECONDS, clear_old, remove_stale
from whisperslim.ui.runs.report import report_of

_APP = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever started the tests may ignore it
from whisperslim.ui.guard.uploads import make_own_folder, remove_on_termination
folder = make_own_folder()
remove_on_termination()
(folder / "voice.wav").write_bytes(b"x")
print(folder, flush=True)
"""
_FORKING = """
ready, tell = os.pipe()
child = os.fork()
if not child:
    os.write(tell, b"x")
    time.sleep(60)
    os._exit(1)
os.read(ready, 1)
os.kill(child, signal.SIGTERM)
print(os.WTERMSIG(os.waitpid(child, 0)[1]), (folder / "voice.wav").exists(), flush=True)
"""


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def status_of(front: Gate, path: str) -> int:
    """What the gate answers to a POST of two bytes: an empty JSON object, an empty form."""
    said: list[Any] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    body = b"\r\n" if path.endswith("upload") else b"{}"
    headers = [(b"host", b"localhost"), (b"content-length", b"2")]
    headers.append((b"content-type", b"multipart/form-data; boundary=x"))
    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    asyncio.run(front(scope, receive, send))
    return int(said[0]["status"])


# --- cleared by age ---------------------------------------------------------------------------


def test_files_go_when_they_are_an_hour_old_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "hash").mkdir()
    for path in (tmp_path / "tmpbroken", tmp_path / "hash" / "a.wav"):
        path.write_bytes(b"12345678")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    link = (tmp_path / "link").lstat().st_size
    kept = clear_old(tmp_path, time.time() + KEPT_SECONDS - 60)
    assert (kept.bytes, kept.files) == (16 + link, 3)
    kept = clear_old(tmp_path, time.time() + KEPT_SECONDS + 60)
    assert (kept.bytes, kept.files) == (0, 0) and list(tmp_path.iterdir()) == []


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
    monkeypatch.setattr(room, "KEPT_BYTES", 10_000)
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


# --- made and removed -------------------------------------------------------------------------


def start_app(temporary: Path, then: str = "time.sleep(60)") -> tuple[subprocess.Popen[str], Path]:
    """A process with its own folder, which it then names, below `temporary`."""
    started = subprocess.Popen(
        [sys.executable, "-c", f"{_APP}\n{then}"],
        cwd=PACKAGE_PARENT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    folder = Path(started.stdout.readline().strip())
    assert folder.parent.parent == temporary
    return started, folder.parent


def make_folder(place: Path, name: str, *, lock: bool = True) -> Path:
    folder = place / f"whisperslim-app-{name}"
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "voice.wav").write_bytes(b"x")
    if lock:
        (folder / "lock").touch()
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_app_and_its_folder(tmp_path: Path, number: signal.Signals) -> None:
    app, folder = start_app(tmp_path)
    assert (folder / "files" / "voice.wav").exists() and folder.stat().st_mode & 0o077 == 0
    app.send_signal(number)
    assert app.wait(60) == -number and list(tmp_path.iterdir()) == []


def test_an_app_that_ends_by_itself_leaves_nothing(tmp_path: Path) -> None:
    app, _ = start_app(tmp_path, "sys.exit(3)")
    assert app.wait(60) == 3 and list(tmp_path.iterdir()) == []


def test_a_killed_apps_folder_goes_when_the_next_starts(tmp_path: Path) -> None:
    app, left = start_app(tmp_path)
    app.kill()
    app.wait(60)
    assert left.exists()
    following, folder = start_app(tmp_path)
    third, _ = start_app(tmp_path, "")
    third.wait(60)
    assert list(tmp_path.iterdir()) == [folder], "that of a living app stays"
    following.terminate()
    following.wait(60)


def test_the_end_of_a_forked_child_is_not_the_apps(tmp_path: Path) -> None:
    app, _ = start_app(tmp_path, _FORKING)
    said, _ = app.communicate(timeout=60)
    assert said.split() == ["15", "True"]


def test_only_what_is_ours_and_stale_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale, foreign = make_folder(tmp_path, "stale"), tmp_path / "somebody"
    unlocked = make_folder(tmp_path, "unlocked", lock=False)
    elsewhere = make_folder(tmp_path / "elsewhere", "real")
    foreign.mkdir()
    unfinished = make_folder(tmp_path, "unfinished")
    shutil.rmtree(unfinished / "files")
    linked, file = tmp_path / "whisperslim-app-linked", tmp_path / "whisperslim-app-file"
    linked.symlink_to(elsewhere)
    file.touch()
    with monkeypatch.context() as patch:
        mine = os.getuid()
        patch.setattr(os, "getuid", lambda: mine + 1)
        remove_stale(tmp_path)
    assert stale.exists(), "another user's is not ours to remove"
    remove_stale(tmp_path)
    assert not stale.exists()
    left = (foreign, unlocked, unfinished / "lock", linked, file, elsewhere / "files" / "voice.wav")
    assert all(path.exists() for path in left)


def test_a_report_is_kept_in_the_apps_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "runs")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = report_of(AppContext(RunWatch(tmp_path / "runs")), run.name)
    assert path.name == f"{run.name}.html" and path.is_relative_to(tmp_path / "files")
    assert list((tmp_path / "temporary").iterdir()) == []
