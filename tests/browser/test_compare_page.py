"""Comparing for an audience: blind votes, what was compared before, files to pass on."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, free_port
from tests.browser.test_journey import open_options, tab
from tests.support.runs.fake_runs import finish, make_run, write_events
from tests.ui.compare.test_compare import comparison, write_export
from whisperslim.ui.app.build import launch
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch

pytestmark = pytest.mark.browser
PATIENCE = 60_000


@dataclass
class Listener:
    """Has heard it all before."""

    lane: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    def is_here(self, side: Any) -> bool:
        return False

    def get_ready(self, *given: Any) -> None:
        pass

    def holding(self, *given: Any) -> Any:
        return nullcontext()

    def compare(self, *given: Any, alone: bool = False) -> Any:
        return comparison(third=len(given) > 5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    runs = tmp_path_factory.mktemp("app") / "runs"
    run = make_run(runs)
    write_events(run)
    finish(run)
    write_export(run.path / "export" / "ctranslate2", "ctranslate2", "int8", 5)
    context = AppContext(RunWatch(runs), listening=Listener())  # type: ignore[arg-type]
    port = free_port()
    blocks = launch(runs, port=port, block=False, context=context)
    yield Served(f"http://127.0.0.1:{port}", runs, Path(), Path())
    blocks.close()


def choose_clip(page: Page) -> None:
    tab(page, "Compare")
    open_options(page)
    expect(page.locator("#slim-engine input")).to_have_value("CTranslate2 int8")
    page.locator("#clip input").click()
    page.locator("ul [role=option]").first.click()
    expect(page.locator("#reference textarea")).to_have_value(re.compile(r"[\u0900-\u097f]"))


def test_a_blind_vote_tells_nothing_before_it_is_cast(page: Page, served: Served) -> None:
    choose_clip(page)
    page.locator("#blind input").check()
    page.locator("#compare").click()
    result = page.locator("#comparison")
    expect(result).to_contain_text("A and B are hidden", timeout=PATIENCE)
    expect(result.locator(".ws-transcript")).to_have_count(2)
    expect(page.locator("#save-page")).to_be_hidden()
    assert "slim" not in result.inner_text().lower()
    page.get_by_role("button", name="A heard it better").click()
    expect(result).to_contain_text("Blind vote")
    expect(page.locator("#vote-1")).to_be_hidden()
    page.get_by_text("Earlier comparisons").click()
    expect(page.locator("#tally")).to_contain_text("Blind votes")
    (kept,) = (served.runs / "comparisons").glob("*/comparison.json")
    record = json.loads(kept.read_text("utf-8"))
    assert record["vote"] == record["blind"][0]


def test_three_models_then_found_again_after_a_reload(page: Page) -> None:
    choose_clip(page)
    page.locator("#third input").click()
    page.get_by_role("option", name="PyTorch fp32").click()
    page.locator("#compare").click()
    expect(page.locator("#comparison .ws-transcript")).to_have_count(3, timeout=PATIENCE)
    page.reload()
    tab(page, "Compare")
    page.get_by_text("Earlier comparisons").click()
    page.locator("#earlier input").click()
    expect(page.locator("#earlier ul [role=option]")).not_to_have_count(0)
    page.locator("#earlier ul [role=option]").first.click()
    expect(page.locator("#comparison .ws-transcript")).to_have_count(3, timeout=PATIENCE)
    player = page.locator("#comparison audio")
    player.evaluate("audio => new Promise(done => audio.readyState ? done() :"
                    " audio.addEventListener('loadedmetadata', done))")  # fmt: skip
    assert 3.0 < player.evaluate("audio => audio.duration") < 5.0


def test_a_page_is_saved_that_stands_alone(page: Page, tmp_path: Path) -> None:
    choose_clip(page)
    page.locator("#compare").click()
    expect(page.locator("#comparison .ws-transcript")).to_have_count(2, timeout=PATIENCE)
    expect(page.locator("#save-page")).to_be_visible()
    with page.expect_download(timeout=PATIENCE) as download:
        page.locator("#save-page").click()
    assert download.value.suggested_filename.endswith(".html")
    download.value.save_as(tmp_path / "saved.html")
    saved = page.context.new_page()
    saved.goto((tmp_path / "saved.html").as_uri())
    expect(saved.locator(".ws-transcript")).to_have_count(2)
    page.locator("#delete-comparison").click()
    expect(page.locator("#comparison")).to_contain_text("Nothing compared yet")


def test_only_buttons_that_do_something_are_seen(page: Page) -> None:
    choose_clip(page)
    for _ in range(2):
        page.locator("#compare").click()
        expect(page.locator("#comparison .ws-transcript")).to_have_count(2, timeout=PATIENCE)
        expect(page.locator("#save-page")).to_be_visible()
        expect(page.get_by_text("Download", exact=True).locator("visible=true")).to_have_count(0)
        page.locator("#delete-comparison").click()
        expect(page.locator("#save-page")).to_be_hidden()


def test_a_whole_folder(page: Page, tmp_path_factory: pytest.TempPathFactory) -> None:
    choose_clip(page)
    page.get_by_text("Compare on a whole folder").click()
    page.locator("#folder-source textarea, #folder-source input").fill("/proc")
    page.locator("#folder-start").click()
    expect(page.get_by_text("is not in a folder that the page may open")).to_be_visible()
    folder = Path(__file__).resolve().parents[2] / "assets" / "demo_hi"
    page.locator("#folder-source textarea, #folder-source input").fill(f"{folder}#test")
    page.locator("#folder-most input").fill("3")
    page.locator("#folder-start").click()
    expect(page.locator("#folder-result")).to_contain_text("3 of 3 clips", timeout=PATIENCE)
    page.locator("#folder-clip input").click()
    page.locator("ul [role=option]").nth(1).click()
    expect(page.locator("#folder-sound audio")).to_be_visible(timeout=PATIENCE)
    with page.expect_download(timeout=PATIENCE) as download:
        page.locator("#folder-json").click()
    assert json.loads(Path(download.value.path()).read_text("utf-8"))["compared"] == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_a_comparison(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 390, "height": 900})
    choose_clip(page)
    page.locator("#compare").click()
    expect(page.locator("#comparison .ws-transcript")).to_have_count(2, timeout=PATIENCE)
    page.get_by_text("Earlier comparisons").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
