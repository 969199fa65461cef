"""References with accepted forms, against every choice of forms, and against meeteval."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meeteval.wer import siso_word_error_rate

from tests.speech.scoring.test_normalizer import edits
from whisperslim.errors import DataError
from whisperslim.speech.scoring.normalizer import RawNormalizer, by_name
from whisperslim.speech.scoring.variants import (
    VariantScore,
    chosen_words,
    read_variants,
    variant_score,
)

WORDS = st.sampled_from("abc")
FORM = st.lists(WORDS, min_size=1, max_size=3).map(tuple)
PLACES = st.lists(st.lists(FORM, min_size=1, max_size=3), min_size=1, max_size=3)
HEARD = st.lists(WORDS, max_size=6)
RAW = RawNormalizer()


def score_one(places: list[list[str]], heard: str, said: str = "x") -> VariantScore:
    return variant_score([said], [tuple(map(tuple, places))], [heard], RAW)


def most_matches(reference: list[str], heard: list[str]) -> tuple[int, int]:
    """Matches, and minus the errors of an alignment with so many, over all alignments."""
    if not reference or not heard:
        return 0, -len(reference) - len(heard)
    match = reference[-1] == heard[-1]
    beside, left, right = (
        most_matches(reference[:-1], heard[:-1]),
        most_matches(reference[:-1], heard),
        most_matches(reference, heard[:-1]),
    )
    ways = [(beside[0] + match, beside[1] - (not match))]
    ways += [(hits, errors - 1) for hits, errors in (left, right)]
    return max(ways)


@settings(deadline=None, max_examples=60)
@given(PLACES, HEARD)
def test_chosen_forms_match_most_of_all_choices(
    places: list[list[tuple[str, ...]]], heard: list[str]
) -> None:
    choices = [list(itertools.chain(*choice)) for choice in itertools.product(*places)]
    chosen = chosen_words(places, heard)
    assert chosen in choices
    best = max(most_matches(words, heard) for words in choices)
    assert most_matches(chosen, heard) == best


@settings(deadline=None, max_examples=60)
@given(PLACES, HEARD)
def test_errors_are_those_of_an_ordinary_alignment(
    places: list[list[tuple[str, ...]]], heard: list[str]
) -> None:
    given_forms = [[" ".join(form) for form in forms] for forms in places]
    found = score_one(given_forms, " ".join(heard))
    errors = edits(chosen_words(places, heard), heard)
    longest = sum(max(map(len, forms)) for forms in places)
    assert found.utterances == ((errors, longest),)
    assert found.substitutions + found.deletions + found.insertions == errors
    assert found.hits + found.substitutions + found.deletions == found.chosen_words
    assert found.wer == pytest.approx(errors / longest)


@settings(deadline=None, max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=6), HEARD)
def test_with_one_form_each_it_is_the_word_error_rate(said: list[str], heard: list[str]) -> None:
    theirs = siso_word_error_rate(" ".join(said), " ".join(heard))
    forms = score_one([[word] for word in said], " ".join(heard))
    none = variant_score([" ".join(said)], [None], [" ".join(heard)], RAW)
    assert forms.utterances == none.utterances == ((theirs.errors, theirs.length),)
    assert (forms.with_variants, none.with_variants) == (1, 0)


@pytest.mark.parametrize(
    ("places", "heard", "errors", "longest"),
    [
        ([["मैं"], ["दस", "10"]], "मैं 10", 0, 2),
        ([["बातचीत", "बात चीत"]], "बातचीत", 0, 2),
        ([["a", "b c d"]], "b", 2, 3),  # "b c d" matches a word, "a" none
        ([["a", "b c d"]], "x", 1, 3),  # neither matches; "a" has fewer errors
        ([["a", "b"], ["c"]], "", 2, 2),
    ],
)
def test_by_hand(places: list[list[str]], heard: str, errors: int, longest: int) -> None:
    assert score_one(places, heard).utterances == ((errors, longest),)


def test_forms_go_through_the_normalizer_and_silence_takes_no_part() -> None:
    hindi = by_name("hindi-1")
    forms = read_variants('[["हूँ।", "।"], ["१०", "दस"], ["—"]]', "clip")
    found = variant_score(["हूँ 10", "।", "हाँ"], [forms, None, None], ["हूं 10", "जी", "हां"], hindi)
    # Two places are left of three, one word of the clip without forms, none of the silent one.
    assert found.utterances == ((0, 2), (0, 1))
    assert (found.n, found.with_variants, found.normalizer) == (2, 1, "hindi-1")
    record = json.loads(json.dumps(found.to_record()))
    assert (record["wer"], record["hits"], record["chosen_words"]) == (0.0, 3, 3)
    assert "utterances" not in record
    with pytest.raises(DataError, match="none of the 1 references"):
        variant_score(["।"], [None], ["a"], hindi)


@pytest.mark.parametrize("cell", ["[[1]]", '["a"]', '{"a": 1}', "[[", '"a"', "[" * 100_000])
def test_a_column_of_another_kind_is_refused(cell: str) -> None:
    with pytest.raises(DataError, match=r"clip a\.wav: its variations are not a list of lists"):
        read_variants(cell, "a.wav")
    assert read_variants(" ", "a.wav") is None
