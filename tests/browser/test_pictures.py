"""Pictures of the tabs for the README, of real runs with the real model, when asked for.

WHISPERSLIM_SCREENSHOTS=FOLDER names where they go, WHISPERSLIM_RUNS the runs they show (default:
`runs`); its newest finished run that was not resized is compared with what it was made from.
"""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import free_port
from tests.browser.test_journey import open_options
from whisperslim.jobs.run.folder import RunStatus, list_runs
from whisperslim.jobs.sizes.derivation import read_derivation
from whisperslim.ui.app.build import launch

FOLDER = os.environ.get("WHISPERSLIM_SCREENSHOTS", "")
RUNS = Path(os.environ.get("WHISPERSLIM_RUNS", "runs"))

pytestmark = [pytest.mark.browser, pytest.mark.real]


def test_take_pictures(browser: Browser) -> None:
    finished = [
        run.name
        for run in list_runs(RUNS)
        if run.status() == RunStatus.FINISHED and read_derivation(run) is None
    ]
    assert finished, f"{RUNS} has no finished run to show"
    port = free_port()
    blocks = launch(RUNS, port=port, open_run=finished[0], block=False)
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(f"http://127.0.0.1:{port}")
    expect(page.locator("#run-card")).to_contain_text(finished[0], timeout=60_000)
    _picture(page, "Runs")
    _picture(page, "Compress")
    page.get_by_role("tab", name="Sparsity").click()
    expect(page.locator("#heads-decoder .js-plotly-plot")).to_be_visible(timeout=60_000)
    _picture(page, "Sparsity")
    page.get_by_role("tab", name="Trade-off").click()
    expect(page.locator("#tradeoff-tiles")).to_be_visible(timeout=60_000)
    _picture(page, "Trade-off")
    page.get_by_role("tab", name="Compare").click()
    # Like for like: the slim side's fastest engine is for the dense one, too.
    open_options(page)
    expect(page.locator("#slim-engine input")).not_to_have_value("")
    page.locator("#dense-engine input").click()
    page.get_by_role("option", name="ONNX Runtime, int8").click()
    page.locator("#dense-window input").click()
    page.get_by_role("option", name="fitted").click()
    page.get_by_text("Models, engines and options").click()
    page.locator("#clip input").click()
    page.locator("ul [role=option]").nth(1).click()
    page.wait_for_timeout(2000)
    page.locator("#compare").click()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=300_000)
    _picture(page, "Compare")
    blocks.close()


def _picture(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab).click()
    # Let charts settle and the pointer's highlight go.
    page.mouse.move(5, 5)
    page.wait_for_timeout(3000)
    Path(FOLDER).mkdir(parents=True, exist_ok=True)
    page.screenshot(path=Path(FOLDER) / f"{tab.lower()}.png")
