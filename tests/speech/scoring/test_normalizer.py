"""Hindi text is unified for scoring without losing the marks that carry its meaning."""

import itertools
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from indicnlp.normalize.indic_normalize import DevanagariNormalizer

from whisperslim.errors import UsageError
from whisperslim.speech.scoring.hindi_numbers import spell_number
from whisperslim.speech.scoring.normalizer import (
    DEFAULT_HINDI_STEPS,
    HINDI_STEPS,
    HindiNormalizer,
    NeutralNormalizer,
    RawNormalizer,
    by_name,
    for_language,
    for_letters,
)
from whisperslim.speech.scoring.published import WhisperBasicNormalizer

HINDI = HindiNormalizer()
ALL_STEPS = tuple(step.name for step in HINDI_STEPS)
EVERYTHING_ON = HindiNormalizer(ALL_STEPS)
# A digit with a nukta is no number until nuktas are folded, nor "1/½" until its stroke is a space.
ALL_BUT_NUMBERS = HindiNormalizer(
    tuple(name for name in ALL_STEPS if name not in ("amounts", "number-words"))
)
NAMED = [by_name(f"hindi-1{extra}") for extra in ("", "+number-words", "+nukta-folding")]

# Devanagari with what surrounds it in real transcripts: joiners, quotes, digits, Latin, accents.
DEVANAGARI = st.characters(min_codepoint=0x0900, max_codepoint=0x097F)
TYPICAL = st.sampled_from(
    "हिन्दीनतपमबङकञचणट़्ंँः ०१२019.,:|।-\u200c\u200d\u00ad\u20e3ऩड़İÉ\u0301\u0327'“"
)
TEXTS = st.text(st.one_of(DEVANAGARI, TYPICAL, TYPICAL, st.characters()), max_size=24)


