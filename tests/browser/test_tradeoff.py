"""The Trade-off tab by mouse and keyboard, on a run written by hand: no model, no training."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, free_port
from tests.browser.test_journey import tab
from tests.support.runs.fake_runs import finish, make_groups, make_run, write_events, write_plan
from tests.support.runs.fake_sizes import FakeResizing, make_prediction, make_sweep
from whisperslim import methods
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.curve import write_sweep
from whisperslim.ui.app.build import launch
from whisperslim.ui.context.cache import ModelCache
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch

pytestmark = pytest.mark.browser


@dataclass
class Fakes:
    """Finish at once what would be processes of their own."""

    sizes: FakeResizing

    def command(self, run: RunDir, name: str, arguments: Sequence[str]) -> int:
        if name == "sweep":
            write_sweep(run, make_sweep(run.name))
        else:
            key = (run.name, float(arguments[3]), float(arguments[5]))
            self.sizes.predictions[key] = make_prediction()
        return 1


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    runs = tmp_path_factory.mktemp("app") / "runs"
    run = make_run(runs)
    write_plan(run, make_groups(), 0.3)
    write_events(run)
    finish(run)
    fakes = Fakes(FakeResizing())
    context = AppContext(
        RunWatch(runs),
        start=lambda run: 1,
        zeroed=ModelCache(lambda path: {}),
        resizing=fakes.sizes,
        command=fakes.command,
    )
    port = free_port()
    blocks = launch(runs, port=port, block=False, context=context)
    yield Served(f"http://127.0.0.1:{port}", runs, Path(), Path())
    blocks.close()


def test_another_size_is_planned_predicted_and_measured(page: Page) -> None:
    tab(page, "Trade-off")
    tiles = page.locator("#tradeoff-tiles b").first
    expect(tiles).to_be_visible(timeout=60_000)
    before = tiles.inner_text()
    target = page.locator("#tradeoff-removed input[type=number]")
    target.fill("0.6")
    target.press("Enter")
    expect(tiles).not_to_have_text(before)
    expect(page.locator("#resized-decoder .js-plotly-plot")).to_be_visible()
    page.locator("#tradeoff-predict").click()
    expect(page.locator("#tradeoff-prediction")).to_contain_text("before any recovery training")
    page.locator("#sweep").click()
    expect(page.locator("#curve .js-plotly-plot")).to_be_visible()
    expect(page.locator("#curve-points")).to_contain_text("hindi-1")
    expect(page.locator("#curve .xtitle")).to_have_text("parameters")
    page.get_by_text("size on disk").click()
    expect(page.locator("#curve .xtitle")).to_have_text("size on disk")


def test_wrong_targets_are_reported_at_the_control(page: Page) -> None:
    tab(page, "Trade-off")
    page.locator("#sweep-targets textarea").fill("half of it")
    page.locator("#sweep").click()
    expect(page.locator("#sweep-problem")).to_contain_text("not a list of numbers")


def test_another_method_brings_its_knobs_and_the_first_keeps_its_values(page: Page) -> None:
    tab(page, "Compress")
    knob = page.locator("#field-method-lambda-group-encoder-sgl input[type=number]")
    knob.fill("7")
    knob.press("Tab")
    titles = methods.titled()
    for name, seen in (("one_shot", False), ("sgl", True)):
        page.locator("#field-method-name input").click()
        page.get_by_role("option", name=titles[name], exact=True).click()
        expect(knob).to_be_visible(visible=seen)
    expect(knob).to_have_value("7")
    expect(page.locator("#method-summary")).to_contain_text("Sparse Group LASSO")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_page_shows_every_tab_and_does_not_scroll_sideways(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 390, "height": 900})
    for name in ("Compress", "Runs", "Sparsity", "Trade-off", "Compare"):
        expect(page.get_by_role("tab", name=name)).to_be_visible()
    tab(page, "Trade-off")
    expect(page.locator("#resized-encoder .js-plotly-plot")).to_be_visible(timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_apply_shows_the_new_run(page: Page, served: Served) -> None:
    tab(page, "Trade-off")
    page.locator("#tradeoff-apply").click()
    expect(page.locator("#run-card")).to_contain_text(re.compile(r"\d{8}-\d{6}-derived"))
