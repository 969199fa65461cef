"""Languages by code and name, and which of them a model knows."""

import json
from pathlib import Path

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES as OF_TRANSFORMERS

from tests.support.tiny import tiny_model_folder
from whisperslim.core.tokens.known import known_languages
from whisperslim.errors import UsageError
from whisperslim.exported.tokens import read_tokens
from whisperslim.jobs.models.languages import languages_of_model
from whisperslim.text.languages import (
    NAMES,
    choices,
    code_of,
    language_code,
    listed,
    named,
    unknown,
)
from whisperslim.text.scripts import LANGUAGES


def test_names_are_those_of_whisper() -> None:
    assert {code: name.lower() for code, name in NAMES.items()} == OF_TRANSFORMERS
    assert set(NAMES) == set(LANGUAGES)


@pytest.mark.parametrize(
    ("given", "code"),
    [("hi", "hi"), ("HI", "hi"), ("Hindi", "hi"), (" hindi ", "hi"), ("Hindi (hi)", "hi"),
     ("haitian  creole", "ht"), ("Haitian Creole (ht)", "ht"), ("Mandarin", "zh"), ("yue", "yue"),
     ("or", "or"), ("klingon", "klingon")],
)  # fmt: skip
def test_a_language_is_understood_by_code_and_by_name(given: str, code: str) -> None:
    assert code_of(given) == code


def test_every_choice_leads_back_to_its_code() -> None:
    assert [code_of(words) for words, _ in choices()] == [code for _, code in choices()]
    assert choices(["mr", "hi"]) == [("Hindi (hi)", "hi"), ("Marathi (mr)", "mr")]
    assert named("or") == "or"


def test_what_can_be_no_code_is_refused_with_the_near_ones() -> None:
    assert language_code("Marathi") == "mr"
    assert language_code("or") == "or", "a model of letters may be of any language"
    for given in ("klingon", "", None, ["hi"], "h", "../x", "हिन्दी"):
        with pytest.raises(UsageError, match="does not know the language"):
            language_code(given)
    assert "Marathi (mr)" in unknown("marati")
    assert "Hindi (hi)" in unknown("hn").partition("near ones are ")[2].partition(",")[0]
    assert unknown("ta", ("hi", "mr")).endswith("it knows Hindi (hi), Marathi (mr)")
    assert unknown("ta", ("hi",)).startswith("the model does not know the language Tamil (ta)")


def test_many_are_counted_and_few_are_named() -> None:
    assert listed(("hi", "mr")) == "Hindi (hi), Marathi (mr)"
    assert listed(LANGUAGES) == f"{len(LANGUAGES)} languages"


def test_a_model_knows_what_its_tokenizer_has_tokens_of(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path / "m")
    assert known_languages(folder) == ("en", "hi")
    tokens = read_tokens(folder)
    with pytest.raises(
        UsageError, match=r"know the language Marathi \(mr\).*it knows English \(en\), Hindi"
    ):
        tokens.prompt("mr")
    layout = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    layout["added_tokens"] = [t for t in layout["added_tokens"] if t["content"] != "<|en|>"]
    (folder / "tokenizer.json").write_text(json.dumps(layout), "utf-8")
    assert known_languages(folder) == ("hi",), "read again, since it changed"
    (folder / "tokenizer.json").unlink()
    assert known_languages(folder) is None
    (folder / "added_tokens.json").write_text('{"<|mr|>": 5, "<|notimestamps|>": 6, "<|xx|>": 7}')
    assert known_languages(folder) == ("mr",)


@pytest.mark.parametrize("content", ["", "[]", '{"added_tokens": [1]}', '{"added_tokens": []}'])
def test_a_tokenizer_without_languages_says_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    assert known_languages(tmp_path) is None


def test_a_model_that_is_not_here_knows_what_whisper_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path))
    assert languages_of_model("nobody/whisper-none") == LANGUAGES
    assert languages_of_model("nobody/letters") is None
    tiny_model_folder(tmp_path / "models" / "nobody--whisper-none")
    assert languages_of_model("nobody/whisper-none") == ("en", "hi")
