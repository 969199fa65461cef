"""Parts that every tab shares, choices and marks of Compare, and the page as a whole."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest

from tests.support.app.fake_app import Acts, fake_app
from tests.support.runs.fake_runs import finish, make_run, write_events
from whisperslim import boxed
from whisperslim.errors import DataError, RunError
from whisperslim.speech.scoring.wer import word_differences
from whisperslim.ui.app.build import build, first_tab
from whisperslim.ui.compare.html import marked_words
from whisperslim.ui.context.cache import ModelCache
from whisperslim.ui.context.choices import chosen_model, slim_choices
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.parts.demo_clips import demo_clip, demo_clips
from whisperslim.ui.parts.markup import table, text, words
from whisperslim.ui.parts.quantities import duration, megabytes, millions
from whisperslim.ui.parts.theme import STYLE_SHEET, page_head


@pytest.fixture
def app(tmp_path: Path) -> AppContext:
    return fake_app(tmp_path / "runs", Acts())


# --- Compare ----------------------------------------------------------------------------------


def test_a_typed_folder_is_a_model_when_it_holds_one(app: AppContext, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert chosen_model(app, f" {tmp_path / 'model'} ") == str(tmp_path / "model")
    assert slim_choices(app) == []


def test_demo_clips_are_those_of_the_manifest() -> None:
    clips = demo_clips()
    assert len(clips) == 60
    name = next(iter(clips))
    path, said = demo_clip(name)
    assert path.is_file() and said == clips[name]
    for wrong in ("../manifest.tsv", "", None):
        with pytest.raises(DataError):
            demo_clip(wrong)


def test_word_marks_keep_vowel_signs_with_their_letters() -> None:
    page = marked_words(word_differences("मैं किताब पढ़ता हूँ", "मैं किताबें पढ़ता हूँ जी"))
    assert "<mark" in page and "<s>किताब</s> → किताबें" in page
    assert '<ins title="inserted">जी</ins>' in page
    assert page.count("<del") == 0
    assert '<del title="left out">हूँ</del>' in marked_words(word_differences("जी हूँ", "जी"))


def test_word_marks_cannot_become_markup() -> None:
    page = marked_words(word_differences("<img>", "<script>"))
    assert "<img>" not in page and "<script>" not in page


# --- small parts ------------------------------------------------------------------------------


def test_cache_lets_the_longest_unused_go() -> None:
    loads: list[str] = []
    cache = ModelCache(lambda name: loads.append(name) or name, capacity=2)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(name) == name
    assert loads == ["a", "b", "c", "b"]
    cache.get("b", "newer")
    assert loads[-1] == "b" and len(loads) == 5


def test_errors_reach_people_escaped_and_without_traceback() -> None:
    def fails() -> None:
        raise RunError("no <b>run</b>\nsecond line")

    with pytest.raises(gr.Error) as caught:
        for_people(fails)()
    assert caught.value.message == "no &lt;b&gt;run&lt;/b&gt;<br>second line"
    assert caught.value.print_exception is False
    assert caught.value.duration, "the box closes by itself"


@pytest.mark.parametrize(
    ("show", "value", "said"),
    [
        (duration, 4.26, "4.3 s"),
        (duration, 59.4, "59 s"),
        (duration, 61.0, "1 min 01 s"),
        (duration, 7260.0, "2 h 01 min"),
        (megabytes, 145_187_840, "145.2 MB"),
        (megabytes, 2.5e9, "2.50 GB"),
        (millions, 72_593_920, "72.6 M"),
        (millions, 53_100, "53.1 k"),
    ],
)
def test_quantities(show: Callable[[float], str], value: float, said: str) -> None:
    assert show(value) == said


def test_cells_are_escaped() -> None:
    assert text("<&\"'>") == "&lt;&amp;&quot;&#x27;&gt;"
    assert "<script>" not in table(("<script>",), [[words("<script>")]], caption="<script>")


# --- the page ---------------------------------------------------------------------------------


def test_fonts_and_styles_travel_with_the_page() -> None:
    for page in (page_head(), STYLE_SHEET.read_text("utf-8")):
        assert not re.search(r"https?://|url\((?!data:)", page)


def test_the_page_opens_where_models_can_be_compared(
    app: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxed, "BOXED", ())
    assert first_tab(app, None) == "compress"
    run = make_run(app.runs)
    assert first_tab(app, None) == "compress"
    write_events(run)
    finish(run)
    assert first_tab(app, None) == "compare"
    assert first_tab(app, run.name) == "runs", "unless a run is asked for"


def test_a_model_of_the_project_is_enough_to_open_at_compare(
    app: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    slim = boxed.BoxedModel("whisperslim/some", "", "", "whisperslim/some-dense", "some")
    monkeypatch.setattr(boxed, "BOXED", (slim,))
    assert slim.path.is_dir() and first_tab(app, None) == "compare"


def test_no_handler_is_offered_as_an_api(app: AppContext) -> None:
    blocks = build(app.runs, context=app)
    assert {fn.api_visibility for fn in blocks.fns.values()} == {"private"}


def test_importing_the_page_leaves_torch_alone() -> None:
    code = (
        "import sys, whisperslim.ui.app.build\n"
        "heavy = {'torch', 'transformers', 'librosa', 'ctranslate2'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
