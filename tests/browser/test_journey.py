"""From an empty folder to a compared slim model, by mouse and keyboard alone.

The tests build on one another, in this order: the run that the first starts is what the others see.
"""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Served
from whisperslim.jobs.run.folder import RunStatus, list_runs

pytestmark = pytest.mark.browser
WORKING_MS = 240_000  # a busy machine loads torch twice on the way


def test_wrong_values_are_reported_beside_their_fields(page: Page, served: Served) -> None:
    tab(page, "Compress")
    page.locator("#field-name textarea").fill("no/folder")
    page.locator("#field-train-steps input").fill("-5")
    page.locator("#start").click()
    expect(page.locator("#field-name")).to_have_class(re.compile("ws-wrong"))
    expect(page.locator("#field-name .info-text")).to_contain_text("cannot name a folder")
    expect(page.locator("#field-train-steps .info-text")).to_contain_text("-5 is outside")
    expect(page.locator("#problems")).to_contain_text("Not started")
    assert list_runs(served.runs) == []


def test_slider_moves_the_expected_size(page: Page) -> None:
    tab(page, "Compress")
    before = page.locator("#forecast .ws-big").inner_text()
    slider = page.locator("#field-target-removed input[type=number]")
    slider.fill("0.6")
    slider.press("Enter")
    expect(page.locator("#forecast .ws-big")).not_to_have_text(before)
    # 60 % of 44.04 M prunable weights of 72.59 M parameters are gone; and, where Whisper's
    # tokenizer is on this machine, 512 elements of each of the 50,994 tokens Hindi does not need.
    expect(page.locator("#forecast .ws-big")).to_have_text(re.compile("72.6 M → (46.2|20.1) M"))


def test_start_runs_to_the_end_while_the_page_is_reloaded(page: Page, served: Served) -> None:
    tab(page, "Compress")
    _fill_in(page, served)
    page.locator("#start").click()
    card = page.locator("#run-card")
    expect(card).to_contain_text("journey", timeout=60_000)
    page.reload()
    tab(page, "Runs")
    expect(card).to_contain_text("journey")
    ended = re.compile("finished|failed|died")
    expect(card.locator(".ws-pill").first).to_have_text(ended, timeout=WORKING_MS)
    (run,) = list_runs(served.runs)
    assert run.status() == RunStatus.FINISHED, run.log_path.read_text("utf-8")
    tab(page, "Runs")  # a page that is loaded once there is a result opens at Compare
    expect(page.locator("#loss-plot .js-plotly-plot")).to_be_visible()
    expect(page.locator("#scores")).to_contain_text("slim (evaluate)")


def test_sparsity_shows_layers_and_plans_anew(page: Page) -> None:
    tab(page, "Sparsity")
    expect(page.locator("#weights-encoder .js-plotly-plot")).to_be_visible(timeout=60_000)
    expect(page.locator("#heads-decoder .js-plotly-plot")).to_be_visible()
    slider = page.locator("#sparsity-target input[type=number]")
    slider.fill("0.6")
    slider.press("Enter")
    expect(page.locator("#sparsity-summary")).to_contain_text("at the slider")
    share = re.search(r"at the slider.*?([\d.]+) % removed", summary(page))
    assert share is not None and 60.0 <= float(share.group(1)) < 65.0


def test_compare_a_demo_clip(page: Page, served: Served) -> None:
    tab(page, "Compare")
    _choose_dense(page, served)
    page.locator("#clip input").click()
    page.locator("ul [role=option]").first.click()
    expect(page.locator("#reference textarea")).to_have_value(re.compile(r"[\u0900-\u097f]"))
    page.locator("#compare").click()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=WORKING_MS)
    expect(page.locator("#comparison")).to_contain_text("WER, hindi-1")
    expect(page.locator("#comparison")).to_contain_text("real-time factor")


def test_compare_a_recording_of_the_microphone(page: Page, served: Served) -> None:
    tab(page, "Compare")
    _choose_dense(page, served)
    page.get_by_role("button", name="Record", exact=True).click()
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Stop", exact=True).last.click()
    expect(page.locator("#recording audio, #recording #waveform")).not_to_have_count(0)
    page.wait_for_timeout(1000)
    page.locator("#compare").click()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=WORKING_MS)


def test_arrow_keys_move_between_tabs(page: Page) -> None:
    page.get_by_role("tab", name="Compress").focus()
    for key, name in (("ArrowRight", "Runs"), ("ArrowLeft", "Compress"), ("ArrowLeft", "Record")):
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tab", name=name)).to_be_focused()


def test_errors_are_sentences(page: Page) -> None:
    tab(page, "Compare")
    page.locator("#compare").click()
    expect(page.get_by_text("there is no recording")).to_be_visible()
    assert "Traceback" not in page.content()


def test_nothing_is_fetched_from_elsewhere(page: Page, outside: list[str]) -> None:
    for name in ("Runs", "Sparsity", "Compare"):
        tab(page, name)
        page.wait_for_timeout(1000)
    assert outside == []


def test_devanagari_has_its_font(page: Page) -> None:
    tab(page, "Compare")
    assert page.evaluate("document.fonts.load('16px \"Noto Sans Devanagari\"', 'क्षि')"
                         ".then(faces => faces.length)") == 1  # fmt: skip


def test_narrow_pages_do_not_scroll_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 420, "height": 900})
    for name in ("Compress", "Runs", "Sparsity", "Compare"):
        tab(page, name)
        page.wait_for_timeout(500)
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= 420, f"{name}, {scheme}"


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def summary(page: Page) -> str:
    return page.locator("#sparsity-summary").inner_text().replace("\n", " ")


def _fill_in(page: Page, served: Served) -> None:
    _type(page.locator("#field-model input"), str(served.model))
    page.locator("#field-name textarea").fill("journey")
    page.locator("#field-data-train textarea").fill(f"{served.corpus}#train")
    page.locator("#field-data-test textarea").fill(f"{served.corpus}#test")
    page.locator("#field-train-steps input").fill("4")
    page.locator("#field-recover-steps input").fill("2")
    page.locator("#field-name textarea").click()


def _choose_dense(page: Page, served: Served) -> None:
    open_options(page)
    _type(page.locator("#dense input"), str(served.model))


def _type(field: Locator, value: str) -> None:
    field.fill(value)
    field.press("Enter")


def open_options(page: Page) -> None:
    """Unless they are open."""
    if not page.locator("#slim input").is_visible():
        page.get_by_text("Models, engines and options").click()
