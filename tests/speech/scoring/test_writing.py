"""Scripts of words and texts, and Hindi of other scripts respelled in Devanagari."""

import pytest

from whisperslim.speech.scoring.transliteration import consonants, to_devanagari
from whisperslim.speech.scoring.writing import MIXED, NO_SCRIPT, OTHER, text_script, word_script


@pytest.mark.parametrize(
    ("word", "script"),
    [
        ("हूँ।", "Devanagari"),
        ("ہوں؟", "Arabic"),
        ("Poland,", "Latin"),
        ("Ærø", "Latin"),
        ("বাংলা", OTHER),
        ("привет", OTHER),
        ("१०", NO_SCRIPT),
        ("3.5", NO_SCRIPT),
        ("।", NO_SCRIPT),
        ("OKहै", "Latin"),  # two letters; है is a letter and a sign
    ],
)
def test_a_word_has_the_script_of_most_of_its_letters(word: str, script: str) -> None:
    assert word_script(word) == script


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("मैं OK हूँ", "Devanagari"),
        ("میں موحن کے ساتھ", "Arabic"),
        ("Abhi Poland, Mekya Hora hai.", "Latin"),
        ("मैं घर going home", MIXED),
        ("3.5.5.5", NO_SCRIPT),
        ("", NO_SCRIPT),
    ],
)
def test_a_text_has_the_script_of_most_words(text: str, script: str) -> None:
    assert text_script(text) == script


@pytest.mark.parametrize(
    ("urdu", "hindi"),
    [
        # Whisper-base on a recording of "मैं मोहन के साथ गेंद खेलने जा रहा हूँ".
        ("میں موحن کے ساتھ گیند کھیلنے جارہا ہوں", "में मोहन के साथ गेंद खेलने जारहा हूँ"),
        ("وہ گھر جا رہا ہے اور بچوں کو پڑھا رہی تھی", "वह घर जा रहा है और बच्चों को पढ़ा रही थी"),
        ("عورت بعد یہاں گئی جاؤ آئے لوگ", "औरत बाद यहां गई जाओ आए लोग"),
        ("چاند جانتا بندر", "चांद जानता बंदर"),
        ("أبھي كتاب", "अभी किताब"),  # Arabic's own yeh and kaf
        ("میں ہوں۔", "में हूँ।"),
        ("۱۲ گھر", "12 घर"),
    ],
)
def test_urdu_letters(urdu: str, hindi: str) -> None:
    assert to_devanagari(urdu) == hindi


def test_what_urdu_does_not_write_is_lost() -> None:
    """The known limits: short vowels, and one letter for two long ones."""
    assert to_devanagari("دنیا") == "दनया"  # दुनिया
    assert to_devanagari("معلوم") == "मालोम"  # मालूम


@pytest.mark.parametrize(
    ("latin", "hindi"),
    [
        ("main ghar ja raha hoon", "मैं घर जा रहा हूँ"),
        ("Aap kaise hain?", "आप कैसे हैं?"),
        ("Hindi accha", "हिंदी अच्छा"),
        ("karna", "करना"),
        ("kyaari", "क्यारी"),
    ],
)
def test_latin_letters_as_people_type_hindi(latin: str, hindi: str) -> None:
    assert to_devanagari(latin) == hindi


def test_devanagari_and_other_scripts_stay() -> None:
    assert to_devanagari("मेरा घर 25 привет") == "मेरा घर 25 привет"


@pytest.mark.parametrize("letter", [chr(c) for c in (*range(0x600, 0x700), *range(0x750, 0x780))])
def test_no_arabic_letter_breaks_it(letter: str) -> None:
    for word in (letter, f"ک{letter}", f"{letter}ا", f"ا{letter}ک"):
        assert isinstance(to_devanagari(word), str)


def test_consonants_are_the_same_for_a_word_heard_right() -> None:
    for urdu, hindi in (("دنیا", "दुनिया"), ("معلوم", "मालूम"), ("ہندوستان", "हिन्दुस्तान")):
        assert consonants(to_devanagari(urdu)) == consonants(hindi)
    assert consonants("खेल") != consonants("केल")
    assert consonants("आओ") == "अ"  # a word stays a word
