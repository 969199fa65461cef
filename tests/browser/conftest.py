"""A real Chromium on a real server on this machine, with a tone for a microphone."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.support.tiny import tiny_corpus, tiny_model_folder, write_tone
from whisperslim.ui.app.build import launch

CHROMIUM = Path("/usr/bin/chromium")
# Two workers and a browser share two cores: an answer may take long, and none is asked to be fast.
expect.set_options(timeout=30_000)


@dataclass(frozen=True)
class Served:
    """The app as it runs for these tests."""

    address: str
    runs: Path
    model: Path
    corpus: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("app")
    model = tiny_model_folder(folder / "dense")
    corpus = tiny_corpus(folder / "corpus")
    port = free_port()
    blocks = launch(folder / "runs", port=port, block=False)
    yield Served(f"http://127.0.0.1:{port}", folder / "runs", model, corpus)
    blocks.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def chromium_with_microphone(playwright: Playwright, sound: Path) -> Browser:
    """A browser that hears the WAV file `sound`, again and again."""
    if not CHROMIUM.exists():
        missing = f"{CHROMIUM} is missing; install Debian's package chromium"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    flags = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={sound}",
    ]
    return playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    tone = tmp_path_factory.mktemp("microphone") / "tone.wav"
    write_tone(tone, seconds=3.0, pitch=300, rate=48_000)
    with sync_playwright() as playwright:
        chromium = chromium_with_microphone(playwright, tone)
        yield chromium
        chromium.close()


@pytest.fixture
def outside() -> list[str]:
    """Addresses asked for beyond this machine."""
    return []


@pytest.fixture
def page(browser: Browser, served: Served, outside: list[str]) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, permissions=["microphone"]
    )
    page = context.new_page()
    page.set_default_timeout(60_000)

    def note(address: str) -> None:
        if not address.startswith((served.address, "data:", "blob:")):
            outside.append(address)

    page.on("request", lambda request: note(request.url))
    page.goto(served.address)
    # The page opens at Compare where there is a finished run.
    page.locator("#forecast .ws-big, #comparison").filter(visible=True).first.wait_for()
    yield page
    context.close()
