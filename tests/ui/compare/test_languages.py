"""Which languages Compare offers: those that both models know, and why none where there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.app.fake_app import Acts, fake_app
from tests.support.models.shelf import export_folder, model_folder, slim_run
from whisperslim.errors import UsageError
from whisperslim.text.scripts import LANGUAGES
from whisperslim.ui.compare.languages import INFO, offer_update, offered, typed_update
from whisperslim.ui.compare.tab import spoken_language
from whisperslim.ui.context.context import AppContext

DENSE = "openai/whisper-base"


def knowing(folder: Path, *codes: str) -> Path:
    """The folder with a tokenizer of these languages."""
    tokens = [{"content": f"<|{code}|>"} for code in (*codes, "transcribe")]
    (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    return folder


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppContext:
    """Slim models of Hindi and Marathi, of Tamil, of letters; a dense one of four languages."""
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    dense = model_folder(tmp_path / "cache" / "models" / "openai--whisper-base")
    knowing(dense, "en", "hi", "mr", "ta")
    runs = tmp_path / "runs"
    knowing(slim_run(runs, "20260101-000000-two", language="mr").slim_path, "hi", "mr")
    knowing(slim_run(runs, "20260101-000001-tamil", language="ta").slim_path, "ta")
    slim_run(runs, "20260101-000002-letters")
    return fake_app(runs, Acts())


def test_only_what_both_know_is_offered_and_a_choice_is_kept(app: AppContext) -> None:
    two = offered(app, DENSE, "20260101-000000-two", "hi")
    assert (two.codes, two.chosen, two.why) == (("hi", "mr"), "hi", "")
    assert offered(app, DENSE, "20260101-000000-two", "Marathi").chosen == "mr"
    update = offer_update(app, DENSE, "20260101-000000-two", "hi")
    assert update["choices"] == [("Hindi (hi)", "hi"), ("Marathi (mr)", "mr")]
    assert update["value"] == "hi" and update["info"] == INFO and update["elem_classes"] == []


def test_a_choice_that_is_not_possible_gives_way_and_it_is_said(app: AppContext) -> None:
    found = offered(app, DENSE, "20260101-000000-two", "ta")
    assert found.chosen == "mr", "what the slim model was made for"
    assert found.why.startswith("Tamil (ta) is not known to both models; Marathi (mr) is chosen")
    assert "Tamil (ta)" in offer_update(app, DENSE, "20260101-000000-two", "ta")["info"]
    assert offered(app, DENSE, "20260101-000001-tamil", "hi").codes == ("ta",)


def test_nothing_in_common_is_said_with_what_each_knows(app: AppContext) -> None:
    update = offer_update(app, "20260101-000000-two", "20260101-000001-tamil", "hi")
    assert update["choices"] == [] and update["value"] is None
    assert "no language in common" in update["info"]
    assert "dense knows Hindi (hi), Marathi (mr), slim Tamil (ta)" in update["info"]
    assert update["elem_classes"] == ["ws-wrong"]
    with pytest.raises(UsageError, match="no language is chosen"):
        spoken_language(update["value"])


def test_a_model_of_letters_leaves_the_choice_to_the_other(app: AppContext) -> None:
    assert offered(app, DENSE, "20260101-000002-letters", "en").codes == ("en", "hi", "mr", "ta")
    assert offered(app, "none", None, "hi").codes == LANGUAGES, "nothing is chosen yet"


def test_an_export_knows_what_its_tokenizer_does(app: AppContext) -> None:
    folder = app.runs / "20260101-000000-two" / "export" / "onnx-int8"
    knowing(export_folder(folder), "hi")
    assert offered(app, DENSE, str(folder), "hi").codes == ("hi",)


@pytest.mark.parametrize(
    ("typed", "value", "said"),
    [("Marathi", "mr", INFO), ("mr", "mr", INFO), ("marati", None, "knows Hindi (hi), Marathi"),
     ("klingon", None, "does not know the language 'klingon'"), (None, None, "does not know"),
     ("<b>", None, "<b>")],
)  # fmt: skip
def test_what_is_typed_becomes_a_code_or_is_marked(
    app: AppContext, typed: Any, value: str | None, said: str
) -> None:
    update = typed_update(app, DENSE, "20260101-000000-two", typed)
    assert update.get("value") == value and said in update["info"]
    assert (update["elem_classes"] == ["ws-wrong"]) == (value is None)
