"""An export from elsewhere, served: when its process ends, one request fails and no other."""

import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from tests.engines.test_light import CLIP, folder  # noqa: F401 - a fixture
from tests.server.scripted import PATIENCE, serving, until
from whisperslim.engines.foreign.transcriber import ForeignTranscriber
from whisperslim.engines.opening import open_transcriber
from whisperslim.speech.audio.window import WindowPolicy


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows stops processes otherwise")
def test_a_process_that_ends_costs_one_request(
    folder: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPERSLIM_STATE", str(tmp_path))  # another installation's
    engine = open_transcriber(str(folder), WindowPolicy())
    assert isinstance(engine, ForeignTranscriber) and engine.process is not None
    found: list[httpx.Response] = []

    def ask() -> None:
        files = {"file": CLIP.read_bytes()}
        address = f"{url}/v1/audio/transcriptions"
        found.append(httpx.post(address, data={"model": "m"}, files=files, timeout=PATIENCE))

    with serving(engine) as (service, url):
        ask()
        os.kill(engine.process, signal.SIGSTOP)
        thread = threading.Thread(target=ask)
        thread.start()
        until(lambda: service.lanes["m"].running + service.lanes["m"].waiting == 1)
        os.kill(engine.process, signal.SIGKILL)
        thread.join(PATIENCE)
        ask()
    before, failed, after = found
    assert before.status_code == 200 and before.json()["text"] == after.json()["text"]
    assert failed.status_code == 500 and failed.json()["error"]["code"] == "model_failed"
    assert str(folder) not in failed.text