def edits(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein distance by the textbook recurrence."""
    row = list(range(len(hypothesis) + 1))
    for i, ref in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, hyp in enumerate(hypothesis, 1):
            change = previous + (ref != hyp)
            previous, row[j] = row[j], min(change, row[j] + 1, row[j - 1] + 1)
    return row[-1]


REFERENCE = "मैं रोज़ सुबह किताबें पढ़ता हूँ।"
HYPOTHESIS = "में रोज सुबह किताब पढ़ती हूं"


def nfc_without_punctuation(text: str) -> str:
    return "".join(
        " " if unicodedata.category(c)[0] in "PS" else c for c in unicodedata.normalize("NFC", text)
    )


@pytest.mark.parametrize(
    ("normalize", "wrong"),
    [
        (RawNormalizer(), 5),  # all but सुबह
        (WhisperBasicNormalizer(), 0),
        (nfc_without_punctuation, 5),
        (NeutralNormalizer(), 5),
        (HINDI, 4),  # हूँ and हूं are one word here
        (HindiNormalizer((*DEFAULT_HINDI_STEPS, "nukta-folding")), 3),  # and so are रोज़ and रोज
    ],
)
def test_the_worked_example(normalize, wrong):
    reference, hypothesis = normalize(REFERENCE).split(), normalize(HYPOTHESIS).split()
    # Whisper's rule breaks words into pieces, so only the other rows have six words.
    assert wrong == 0 or len(reference) == 6
    assert edits(reference, hypothesis) == wrong


def test_whisper_basic_destroys_hindi_and_says_so():
    basic = WhisperBasicNormalizer()
    assert basic("हिन्दी में क्षमा") == "ह न द म क षम"
    assert "vowel signs" in basic.warning


@pytest.mark.parametrize(
    ("written", "scored"),
    [
        ("क\u095cा", "क\u0921\u093cा"),  # one code point or two: nukta apart
        ("क\u0921\u093cा", "क\u0921\u093cा"),
        ("क्\u200dष न\u200cह", "क्ष नह"),
        ("\ufeffसब\u00ad \u200eकुछ", "सब कुछ"),
        ("वह OK बोला, Été", "वह ok बोला été"),
        ("०१२३४५६७८९", "0123456789"),
        ("१,००,००० और 1,000,000", "100000 और 1000000"),
        ("पेज 2,3", "पेज 2 3"),
        ("१०:३० बजे", "10 30 बजे"),
        ("वह गया। वह आया॥ डॉ॰ राम?", "वह गया वह आया डॉ राम"),
        ("वह गया|", "वह गया"),
        ("धीरे-धीरे “नमस्ते”…", "धीरे धीरे नमस्ते"),
        ("₹10 100%", "10 100"),
        ("कुआँ", "कुआं"),
        ("जन्म सम्मान उन्नति कन्या", "जन्म सम्मान उन्नति कन्या"),
        ("उसने कहा: हाँ।:", "उसने कहा हां"),
        ("दु:ख अत: प्रात:काल", "दुःख अतः प्रातःकाल"),
        ("  एक \t दो\n", "एक दो"),
        ("।", ""),
        ("", ""),
    ],
)
def test_hindi_rules(written, scored):
    assert HINDI(written) == scored


def test_matras_virama_anusvara_visarga_and_nukta_survive():
    for text in ("क्षमा", "कृपया", "हैं", "दुःख", "रोज\u093c", "कि की कु कू के कै को कौ"):
        assert HINDI(text) == text


@settings(deadline=None)
@given(TEXTS)
def test_marks_stay_attached_to_the_same_letters(text):
    """With chandrabindu and half nasals left alone, not one Mn or Mc of Devanagari is lost."""
    steps = tuple(s for s in DEFAULT_HINDI_STEPS if s not in ("chandrabindu", "half-nasals"))
    plain = unicodedata.normalize("NFD", text).replace(":", " ")
    kept = unicodedata.normalize("NFD", HindiNormalizer(steps)(plain))

    def marks(value: str) -> list[str]:
        return [c for c in value if "\u0900" <= c <= "\u097f" and unicodedata.category(c)[0] == "M"]

    assert marks(kept) == marks(plain)


@settings(deadline=None)
@given(st.text(st.sampled_from("ङञणनम्कगचजटडतदपबयसा "), max_size=20))
def test_half_nasals_agree_with_the_library(text):
    reference = DevanagariNormalizer("hi", nasals_mode="to_anusvaara_strict").normalize(text)
    assert HindiNormalizer(("half-nasals",))(text) == reference


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_idempotent(text):
    for normalize in (*NAMED, ALL_BUT_NUMBERS, RawNormalizer(), NeutralNormalizer()):
        once = normalize(text)
        assert normalize(once) == once


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_no_word_with_a_letter_or_digit_becomes_empty(text):
    for word in text.split():
        if any(unicodedata.category(c)[0] in "LN" for c in word):
            assert HINDI(word)
            assert EVERYTHING_ON(word)
            assert NeutralNormalizer()(word)


@pytest.mark.parametrize("step", ALL_STEPS)
def test_each_step_is_switchable_and_shows_in_the_name(step):
    without = tuple(name for name in ALL_STEPS if name != step)
    assert f"+{step}" not in HindiNormalizer(without).name
    on_by_default = step in DEFAULT_HINDI_STEPS
    assert (f"-{step}" in HindiNormalizer(without).name) == on_by_default
    sample = "E\u0301K\u200d  हिन्दी हूँ ज\u093c ५| ₹5 डॉक्टर गये"
    assert HindiNormalizer((step,))(sample) != sample


def test_names_tell_every_choice_of_steps_apart():
    choices = itertools.product((False, True), repeat=len(ALL_STEPS))
    names = [HindiNormalizer(tuple(itertools.compress(ALL_STEPS, c))).name for c in choices]
    assert len(set(names)) == 2 ** len(ALL_STEPS)
    assert HINDI.name == "hindi-1"
    assert HindiNormalizer(compounds=True).name == "hindi-1+compounds"
    for name in names[:: len(names) // 50]:
        assert by_name(name).name == by_name(f"{name}+compounds").name[: -len("+compounds")] == name


def test_order_of_naming_does_not_matter():
    text = "१,००,००० हिन्दी हूँ।"
    assert HindiNormalizer(DEFAULT_HINDI_STEPS[::-1])(text) == HINDI(text)


def test_unknown_step_is_refused():
    with pytest.raises(UsageError, match="half-nasals"):
        HindiNormalizer(("nfc", "stemming"))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "शून्य"),
        (7, "सात"),
        (29, "उनतीस"),
        (59, "उनसठ"),
        (99, "निन्यानवे"),
        (100, "एक सौ"),
        (101, "एक सौ एक"),
        (1947, "एक हज़ार नौ सौ सैंतालीस"),
        (250_000, "दो लाख पचास हज़ार"),
        (999_999_999, "निन्यानवे करोड़ निन्यानवे लाख निन्यानवे हज़ार नौ सौ निन्यानवे"),
    ],
)
def test_numbers_in_words(number, words):
    assert spell_number(number) == unicodedata.normalize("NFC", words)


def test_numbers_out_of_range_are_refused():
    for number in (-1, 10**9):
        with pytest.raises(UsageError, match="999999999"):
            spell_number(number)


def test_number_words_are_an_option():
    spelled = by_name("hindi-1+number-words")
    assert HINDI("५ लोग") == "5 लोग"
    assert spelled("५ लोग") == "पांच लोग"
    assert spelled("1,00,000") == "एक लाख"
    assert spelled("3.5") == "तीन दशमलव पांच"
    assert spelled("007") == "शून्य शून्य सात"
    assert spelled("B2 2nd") == "b2 2nd"


def test_by_name_finds_what_a_name_was_made_from():
    for normalizer in (RawNormalizer(), WhisperBasicNormalizer(), NeutralNormalizer(), HINDI):
        assert by_name(normalizer.name) == normalizer
    assert by_name("hindi-1+nukta-folding")("पढ़ता") == "पढता"
    assert by_name("hindi-1-punctuation+glides")("गये।") == "गए।"
    known = "raw, whisper-basic, whisper-marks, whisper-english, neutral-1, .*vistaar, hindi-1"
    for name in ("whisper", "hindi-1+stemming", "hindi-1 ", "hindi-2"):
        with pytest.raises(UsageError, match=f"{known}.*compounds"):
            by_name(name)


def test_language_chooses_the_normalizer():
    assert for_language("hi") == for_language("Hindi") == HINDI
    assert for_language("en") == for_language("English") == by_name("whisper-english")
    assert for_language("mr") == for_language("Marathi") == by_name("marathi-1")
    assert for_language("fr") == for_language("si") == for_language("ur") == NeutralNormalizer()
    assert NeutralNormalizer()("He said: “CAFE\u0301”!") == "he said café"


def test_letters_are_learned_as_they_are_judged_but_for_english():
    for language in ("hi", "mr", "ta", "fr"):
        assert for_letters(language) == for_language(language)
    assert for_letters("en") == NeutralNormalizer()
    assert for_letters("en")("Um, twenty colours.") == "um twenty colours"
