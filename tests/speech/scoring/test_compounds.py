"""Words written as one or as several, against a search through every way to join them."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.speech.scoring.test_normalizer import edits
from whisperslim.speech.scoring.compounds import MOST_PARTS, respaced

TEXTS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aba"]), max_size=4).map(" ".join)


def all_spacings(text: str) -> set[str]:
    letters = text.replace(" ", "")
    if not letters:
        return {""}
    gaps = itertools.product(("", " "), repeat=max(0, len(letters) - 1))
    return {"".join(map("".join, zip(letters, (*gap, ""), strict=True))) for gap in gaps}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "written"),
    [
        ("बातचीत हुई", "बात चीत हुई", "बातचीत हुई"),
        ("बात चीत हुई", "बातचीत हुई", "बात चीत हुई"),
        ("अब बातचीत", "कब बात चीत", "कब बातचीत"),  # the word beside it is wrong
        ("बातचीत हुई", "बात चित हुई", "बात चित हुई"),  # other letters
        ("a b c d e", "abcde", "abcde"),  # more parts than a compound has
        ("ab c", "a bc", "a bc"),  # neither is one word
        ("a", "", ""),
        ("", "a b", "a b"),
        ("", "", ""),
    ],
)
def test_only_spaces_are_forgiven(reference: str, hypothesis: str, written: str) -> None:
    assert MOST_PARTS == 4
    assert respaced(reference, hypothesis) == written


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_letters_stay_and_errors_never_grow(reference: str, hypothesis: str) -> None:
    written = respaced(reference, hypothesis)
    assert written.replace(" ", "") == hypothesis.replace(" ", "")
    errors = edits(reference.split(), written.split())
    assert errors <= edits(reference.split(), hypothesis.split())
    # No spacing at all is better, but for those that no compound explains.
    least = min(edits(reference.split(), other.split()) for other in all_spacings(hypothesis))
    assert least <= errors
    if hypothesis.replace(" ", "") == reference.replace(" ", "") and " " not in reference:
        parts = len(hypothesis.split())
        assert errors == 0 or parts > MOST_PARTS
