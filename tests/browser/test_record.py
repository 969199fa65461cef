"""A corpus of one's own by microphone, and the replay of a run."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served
from tests.support.runs.fake_runs import make_groups, make_run, write_plan
from whisperslim import events
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.speech.corpus.dataset import load_items

pytestmark = pytest.mark.browser
# The first recording waits for torch, which a busy machine loads slowly.
WORKING_MS = 240_000


def test_sentences_are_recorded_one_by_one_and_found_again(page: Page, served: Served) -> None:
    page.get_by_role("tab", name="Record").click()
    expect(page.get_by_text("No recordings of your own yet")).to_be_visible()
    page.locator("#corpus-name").get_by_role("textbox").fill("my-voice")
    page.locator("#corpus-begin").click()
    expect(page.locator("#prompt")).to_contain_text("Sentence 1 of 60")
    record = page.locator("#reading").get_by_role("button", name="Record", exact=True)
    record.click()
    # A click on Next now would put the reading to the wrong sentence.
    expect(page.locator("#sentence-next")).to_be_disabled()
    page.wait_for_timeout(1500)
    page.locator("#reading").get_by_role("button", name="Stop", exact=True).last.click()
    expect(page.locator("#take-state")).to_contain_text("saved", timeout=WORKING_MS)
    expect(page.locator("#sentence-next")).to_be_enabled()
    page.locator("#sentence-next").click()
    expect(page.locator("#prompt")).to_contain_text("Sentence 2 of 60")
    (item,) = load_items(str(served.runs / "recordings" / "my-voice"))
    assert item.path.is_file() and item.split == "train"
    page.reload()
    page.get_by_role("tab", name="Record").click()
    expect(page.locator("#prompt")).to_contain_text("Sentence 2 of 60")
    page.locator("#sentence-previous").click()
    expect(page.locator("#take-state")).to_contain_text("recorded")


def test_the_corpus_goes_to_compress(page: Page, served: Served) -> None:
    page.get_by_role("tab", name="Record").click()
    page.locator("#corpus-use").click()
    expect(page.get_by_text("There are none for testing yet")).to_be_visible()
    wanted = f"{served.runs / 'recordings' / 'my-voice' / 'manifest.tsv'}#train"
    expect(page.locator("#field-data-train textarea")).to_have_value(wanted)
    expect(page.locator("#field-data-train textarea")).to_be_visible()


def test_a_narrow_page_does_not_scroll_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    page.get_by_role("tab", name="Record").click()
    expect(page.locator("#prompt")).to_contain_text("Sentence")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_run_is_replayed(page: Page, served: Served) -> None:
    groups = make_groups()
    run = make_run(served.runs, "replayed")
    for step, share in ((10, 0.25), (20, 0.5)):
        same = {group.key: share for group in groups}
        EventLog(run.events_path).append(events.SparsityMeasured("tune", step, same, same))
    write_plan(run, groups, 0.3)
    page.reload()
    page.get_by_role("tab", name="Sparsity").click()
    at, time = page.locator(".ws-replay-at"), page.locator(".ws-replay-time")
    expect(at).to_have_text("after the cut", timeout=WORKING_MS)
    time.fill("1")
    expect(at).to_have_text("tune, step 10")
    cell = page.locator('[data-key="encoder.0.ffn"]')
    expect(cell).to_have_text("25")
    page.locator(".ws-replay-play").click()
    expect(at).to_have_text("after the cut")
    expect(page.locator(".ws-replay-play")).to_have_text("Play")
    page.locator(".ws-replay-shown").select_option("zero")
    # Zero before the cut, or cut: at least half.
    expect(cell).not_to_have_text("25")
