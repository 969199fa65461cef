"""The Compare stage: by keyboard, on a projector, with playback, in another script."""

import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Served, free_port
from tests.browser.test_first_minute import settled
from tests.browser.test_journey import open_options, tab
from tests.support.runs.fake_runs import finish, make_run, write_events
from tests.ui.compare.test_compare import comparison, write_export
from whisperslim.errors import UsageError
from whisperslim.exported.ctc import Word
from whisperslim.jobs.run.folder import RunDir
from whisperslim.ui.app.build import launch
from whisperslim.ui.compare import tab as compare_tab
from whisperslim.ui.context.choices import dense_choices
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch

pytestmark = pytest.mark.browser
PATIENCE = 60_000
SPOKEN = "मैं मोहन के साथ गेंद खेलने जा रहा हूँ।"
URDU = "میں موہن کے ساتھ گیند کھیلنے جا رہا ہوں"
GARBLED = "मैं मोहन के साट गेंद खेंद खेंडने जारा हो।"


@dataclass
class Listener:
    """Hears what a test says it does; only PyTorch, the dense side here, says when."""

    dense: str = SPOKEN
    slim: str = GARBLED
    lane: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    may_end: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_end.set()

    def is_here(self, side: Any) -> bool:
        return False

    def get_ready(self, *given: Any) -> None:
        pass

    def preview(self, *given: Any) -> Any:
        raise UsageError("nobody listens here while somebody speaks")

    def compare(self, *given: Any) -> Any:
        assert self.may_end.wait(PATIENCE / 1000)
        found = comparison(third=len(given) > 5)
        found.dense.transcript.text, found.slim.transcript.text = self.dense, self.slim
        return found

    def timed(self, side: Any, *given: Any) -> Any:
        if side.engine != "torch":
            raise UsageError("CTranslate2 does not say when")
        words = enumerate(self.dense.split())
        return SimpleNamespace(words=[Word(word, i / 2, i / 2 + 0.5, 1.0) for i, word in words])


@dataclass
class Commands:
    """Remembers what was to be started."""

    asked: list[Sequence[str]] = field(default_factory=list)

    def __call__(self, run: RunDir, kind: str, arguments: Sequence[str]) -> int:
        self.asked.append(arguments)
        return 1


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def commands() -> Commands:
    return Commands()


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, listener: Listener, commands: Commands
) -> Iterator[Served]:
    runs = tmp_path_factory.mktemp("app") / "runs"
    for name in ("extra", "shown"):
        run = make_run(runs, name)
        write_events(run)
        finish(run)
        write_export(run.path / "export" / "ctranslate2", "ctranslate2", "int8", 5)
    context = AppContext(RunWatch(runs), listening=listener, command=commands)  # type: ignore[arg-type]
    port = free_port()
    blocks = launch(runs, port=port, block=False, context=context)
    yield Served(f"http://127.0.0.1:{port}", runs, Path(), Path())
    blocks.close()


def compare_clip(page: Page, said: str = SPOKEN) -> None:
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    page.locator("#clip input").click()
    page.locator("ul [role=option]").first.click()
    expect(page.locator("#reference textarea")).to_have_value(re.compile(r"[\u0900-\u097f]"))
    page.locator("#reference textarea").fill(said)
    page.locator("#compare").click()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)


def where(page: Page) -> str:
    """Where the focus is: the component, and what it is in that."""
    found: str = page.evaluate(
        "(() => { const at = document.activeElement; const box = at.closest('[id]');"
        " return `${box?.id} ${at.tagName} ${at.className}`; })()"
    )
    return found


def test_keys_alone_lead_from_recording_to_the_result(page: Page) -> None:
    # The page opens here, since there is a result.
    record = page.get_by_role("button", name="Record", exact=True)
    expect(record).to_have_count(1)
    page.locator("body").press(" ")
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#live-text .ws-level-bar")).to_be_attached()
    page.wait_for_timeout(1500)
    page.locator("body").press(" ")
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)
    expect(record).to_be_visible()
    record.focus()
    passed = []
    while not page.evaluate("document.activeElement.closest('#comparison') !== null"):
        passed.append(where(page))
        assert len(passed) <= 6, passed  # Record itself, and five presses
        page.keyboard.press("Tab")
    page.evaluate("document.activeElement.blur()")
    page.locator("body").press(" ")  # what was recorded makes room for the next
    expect(stop).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#comparison")).to_contain_text("Nothing compared yet")
    page.locator("body").press(" ")
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)


