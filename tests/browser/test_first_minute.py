"""The page as somebody new finds it: one path to a result, readable by everyone, on any width.

The tests go from an empty folder of runs to a finished one, in this order.
"""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, free_port
from tests.browser.test_journey import open_options, tab
from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim.jobs.recipe.recipe import Recipe, load_recipe, with_values
from whisperslim.jobs.recipe.trial import NAME
from whisperslim.jobs.run.folder import RunStatus, list_runs
from whisperslim.ui.app.build import launch
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch

pytestmark = pytest.mark.browser
WORKING_MS = 240_000  # a busy machine loads torch on the way
PHONE, DESK = 390, 1280
_AXE = "(rules) => axe.run(document, {resultTypes: ['violations'], ...rules})"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app with nothing prepared, whose Try it takes a tiny model."""
    folder = tmp_path_factory.mktemp("first")
    model = tiny_model_folder(folder / "dense")
    corpus = tiny_corpus(folder / "corpus")

    def trial() -> Recipe:
        values = {
            "name": NAME,
            "model": str(model),
            "data.train": (f"{corpus}#train",),
            "data.test": (f"{corpus}#test",),
            "train.steps": 4,
            "recover.steps": 2,
        }
        return with_values(load_recipe("quick-demo"), values)

    port = free_port()
    context = AppContext(RunWatch(folder / "runs"), trial=trial)
    blocks = launch(folder / "runs", port=port, block=False, context=context)
    yield Served(f"http://127.0.0.1:{port}", folder / "runs", model, corpus)
    blocks.close()


@pytest.fixture(autouse=True)
def complaints(page: Page) -> Iterator[list[str]]:
    """What the browser's console calls errors; there must be none."""
    found: list[str] = []
    page.on("console", lambda said: found.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    yield found
    assert found == []


def test_one_path_is_offered_and_says_what_it_takes(page: Page, outside: list[str]) -> None:
    tab(page, "Compress")
    expect(page.locator("#try-it")).to_be_visible()
    for words in ("about 2 minutes", "GB while it runs", "already on this computer"):
        expect(page.locator("#try-offer")).to_contain_text(words)
    assert outside == []


def settled(page: Page, rules: dict[str, Any], tries: int = 40) -> list[str]:
    """What axe still finds when the tab has come up: while it is loaded it is dimmed."""
    for _ in range(tries):
        page.wait_for_timeout(500)
        found = serious(page.evaluate(_AXE, rules))
        if not found:
            break
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    # Colors alone differ between the two.
    rules: dict[str, Any] = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    found = []
    for name in tabs(page):
        page.get_by_role("tab", name=name, exact=True).click()
        found += [f"{name}: {line}" for line in settled(page, rules)]
    assert found == []


def test_no_tab_is_wider_than_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": PHONE, "height": 800})
    for name in tabs(page):
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE, name
    page.set_viewport_size({"width": DESK, "height": 900})


def test_wrong_values_are_marked_while_they_are_typed(page: Page) -> None:
    tab(page, "Compress")
    steps = page.locator("#field-train-steps input")
    steps.fill("-5")
    expect(page.locator("#field-train-steps")).to_have_class(re.compile("ws-wrong"))
    expect(page.locator("#preset-changes")).to_contain_text("Training, Steps: 30 → -5")
    steps.fill("12")
    expect(page.locator("#field-train-steps")).not_to_have_class(re.compile("ws-wrong"))
    expect(page.locator("#preset-changes")).to_contain_text("1 change from quick-demo")


def test_a_preset_of_ones_own_stays_after_a_reload(page: Page, served: Served) -> None:
    tab(page, "Compress")
    page.locator("#field-train-steps input").fill("12")
    expect(page.locator("#preset-changes")).to_contain_text("1 change")
    page.get_by_text("Your own presets").click()
    page.locator("#own-preset-name textarea, #own-preset-name input").fill("mine")
    page.locator("#own-preset-save").click()
    expect(page.locator("#preset-changes")).to_contain_text("Unchanged from mine")
    assert (served.runs / "presets" / "mine.yaml").is_file()
    page.reload()
    tab(page, "Compress")
    expect(page.locator("#preset-changes")).to_contain_text("Unchanged from quick-demo")
    page.locator("#preset input").click()
    page.get_by_role("option", name="mine (yours)").click()
    expect(page.locator("#field-train-steps input")).to_have_value("12")


def test_try_it_ends_on_compare_with_its_result(page: Page, served: Served) -> None:
    tab(page, "Compress")
    page.locator("#try-it").click()
    expect(page.locator("#try-progress")).to_contain_text(re.compile("Step|Done"))
    compare = page.get_by_role("tab", name="Compare")
    expect(compare).to_have_attribute("aria-selected", "true", timeout=WORKING_MS)
    (run,) = list_runs(served.runs)
    assert run.status() == RunStatus.FINISHED, run.log_path.read_text("utf-8")
    open_options(page)
    expect(page.locator("#slim input")).to_have_value(run.name)
    expect(page.locator("#reference textarea")).to_have_value(re.compile(r"[\u0900-\u097f]"))
    # Nothing need be pressed: the comparison is there, by the export that the run has written.
    expect(page.locator("#comparison .ws-transcript")).to_have_count(2, timeout=WORKING_MS)
    expect(page.locator("#comparison")).to_contain_text("CTranslate2 int8")
    expect(page.locator("#comparison")).to_contain_text("smaller")
    expect(page.locator("#comparison")).to_contain_text("Like for like: both models run in CTr")
    expect(page.locator("#comparison")).not_to_contain_text("used to train it")


def tabs(page: Page) -> list[str]:
    """Names of the page's tabs, from left to right."""
    return [name.strip() for name in page.get_by_role("tab").all_inner_texts()]


def serious(result: dict[str, Any]) -> list[str]:
    """What is wrong and where, of what keeps people out."""
    return [
        f"{found['id']} at {node['target']}"
        for found in result["violations"]
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]
