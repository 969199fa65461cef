"""The app in a process of its own, and Chromium with a recording as its microphone."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil
import soxr

from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = "/usr/bin/chromium"
GIVE_UP_SECONDS = 120.0
LOOK_AT = "/gradio_api/component_server"
_MICROPHONE_RATE = 48_000


@dataclass(frozen=True)
class Served:
    """The app at work."""

    address: str
    process: psutil.Process

    def memory(self) -> int:
        """Bytes that only the app's processes hold: unique set sizes, the browser left out."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(each.memory_full_info().uss for each in family)

    def cpu_seconds(self) -> float:
        """Processor time that the app's processes have used so far."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(sum(each.cpu_times()[:2]) for each in family)


@contextmanager
def served(runs: Path, *more: str) -> Iterator[Served]:
    """`whisperslim ui` on a free port, ended afterwards. `more` are further options of it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "whisperslim", "ui", "--port", str(port), "--runs", str(runs)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    app = subprocess.Popen([*command, *more], **quiet)  # type: ignore[call-overload]
    try:
        _wait_for(address)
        yield Served(address, psutil.Process(app.pid))
    finally:
        app.terminate()
        app.wait()


def look_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What an open page posts to `LOOK_AT` every two seconds, but for its session.

    `config` is Gradio's, as the page gets it. Raises `RuntimeError` when the page asks nothing.
    """
    for each in config["components"]:
        if "mark" in (each["props"].get("server_fns") or ()):
            return {"component_id": each["id"], "fn_name": "mark", "data": ""}
    raise RuntimeError("nothing on the page asks for news of the runs")


@contextmanager
def browser_hearing(recording: Path) -> "Iterator[Browser]":
    """Chromium whose microphone plays the recording from its beginning at each use."""
    with TemporaryDirectory() as folder:
        sound = Path(folder) / "spoken.wav"
        write_pcm(sound, recording)
        with browser(f"--use-file-for-fake-audio-capture={sound}") as chromium:
            yield chromium


@contextmanager
def browser(*more: str) -> "Iterator[Browser]":
    """Chromium with a microphone that plays a tone. `more` are further options of it."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=[*flags, *more])
        yield chromium
        chromium.close()


@contextmanager
def fresh_page(browser: "Browser", address: str) -> "Iterator[Page]":
    """A page in a browser with empty caches, loaded until Compare or a forecast is drawn."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["microphone"]
    )
    page = context.new_page()
    page.set_default_timeout(1000 * GIVE_UP_SECONDS)
    page.goto(address)
    page.locator("#forecast .ws-big, #comparison").filter(visible=True).first.wait_for()
    yield page
    context.close()


def write_pcm(path: Path, recording: Path) -> None:
    """A recording as the WAV file that Chromium takes for a microphone."""
    samples = soxr.resample(decode(recording), SAMPLE_RATE, _MICROPHONE_RATE)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_MICROPHONE_RATE)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise TimeoutError(f"no answer from the app in {GIVE_UP_SECONDS:.0f} s")
