"""The app comes up on a machine that is busy, and leaves what is installed as it is."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from gradio import networking

from tests.browser.conftest import free_port
from whisperslim.machine.places import PACKAGE_PARENT
from whisperslim.ui.app.build import launch

_IMPORT = """
import sys
opened = []
sys.addaudithook(lambda event, about: opened.append(str(about[0])) if event == "open" else None)
from whisperslim.ui.app.build import build
import gradio
assert gradio.Button.click, "components have their events"
print(*[name for name in opened if name.endswith(".pyi")])
"""


def test_gradios_own_stubs_are_not_rewritten() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT],
        cwd=PACKAGE_PARENT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == ""


def test_a_page_that_takes_long_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networking, "url_ok", lambda url: False)
    blocks = launch(tmp_path / "runs", port=free_port(), block=False)
    try:
        with urllib.request.urlopen(blocks.local_url, timeout=120) as answer:
            assert answer.status == 200
    finally:
        blocks.close()


def command(port: int, folder: Path, *, app: bool) -> subprocess.Popen[str]:
    """Either way to start the app, with its temporary folder below `folder`."""
    begin = [str(PACKAGE_PARENT / "app.py")] if app else ["-m", "whisperslim", "ui"]
    (folder / "temporary").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, *begin, "--port", str(port), "--runs", str(folder / "runs")],
        cwd=PACKAGE_PARENT,
        env={**os.environ, "TMPDIR": str(folder / "temporary")},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_served(port: int) -> None:
    """Wait for a page, some minutes at most."""
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60).close()
            return
        except urllib.error.URLError:
            time.sleep(0.5)
    pytest.fail("the app did not come up")


@pytest.mark.parametrize("app", [True, False])
def test_a_port_in_use_is_reported_in_a_sentence(tmp_path: Path, app: bool) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        started = command(taken, tmp_path, app=app)
        _, said = started.communicate(timeout=240)
    assert started.returncode == 2
    assert said.strip() == (
        f"error: port {taken} is in use; is the app open already? Else name another with --port N"
    )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_an_app_asked_to_end_takes_its_uploads_with_it(tmp_path: Path) -> None:
    port = free_port()
    started = command(port, tmp_path, app=True)
    try:
        wait_until_served(port)
        (folder,) = (tmp_path / "temporary").glob("whisperslim-app-*")
        (folder / "files" / "voice.wav").write_bytes(b"x")
        started.terminate()
        assert started.wait(120) == -signal.SIGTERM
    finally:
        started.kill()
        started.communicate()
    assert not folder.exists()
