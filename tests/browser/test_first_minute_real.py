"""The one path of somebody new, on Whisper-base itself: two comparable texts at the end of it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, free_port
from tests.browser.test_journey import open_options, tab
from whisperslim.core.fetch.sources import resolve
from whisperslim.jobs.recipe.recipe import with_values
from whisperslim.jobs.recipe.trial import trial_recipe
from whisperslim.jobs.run.folder import RunStatus, list_runs
from whisperslim.ui.app.build import launch
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch

pytestmark = [pytest.mark.browser, pytest.mark.real]
WORKING_MS = 1_500_000  # for a busy machine
# All stages of the recipe that "Try it" starts, with less to do: the way to a result is tested.
LESS = {
    "train.steps": 2, "train.batch_size": 2, "train.evaluate_every": 0,
    "method.importance_clips": 4, "shrink.compensate": False, "recover.steps": 1,
    "recover.batch_size": 2, "recover.evaluate_every": 0, "evaluate.limit": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    resolve("openai/whisper-base")
    runs = tmp_path_factory.mktemp("first") / "runs"
    port = free_port()
    context = AppContext(RunWatch(runs), trial=lambda: with_values(trial_recipe(), LESS))
    blocks = launch(runs, port=port, block=False, context=context)
    yield Served(f"http://127.0.0.1:{port}", runs, Path(), Path())
    blocks.close()


def test_try_it_compares_whisper_base_with_its_slim_model(
    page: Page, served: Served, outside: list[str]
) -> None:
    tab(page, "Compress")
    page.locator("#try-it").click()
    compare = page.get_by_role("tab", name="Compare")
    expect(compare).to_have_attribute("aria-selected", "true", timeout=WORKING_MS)
    (run,) = list_runs(served.runs)
    assert run.status() == RunStatus.FINISHED, run.log_path.read_text("utf-8")
    open_options(page)
    expect(page.locator("#slim input")).to_have_value(run.name)
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=WORKING_MS)
    found = page.locator("#comparison").text_content() or ""
    assert re.search(r"[\u0900-\u097f]", found), "the dense model, at least, writes Hindi"
    assert "WER, hindi-1" in found
    assert outside == []