def test_a_sample_sentence_is_compared_at_one_press(page: Page) -> None:
    page.get_by_role("button", name="Hear both on a sample sentence").click()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)
    expect(page.locator("#reference textarea")).to_have_value(re.compile(r"[\u0900-\u097f]"))
    # Clips that train the demo are marked in the list, and this is none of them.
    expect(page.locator("#clip input")).not_to_have_value(re.compile("^$|trains the demo"))


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The lists of models come to the page only once this is set."""
    may_come = threading.Event()

    def offered_late(context: AppContext) -> list[tuple[str, str]]:
        assert may_come.wait(2 * PATIENCE / 1000)
        return dense_choices(context)

    monkeypatch.setattr(compare_tab, "dense_choices", offered_late)
    yield may_come
    may_come.set()


def test_a_press_before_the_lists_of_models_have_come_is_answered_too(
    lists: threading.Event, page: Page
) -> None:
    page.get_by_role("button", name="Hear both on a sample sentence").click()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)
    open_options(page)
    slim = page.locator("#slim input")
    expect(slim).to_have_value("")
    lists.set()
    expect(slim).not_to_have_value("")
    expect(page.locator("#comparison")).to_contain_text(slim.input_value())


def test_while_both_models_listen_the_page_says_so(page: Page, listener: Listener) -> None:
    says = page.locator("#comparing")
    expect(says).to_be_hidden()
    listener.may_end.clear()
    try:
        page.get_by_role("button", name="Hear both on a sample sentence").click()
        expect(says).to_contain_text("Both models are listening")
        expect(says).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("Nothing compared yet")).to_be_hidden()
    finally:
        listener.may_end.set()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)
    expect(says).to_be_hidden()


def test_a_clip_that_is_not_compared_yet_makes_compare_stand_out(page: Page) -> None:
    color = "getComputedStyle(document.querySelector('#compare')).backgroundColor"
    record = "getComputedStyle(document.querySelector('.ws-record')).backgroundColor"
    expect(page.locator("#comparison")).to_contain_text("Nothing compared yet")
    assert page.evaluate(color) != page.evaluate(record)
    page.locator("#clip input").click()
    page.locator("ul [role=option]").first.click()
    page.wait_for_function(f"{color} === {record}")
    page.locator("#compare").click()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)
    page.mouse.move(0, 0)
    page.wait_for_function(f"{color} !== {record}")


def test_the_button_stays_where_it_is_while_recording_comes_and_goes(page: Page) -> None:
    record = page.locator(".ws-record")
    expect(page.locator("#recording select")).to_be_visible()  # the recorder is there
    place = record.bounding_box()
    record.click()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible(timeout=PATIENCE)
    page.wait_for_timeout(1000)
    assert record.bounding_box() == place
    record.click()
    expect(page.locator(".ws-transcript")).to_have_count(2, timeout=PATIENCE)
    assert record.bounding_box() == place


def test_tab_leaves_no_list_open(page: Page) -> None:
    open_options(page)
    page.locator("#clip input").focus()
    seen = []
    for _ in range(24):
        page.keyboard.press("Tab")
        seen.append(where(page))
        # A list is open while its own field has the focus, and then no more.
        expect(page.locator("ul.option-list")).to_have_count(int("border-none" in seen[-1]))
    assert not any("option-list" in at for at in seen)
    assert any("dense" in at for at in seen), "the lists were passed"


def test_a_projector_shows_the_texts_and_figures_alone(page: Page) -> None:
    compare_clip(page)
    size = "parseFloat(getComputedStyle(document.querySelector('.ws-transcript')).fontSize)"
    before = page.evaluate(size)
    assert before >= 28
    page.locator("body").press("p")
    expect(page.locator(".ws-header")).to_be_hidden()
    expect(page.locator("#sources")).to_be_hidden()
    expect(page.locator(".ws-gains")).to_be_visible()
    assert page.evaluate(size) > before
    page.get_by_role("button", name="Leave").click()
    expect(page.locator(".ws-header")).to_be_visible()
    page.get_by_role("button", name="Projector").click()
    expect(page.locator(".ws-header")).to_be_hidden()
    page.locator("body").press("Escape")
    expect(page.locator(".ws-header")).to_be_visible()
    page.locator("#reference textarea").press("p")
    expect(page.locator(".ws-header")).to_be_visible()  # it was typed


def test_the_word_that_is_played_is_highlighted(page: Page) -> None:
    compare_clip(page)
    times = page.locator("#word-times")
    expect(times).to_contain_text("CTranslate2 does not say when", timeout=PATIENCE)
    # The fourth word is from 1.5 s to 2 s.
    page.locator(".ws-player").evaluate(
        "audio => new Promise(done => { audio.addEventListener('seeked', done, {once: true});"
        " audio.currentTime = 1.75; })"
    )
    lit = page.locator("#comparison .ws-at")
    expect(lit).to_have_text([SPOKEN.split()[3]])
    page.locator(".ws-player").evaluate("audio => audio.play()")
    expect(lit).to_have_text([SPOKEN.split()[4]])


def test_urdu_is_set_from_right_to_left_and_judged_by_what_was_heard(
    page: Page, listener: Listener
) -> None:
    listener.dense = URDU
    compare_clip(page)
    listener.dense = SPOKEN
    expect(page.locator(".ws-verdict")).to_contain_text("Dense heard it better")
    directions = page.locator(".ws-transcript").evaluate_all(
        "all => all.map(each => getComputedStyle(each).direction)"
    )
    assert directions == ["rtl", "ltr"]
    # Of what was heard one word may be wrong, though all are in another script.
    expect(page.locator('[data-role="dense"] .ws-differs')).to_have_count(1)


def test_when_both_are_wrong_nobody_wins(page: Page, listener: Listener) -> None:
    listener.dense, listener.slim = "तीन " * 8, "एक दो"
    compare_clip(page)
    listener.dense, listener.slim = SPOKEN, GARBLED
    expect(page.locator(".ws-verdict")).to_contain_text("Neither is right")
    expect(page.locator(".ws-verdict")).to_have_class(re.compile("ws-wait"))


def test_a_third_model_is_voted_for_and_the_score_is_kept(page: Page) -> None:
    open_options(page)
    expect(page.locator("#slim-engine input")).to_have_value("CTranslate2 int8")
    page.locator("#third input").click()
    page.get_by_role("option", name="PyTorch fp32").click()
    page.locator("#clip input").click()
    page.locator("ul [role=option]").first.click()
    expect(page.locator("#reference textarea")).to_have_value(re.compile(r"[\u0900-\u097f]"))
    page.locator("#compare").click()
    expect(page.locator(".ws-transcript")).to_have_count(3, timeout=PATIENCE)
    page.get_by_role("button", name="Slim in PyTorch fp32 heard it better").click()
    expect(page.locator("#comparison")).to_contain_text("Vote: slim in PyTorch fp32")
    expect(page.locator("#score")).to_contain_text("slim in PyTorch fp32 1")


def test_a_reload_while_recording_asks_first(page: Page) -> None:
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#live-text .ws-level-bar")).to_be_attached()
    page.wait_for_timeout(1_000)  # the button changes before the recording begins
    asked: list[str] = []

    def answer(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", answer)
    page.reload()
    assert asked == ["beforeunload"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_result(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    compare_clip(page)
    page.locator(".ws-drawer summary").click()
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    assert settled(page, {}) == []
    page.locator("body").press("p")
    assert settled(page, {}) == []


def test_a_chart_is_as_wide_as_its_column_when_the_window_changes(page: Page) -> None:
    tab(page, "Runs")
    page.locator("#runs label", has_text="shown").click()
    chart = page.locator("#loss-plot .main-svg").first
    expect(chart).to_be_visible(timeout=PATIENCE)
    fits = """() => {
      const chart = document.querySelector("#loss-plot .main-svg").getBoundingClientRect();
      const column = document.querySelector("#loss-plot").getBoundingClientRect();
      return chart.right <= column.right + 1 && chart.width > 0.8 * column.width;
    }"""
    for width in (1440, 800, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(fits)
    # Drawn while nobody sees it, and then looked at in a window of another width.
    tab(page, "Compare")
    page.set_viewport_size({"width": 900, "height": 900})
    tab(page, "Runs")
    page.wait_for_function(fits)


def test_what_is_new_about_a_run_is_drawn_on_an_open_page(page: Page, served: Served) -> None:
    tab(page, "Runs")
    page.locator("#runs label", has_text="extra").click()
    expect(page.locator("#run-card")).to_contain_text("extra")
    page.get_by_text("Log", exact=True).click()
    (folder,) = served.runs.glob("*extra")
    RunDir(folder).log_path.write_text("a line that was just written", "utf-8")
    expect(page.locator("#log")).to_contain_text("a line that was just written")
    later = make_run(served.runs, "later")
    expect(page.locator("#runs")).to_contain_text("later")
    shutil.rmtree(later.path)
    expect(page.locator("#runs")).not_to_contain_text("later")


def test_a_finished_run_is_exported_compared_and_deleted(
    page: Page, served: Served, commands: Commands
) -> None:
    tab(page, "Runs")
    page.locator("#runs label", has_text="extra").click()
    expect(page.locator("#run-card")).to_contain_text("extra")
    page.locator("#run-export").get_by_text("Export", exact=True).first.click()
    page.locator("#export-start").click()
    expect(page.locator("#exported")).to_contain_text("Exporting")
    assert [arguments[0] for arguments in commands.asked] == ["export"]
    page.locator("#run-compare").click()
    expect(page.get_by_role("tab", name="Compare")).to_have_attribute("aria-selected", "true")
    open_options(page)
    expect(page.locator("#slim input")).to_have_value(re.compile("extra"))
    tab(page, "Runs")
    (folder,) = served.runs.glob("*extra")
    page.locator("#run-delete").click()
    expect(page.locator("#run-delete")).to_contain_text("Press again")
    assert folder.is_dir(), "the first press only asks"
    page.locator("#run-delete").click()
    expect(page.locator("#runs")).not_to_contain_text("extra")
    assert not folder.exists()
