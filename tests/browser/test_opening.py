"""Where the page opens: at a result once there is one, and never away from a visitor."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import Served, free_port
from tests.browser.test_journey import tab
from tests.support.runs.fake_runs import finish, make_run, write_events
from whisperslim import boxed
from whisperslim.ui.app.build import launch

pytestmark = pytest.mark.browser
ASKED = re.compile("component_server")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An app that started without any model and has one since."""
    runs = tmp_path_factory.mktemp("app") / "runs"
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxed, "BOXED", ())
        blocks = launch(runs, port=port, block=False)
        run = make_run(runs)
        write_events(run)
        finish(run)
        yield Served(f"http://127.0.0.1:{port}", runs, Path(), Path())
    blocks.close()


@pytest.fixture
def held(browser: Browser, served: Served) -> Iterator[tuple[Page, list[Route]]]:
    """A fresh page whose question, where to open, waits for the test."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    waiting: list[Route] = []
    page.route(ASKED, lambda route: waiting.append(route))
    with page.expect_request(ASKED):
        page.goto(served.address)
    yield page, waiting
    context.close()


def selected(page: Page, name: str) -> None:
    expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")


def test_it_opens_at_the_result_that_came_after_the_start(
    held: tuple[Page, list[Route]],
) -> None:
    page, waiting = held
    selected(page, "Compress")
    waiting.pop().continue_()
    selected(page, "Compare")
    expect(page.locator("#comparison")).to_be_visible()


def test_who_has_chosen_a_tab_stays_there(held: tuple[Page, list[Route]]) -> None:
    page, waiting = held
    tab(page, "Record")
    selected(page, "Record")
    with page.expect_response(ASKED):
        waiting.pop().continue_()
    page.wait_for_timeout(500)
    selected(page, "Record")
