"""What is a loop of a decoder, and what is Hindi."""

import pytest

from whisperslim.speech.scoring.loops import Loop, find_loop


@pytest.mark.parametrize(
    "text",
    [
        "धीरे धीरे चलो",
        "बार बार",
        "साथ साथ धीरे धीरे बार बार घर घर",
        "नहीं नहीं नहीं नहीं",
        "राम राम जी राम राम",
        "चलते चलते थक गए, चलते चलते सो गए",
        "हाहाहा",
        "1000000000",
        "",
    ],
)
def test_hindi_that_doubles_words_is_no_loop(text: str) -> None:
    assert find_loop(text) is None


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("3.5.5.5.5.5.5.5", Loop("5", 7)),  # Whisper-base on real speech
        ("जी जी जी जी जी", Loop("जी", 5)),
        ("मैं गया था मैं गया था मैं गया था मैं", Loop("मैं गया था", 3)),
        ("घर घर में घर घर में घर घर में", Loop("घर घर में", 3)),
        ("तो खेखेखेखेखेखे", Loop("खे", 6)),
        ("एक दो एक दो एक दो " + "और " * 20, Loop("और", 20)),
    ],
)
def test_loops(text: str, loop: Loop) -> None:
    assert find_loop(text) == loop


def test_what_was_said_that_often_is_no_loop() -> None:
    assert find_loop("जी जी जी जी जी", "जी जी जी जी जी।") is None
    assert find_loop("जी " * 9, "जी " * 5) == Loop("जी", 9)


def test_it_says_what_is_repeated() -> None:
    assert Loop("जी", 9).describe() == "repeats itself: “जी” 9 times in a row"
