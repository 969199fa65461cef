"""The app comes up on a machine that is busy, and leaves what is installed as it is."""

import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from gradio import networking

from tests.browser.conftest import free_port
from whisperslim.jobs.presets import PROJECT_ROOT
from whisperslim.ui.build import launch

_IMPORT = """
import sys
opened = []
sys.addaudithook(lambda event, about: opened.append(str(about[0])) if event == "open" else None)
from whisperslim.ui.build import build
import gradio
assert gradio.Button.click, "components have their events"
print(*[name for name in opened if name.endswith(".pyi")])
"""


def test_gradios_own_stubs_are_not_rewritten() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=True,
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
