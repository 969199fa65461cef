"""Normalizers of others: their rules written out again, and every pair of the page."""

import importlib.metadata
import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indicnlp.normalize.indic_normalize import IndicNormalizerFactory

from whisperslim.errors import UsageError
from whisperslim.speech.scoring.normalizer import by_name, normalized_pair
from whisperslim.speech.scoring.published import (
    VistaarNormalizer,
    WhisperEnglishNormalizer,
    WhisperMarksNormalizer,
)

PAGE = Path(__file__).parents[3] / "docs" / "scoring.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text("utf-8").split("pairs -->")[1].splitlines()
    if line.startswith("|")
]
NAMES, PAIRS = ROWS[0][1:-1], ROWS[2:]


def same(name: str, pair: str) -> bool:
    said, heard = normalized_pair(by_name(name), *pair.split(" / "))
    return said == heard


@pytest.mark.parametrize("row", PAIRS, ids=lambda row: row[0])
def test_every_pair_of_the_page(row: list[str]) -> None:
    pair, *verdicts, options = row
    found = ["same" if same(name, pair) else "differ" for name in NAMES]
    assert dict(zip(NAMES, found, strict=True)) == dict(zip(NAMES, verdicts, strict=True))
    if options:
        names = options.split()
        assert same("".join(["hindi-1", *(f"+{name}" for name in names)]), pair)
        for left_out in names:  # no option is named for nothing
            fewer = [f"+{name}" for name in names if name != left_out]
            assert not same("".join(["hindi-1", *fewer]), pair)
    elif verdicts[0] == "differ":
        everything = "+nukta-folding+candra+glides+compounds+number-words+amounts"
        assert not same(f"hindi-1{everything}", pair)


def test_the_page_has_all_pairs_and_normalizers() -> None:
    assert NAMES == ["hindi-1", "vistaar", "whisper-marks", "whisper-basic"]
    assert len(PAIRS) == 24


TEXTS = st.text(
    st.one_of(
        st.characters(min_codepoint=0x0900, max_codepoint=0x097F),
        st.sampled_from("अबक ािीं़्।॥०१९ 0aA.,:;'\"-()[]<>“”…₹%\u200dﬁ½\n"),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(TEXTS)
def test_vistaar_is_its_authors_rule(text: str) -> None:
    kept = "".join(c for c in text if c not in string.punctuation and c not in "।۔॥")
    theirs = IndicNormalizerFactory().get_normalizer("hi").normalize(kept)
    assert VistaarNormalizer()(text).split() == theirs.split()


@settings(deadline=None)
@given(TEXTS.filter(lambda text: not set(text) & set("()[]<>")))
def test_whisper_with_marks_only_deletes_punctuation_and_symbols(text: str) -> None:
    lowered = unicodedata.normalize("NFKC", text.lower())
    kept = "".join(" " if unicodedata.category(c)[0] in "PS" else c for c in lowered).lower()
    assert WhisperMarksNormalizer()(text) == " ".join(kept.split())


def test_whisper_with_marks_drops_what_is_in_brackets() -> None:
    assert WhisperMarksNormalizer()("(हँसते हुए) हाँ <unk> [शोर] जी।") == "हाँ जी"


def test_vistaar_takes_the_script_of_the_language() -> None:
    # Malayalam's chillu, as one letter or with a joiner; in Urdu the library is left out.
    assert by_name("vistaar", "ml")("അവന\u0d4d\u200d!") == "അവ\u0d7b"
    assert by_name("vistaar", "ur")("یہ۔ ہے،") == "یہ ہے،"
    with pytest.raises(UsageError, match=r"'en'.*hi"):
        by_name("vistaar", "en")


@pytest.mark.parametrize(
    ("written", "scored"),
    [
        ("Um, I won't go.", "i will not go"),
        ("Twenty one colours, $20 million", "21 colors $20000000"),
        ("He said [laughs] “café”!", "he said cafe"),
    ],
)
def test_english_is_whispers_own(written: str, scored: str) -> None:
    assert WhisperEnglishNormalizer()(written) == scored


def test_english_agrees_with_openais_package() -> None:
    english = pytest.importorskip("whisper.normalizers").EnglishTextNormalizer()
    for text in ("Mr. Smith's 2nd favourite; it's 5:30 pm", "one hundred and one—o'clock", "%5"):
        assert WhisperEnglishNormalizer()(text) == " ".join(english(text).split())


def test_versions_are_those_of_the_packages_whose_rules_they_are() -> None:
    assert VistaarNormalizer().version.endswith(importlib.metadata.version("indic-nlp-library"))
    assert WhisperMarksNormalizer().version.endswith(importlib.metadata.version("transformers"))
