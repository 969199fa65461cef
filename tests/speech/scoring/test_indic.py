"""Languages beside Hindi: letters with two encodings become one, marks and spellings stay."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperslim.speech.scoring.indic import INDIC, IndicNormalizer
from whisperslim.speech.scoring.normalizer import by_name
from whisperslim.text.languages import NAMES

BLOCKS = {
    "as": 0x0980, "bn": 0x0980, "gu": 0x0A80, "kn": 0x0C80, "ml": 0x0D00, "mr": 0x0900,
    "ne": 0x0900, "or": 0x0B00, "pa": 0x0A00, "sa": 0x0900, "ta": 0x0B80, "te": 0x0C00,
}  # fmt: skip


def texts(language: str) -> st.SearchStrategy[str]:
    block = BLOCKS[language]
    letters = st.characters(
        min_codepoint=block, max_codepoint=block + 0x7F, exclude_categories=["Cn"]
    )
    letters = letters.filter(lambda letter: letter != "\u09f7")  # a danda to the library
    others = st.sampled_from(" ।॥|:.,-“”\u200c\u200d0aA१")
    return st.text(st.one_of(letters, letters, others), max_size=16)


@pytest.mark.parametrize(
    ("language", "written", "scored"),
    [
        ("mr", "मुंबईत पाऊस पडला, ५ दिवस.", "मुंबईत पाऊस पडला 5 दिवस"),
        ("mr", "हिन्दी हिंदी हूँ", "हिन्दी हिंदी हूँ"),  # two spellings stay two
        ("mr", "तो म्हणाला: ठीक| दु:ख", "तो म्हणाला ठीक दुःख"),
        ("bn", "ক\u09c7\u09beন১,২৩৪ \u09dc", "ক\u09cbন1234 \u09a1\u09bc"),
        ("ta", "அவர்: த\u0bc6\u0bbe ௧௦", "அவர் த\u0bca 10"),
        ("ml", "അവന\u0d4d\u200d വന്നു.", "അവ\u0d7b വന്നു"),
        ("ml", "അവ\u0d7b", "അവ\u0d7b"),
        ("kn", "ಕನ್ನಡ ೧೨:೩೦ OK", "ಕನ್ನಡ 12 30 ok"),
        ("te", "తెలుగు; ‘అవును’", "తెలుగు అవును"),
        ("gu", "ગુજરાતી। ૧૦૦%", "ગુજરાતી 100"),
        ("pa", "ਪੰਜਾਬੀ। \u0a5b", "ਪੰਜਾਬੀ ਜ\u0a3c"),
        ("or", "ଓଡ଼ିଆ।", "ଓଡ\u0b3cିଆ"),
    ],
)
def test_rules_by_language(language: str, written: str, scored: str) -> None:
    assert IndicNormalizer(language)(written) == scored


@pytest.mark.parametrize("language", sorted(INDIC))
def test_a_second_pass_changes_nothing_and_no_word_is_lost(language: str) -> None:
    normalize = IndicNormalizer(language)

    @settings(deadline=None, max_examples=60)
    @given(texts(language))
    def check(text: str) -> None:
        once = normalize(text)
        assert normalize(once) == once
        for word in text.split():
            if any(unicodedata.category(c)[0] in "LN" for c in word):
                assert normalize(word)

    check()


def test_names_are_the_languages_and_lead_back() -> None:
    for language, name in INDIC.items():
        assert by_name(f"{name}-1") == IndicNormalizer(language)
        assert NAMES.get(language, "Odia").lower() == name
