"""Speech into Chromium's microphone: text while it goes on, and engines to choose from.

Microphone, script, server and voice detector are real; the model is not.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.app.served import write_pcm
from tests.browser.conftest import Served, chromium_with_microphone, free_port
from tests.browser.test_journey import open_options, tab
from tests.support.runs.fake_runs import finish, make_run, write_events
from tests.ui.compare.test_compare import comparison, write_export
from whisperslim.engines.live.session import LiveSession
from whisperslim.engines.live.text import LiveText
from whisperslim.engines.live.voice import SileroDetector
from whisperslim.speech.audio.decoding import decode
from whisperslim.ui.app.build import launch
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.parts.demo_clips import CLIPS_FOLDER

pytestmark = pytest.mark.browser
CLIP = CLIPS_FOLDER / "audio" / "demo_000.ogg"
PATIENCE = 60_000


@dataclass
class Listener:
    """Hears a word in every stretch of speech, and how long a recording is."""

    lane: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    heard: list[float] = field(default_factory=list)
    recorded: list[float] = field(default_factory=list)
    previews: int = 0

    def is_here(self, side: Any) -> bool:
        return True

    def get_ready(self, *given: Any) -> None:
        pass

    def preview(self, side: Any, language: str) -> LiveSession:
        self.previews += 1

        def hear(sound: np.ndarray) -> str:
            self.heard.append(len(sound) / 16_000)
            return "सुना <b>"

        return LiveSession(LiveText(hear, SileroDetector()), lambda: None, self.lane)

    def compare(self, dense: Any, slim: Any, recording: str, *given: Any) -> Any:
        self.recorded.append(len(decode(recording)) / 16_000)
        return comparison(third=len(given) > 2)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Iterator[Served]:
    runs = tmp_path_factory.mktemp("app") / "runs"
    run = make_run(runs)
    write_events(run)
    finish(run)
    write_export(run.path / "export" / "ctranslate2", "ctranslate2", "int8", 5)
    context = AppContext(RunWatch(runs), listening=listener)  # type: ignore[arg-type]
    port = free_port()
    blocks = launch(runs, port=port, block=False, context=context)
    yield Served(f"http://127.0.0.1:{port}", runs, Path(), Path())
    blocks.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    spoken = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    write_pcm(spoken, CLIP)
    with sync_playwright() as playwright:
        chromium = chromium_with_microphone(playwright, spoken)
        yield chromium
        chromium.close()


def press_record(page: Page) -> None:
    """As somebody does who sees which models are chosen: the lists come after the page."""
    open_options(page)
    expect(page.locator("#slim input")).not_to_have_value("")
    page.get_by_role("button", name="Record", exact=True).click()


def test_engines_are_offered_and_explained(page: Page) -> None:
    tab(page, "Compare")
    open_options(page)
    expect(page.locator("#slim-engine input")).to_have_value("CTranslate2 int8")
    note = page.locator("#engine-note")
    expect(note).to_contain_text("same text for 5 of 6 parts")
    page.locator("#slim-engine input").click()
    page.get_by_role("option", name="PyTorch fp32").click()
    expect(note).to_contain_text("the slim model itself")
    page.locator("#dense-engine input").click()
    page.get_by_role("option", name="CTranslate2, as in faster-whisper, int8").click()
    expect(note).to_contain_text("takes a minute or two")


def test_text_appears_while_speaking_and_the_whole_recording_is_compared(
    page: Page, listener: Listener
) -> None:
    tab(page, "Compare")
    live = page.locator("#live-text")
    press_record(page)
    expect(live).to_contain_text("सुना <b>", timeout=PATIENCE)
    expect(live).to_contain_text("while you speak")
    assert live.locator("b").count() == 0
    # A machine that is very busy may leave the dense side out, and then says so.
    dense = live.locator(".ws-live-dense")
    expect(dense).to_contain_text(re.compile("सुना|continues alone"), timeout=PATIENCE)
    expect(live.locator(".ws-level-bar")).to_be_visible()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop", exact=True).last.click()
    expect(live).to_contain_text("Heard while you spoke", timeout=PATIENCE)
    passes = len(listener.heard)
    expect(page.locator("#recording audio, #recording #waveform")).not_to_have_count(0)
    page.wait_for_timeout(1000)
    assert len(listener.heard) == passes, "nothing is heard once the recording has ended"
    # Stop alone gives the pair.
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)
    expect(page.locator("#comparison")).to_contain_text("Not like for like")
    # The final texts take the place of the earlier ones, which would push them off a projector.
    expect(live.locator(".ws-live")).to_be_hidden()
    assert listener.recorded[-1] > max(listener.heard) and listener.recorded[-1] > 1.5


def test_without_the_tick_nothing_is_sent(page: Page, listener: Listener) -> None:
    tab(page, "Compare")
    open_options(page)
    page.get_by_label("Show text while I speak").uncheck()
    before = listener.previews
    press_record(page)
    page.wait_for_timeout(2500)
    page.get_by_role("button", name="Stop", exact=True).last.click()
    expect(page.locator("#recording audio, #recording #waveform")).not_to_have_count(0)
    expect(page.locator("#live-text .ws-live")).to_be_hidden()
    expect(page.locator("#live-text .ws-level")).to_be_hidden()
    assert listener.previews == before


def test_another_clip_clears_the_text(page: Page) -> None:
    tab(page, "Compare")
    press_record(page)
    expect(page.locator("#live-text")).to_contain_text("सुना", timeout=PATIENCE)
    page.get_by_role("button", name="Stop", exact=True).last.click()
    page.locator("#clip input").click()
    page.locator("ul [role=option]").first.click()
    expect(page.locator("#live-text .ws-live")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 390, "height": 900})
    tab(page, "Compare")
    press_record(page)
    expect(page.locator("#live-text")).to_contain_text("सुना", timeout=PATIENCE)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("button", name="Stop", exact=True).last.click()
