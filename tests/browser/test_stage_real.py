"""The stage with the models that come with the project and a real recording for a microphone.

WHISPERSLIM_RECORDINGS names a folder of clips with a manifest, such as one of read Hindi; without
it, a demo clip is spoken. The models are real as well, and only what must hold of any recording is
asked of them.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.app.served import write_pcm
from tests.browser.conftest import Served, chromium_with_microphone, free_port
from tests.browser.test_journey import open_options, tab
from whisperslim import boxed
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.ui.app.build import launch
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.guard.folders import Folders
from whisperslim.ui.parts.demo_clips import CLIPS_FOLDER

pytestmark = [
    pytest.mark.browser,
    pytest.mark.real,
    pytest.mark.skipif(
        not all(each.path.is_dir() for each in boxed.BOXED),
        reason="the models of the project are not here",
    ),
]
RECORDINGS = Path(os.environ.get("WHISPERSLIM_RECORDINGS", str(CLIPS_FOLDER)))
PATIENCE = 240_000  # of a busy machine


@pytest.fixture(scope="module")
def spoken() -> tuple[Path, str]:
    """A recording and its text: the shortest of the folder, since it is heard as it is said."""
    clips = [item for item in load_items(str(RECORDINGS)) if item.text.strip()]
    assert clips, f"{RECORDINGS} has no recording with a text"
    found = min(clips, key=lambda item: item.path.stat().st_size)
    return found.path, found.text


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    runs = tmp_path_factory.mktemp("real") / "runs"
    port = free_port()
    context = AppContext(RunWatch(runs), folders=Folders((RECORDINGS.resolve(),)))
    blocks = launch(runs, port=port, block=False, context=context)
    yield Served(f"http://127.0.0.1:{port}", runs, Path(), Path())
    blocks.close()


@pytest.fixture(scope="module")
def browser(
    tmp_path_factory: pytest.TempPathFactory, spoken: tuple[Path, str]
) -> Iterator[Browser]:
    sound = tmp_path_factory.mktemp("microphone") / "spoken.wav"
    write_pcm(sound, spoken[0])
    with sync_playwright() as playwright:
        chromium = chromium_with_microphone(playwright, sound)
        yield chromium
        chromium.close()


def compared(page: Page) -> None:
    expect(page.locator("#comparison .ws-transcript")).to_have_count(2, timeout=PATIENCE)
    texts = page.locator("#comparison .ws-transcript").all_inner_texts()
    assert all(re.search(r"[\u0900-\u097f]", each) for each in texts), texts
    expect(page.locator("#comparison")).to_contain_text("Like for like")
    expect(page.locator(".ws-gains")).to_contain_text("smaller")


def test_what_is_spoken_is_seen_and_compared(page: Page) -> None:
    record = page.get_by_role("button", name="Record", exact=True)
    open_options(page)
    expect(page.locator("#slim input")).to_have_value(re.compile("base-hi"), timeout=PATIENCE)
    record.click()
    live = page.locator(".ws-live-slim .ws-live-text")
    expect(live).to_contain_text(re.compile(r"[\u0900-\u097f]"), timeout=PATIENCE)
    page.get_by_role("button", name="Stop", exact=True).click()
    compared(page)


def test_an_upload_with_its_text_ends_in_a_verdict(page: Page, spoken: tuple[Path, str]) -> None:
    tab(page, "Compare")
    page.locator("#recording").get_by_role("button", name="Upload file").click()
    page.locator("#recording input[type=file]").set_input_files(spoken[0])
    # A recording that comes clears what was said in the one before.
    expect(page.locator("#recording").get_by_role("button", name="Play")).to_be_visible()
    page.wait_for_timeout(2_000)
    page.locator("#reference textarea").fill(spoken[1])
    page.locator("#compare").click()
    compared(page)
    expect(page.locator(".ws-said-text")).to_have_text(spoken[1].strip())
    verdict = re.compile("heard it better|Equal on|Both are right|Neither is|No winner")
    expect(page.locator(".ws-verdict")).to_have_text(verdict)
