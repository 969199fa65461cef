"""The Models page in a real browser: list, use in Compare, delete with a question; and its colors.

The tests build on one another, in this order, and share one app.
"""

import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, free_port
from tests.browser.test_first_minute import settled
from tests.browser.test_journey import open_options
from tests.support.models.shelf import export_folder, model_folder, slim_run
from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim import boxed
from whisperslim.ui.app.build import launch

pytestmark = pytest.mark.browser
RUN = "20260101-000000-mine"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An app over a run with an export, a fetched model, and one that is damaged."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHISPERSLIM_CACHE", str(folder / "cache"))
        patch.setenv("WHISPERSLIM_OFFLINE", "1")
        patch.setattr(boxed, "BOXED", ())  # which are there depends on the installation
        run = slim_run(folder / "runs", RUN)
        export_folder(run.path / "export" / "onnx-int8", run.name)
        model = tiny_model_folder(folder / "cache" / "models" / "someone--whisper-tiny")
        model_folder(folder / "cache" / "models" / "someone--bert", "bert")
        port = free_port()
        blocks = launch(folder / "runs", port=port, block=False)
        corpus = tiny_corpus(folder / "corpus")
        yield Served(f"http://127.0.0.1:{port}", folder / "runs", model, corpus)
        blocks.close()


def models(page: Page) -> None:
    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#models label")).not_to_have_count(0)


def choose(page: Page, name: str) -> None:
    row = page.locator("#models label", has_text=name)
    row.click()
    # The list is read again when the tab opens, which may undo a choice made before.
    page.wait_for_timeout(1_000)
    if not row.locator("input").is_checked():
        row.click()
    expect(row.locator("input")).to_be_checked()


def test_every_model_is_listed_and_a_damaged_one_with_the_reason(page: Page) -> None:
    models(page)
    expect(page.locator("#models label")).to_have_count(4)
    row = page.locator("#models label", has_text="bert")
    expect(row).to_contain_text("cannot be used: models of type 'bert' are not supported")
    choose(page, "slim model")
    card = page.locator("#model-card")
    for fact in (RUN, "PyTorch fp16", "Hindi (hi)", "25.0 %", "n = 12", "openai/whisper-base"):
        expect(card).to_contain_text(fact)
    expect(page.locator("#no-models")).not_to_be_visible()


def test_a_model_is_used_in_compare_as_either_side(page: Page) -> None:
    models(page)
    choose(page, "whisper-tiny")
    page.locator("#model-as-dense").click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    open_options(page)
    expect(page.locator("#dense input")).to_have_value(re.compile("someone/whisper-tiny"))
    models(page)
    choose(page, "slim model")
    page.locator("#model-as-slim").click()
    expect(page.locator("#slim input")).to_have_value(RUN)
    expect(page.locator("#language input")).to_have_value("Hindi (hi)")


def test_languages_are_those_that_both_models_know(page: Page, served: Served) -> None:
    """The tiny model knows two; the other one, whose tokenizer is missing, says nothing."""
    page.get_by_role("tab", name="Compare").click()
    open_options(page)
    page.locator("#dense input").fill("someone/whisper-tiny")
    page.locator("#dense input").press("Enter")
    page.wait_for_timeout(2000)
    field = page.locator("#language input")
    field.click()
    expect(page.locator("ul [role=option]")).to_have_count(2)
    field.fill("klingon")
    field.press("Enter")
    expect(page.locator("#language")).to_have_class(re.compile("ws-wrong"))
    expect(page.locator("#language .info-text")).to_contain_text("English (en), Hindi (hi)")
    field.fill("Hindi")
    field.press("Enter")
    expect(page.locator("#language")).not_to_have_class(re.compile("ws-wrong"))
    expect(field).to_have_value("Hindi (hi)")


def test_a_form_without_its_data_and_with_an_unknown_language_is_marked(page: Page) -> None:
    page.get_by_role("tab", name="Compress").click()
    # As the presets for real recordings have it; there is no such folder here.
    page.locator("#field-data-train textarea").fill("data/cv-hi#train")
    expect(page.locator("#field-method-name input")).to_have_value("Sparse Group LASSO (sgl)")
    field = page.locator("#field-language input")
    expect(field).to_have_value("Hindi (hi)")
    field.fill("klingon")
    field.press("Enter")
    page.locator("#start").click()
    expect(page.locator("#field-language")).to_have_class(re.compile("ws-wrong"))
    expect(page.locator("#problems")).to_contain_text("near ones are ")
    field.fill("Hindi")
    field.press("Enter")
    expect(page.locator("#field-language")).not_to_have_class(re.compile("ws-wrong"))
    page.locator("#start").click()
    expect(page.locator("#field-data-train")).to_have_class(re.compile("ws-wrong"))
    expect(page.locator("#problems")).to_contain_text("data/cv-hi was not found. Give ")
    expect(page.locator("#problems")).not_to_contain_text("folder that the page may open")


def test_offline_a_fetch_says_what_is_here(page: Page) -> None:
    models(page)
    page.locator("#fetch-name textarea, #fetch-name input").fill("openai/whisper-small")
    page.locator("#fetch-start").click()
    expect(page.get_by_text("Here without a network: someone/whisper-tiny")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_anybody(page: Page, scheme: str) -> None:
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 390, "height": 900})
    models(page)
    choose(page, "bert")
    expect(page.locator("#model-card")).to_contain_text("cannot be used")
    # Colors alone differ between the two.
    rules: dict[str, Any] = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    assert settled(page, rules) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_delete_asks_first(page: Page, served: Served) -> None:
    models(page)
    choose(page, "slim model")
    page.locator("#model-delete").click()
    expect(page.locator("#model-delete")).to_have_text(
        "Press again to delete it and its run for good"
    )
    assert (served.runs / RUN).is_dir()
    page.locator("#model-delete").click()
    expect(page.locator("#models label")).to_have_count(2)
    assert not (served.runs / RUN).exists()
