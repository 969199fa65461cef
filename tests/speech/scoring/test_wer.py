"""Scores against hand counts, meeteval's own word error rate and a textbook edit distance."""

import json

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from meeteval.wer import siso_word_error_rate

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.scoring.normalizer import (
    HindiNormalizer,
    RawNormalizer,
    by_name,
)
from whisperslim.speech.scoring.published import WhisperBasicNormalizer
from whisperslim.speech.scoring.wer import (
    EmptyReferenceScore,
    UtteranceScore,
    WordDifference,
    score,
    score_all_ways,
    word_differences,
)

RAW = RawNormalizer()
REFERENCE = "मैं रोज़ सुबह किताबें पढ़ता हूँ।"
HYPOTHESIS = "में रोज सुबह किताब पढ़ती हूं"


def edits(reference, hypothesis) -> int:
    """Levenshtein distance by the textbook recurrence."""
    row = list(range(len(hypothesis) + 1))
    for i, ref in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, hyp in enumerate(hypothesis, 1):
            change = previous + (ref != hyp)
            previous, row[j] = row[j], min(change, row[j] + 1, row[j - 1] + 1)
    return row[-1]


SENTENCES = st.lists(st.sampled_from(["कि", "की", "हूँ", "है", "a", "b"]), max_size=7).map(" ".join)
PAIRS = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6).filter(
    lambda pairs: any(ref for ref, _ in pairs)
)


@settings(deadline=None)
@given(PAIRS)
def test_agrees_with_meeteval_and_the_textbook(pairs):
    ours = score([r for r, _ in pairs], [h for _, h in pairs], RAW)
    spoken = [(i, r, h) for i, (r, h) in enumerate(pairs) if r]
    theirs = [siso_word_error_rate(r, h) for _, r, h in spoken]
    assert ours.wer == pytest.approx(sum(t.errors for t in theirs) / sum(t.length for t in theirs))
    assert [u.errors for u in ours.utterances] == [t.errors for t in theirs]
    assert [u.words for u in ours.utterances] == [t.length for t in theirs]
    assert [u.index for u in ours.utterances] == [i for i, _, _ in spoken]
    assert [u.char_errors for u in ours.utterances] == [edits(r, h) for _, r, h in spoken]
    assert [u.chars for u in ours.utterances] == [len(r) for _, r, _ in spoken]
    assert ours.cer == pytest.approx(
        sum(u.char_errors for u in ours.utterances) / sum(u.chars for u in ours.utterances)
    )
    clusters = [(regex.findall(r"\X", r), regex.findall(r"\X", h)) for _, r, h in spoken]
    assert ours.grapheme_error_rate == pytest.approx(
        sum(edits(r, h) for r, h in clusters) / sum(len(r) for r, _ in clusters)
    )
    assert ours.substitutions + ours.deletions + ours.insertions == sum(t.errors for t in theirs)
    assert ours.hits + ours.substitutions + ours.deletions == ours.reference_words


def test_counts_by_hand():
    # One substitution, one deletion; one insertion; all right. 2 + 1 + 0 errors in 4 + 2 + 1 words.
    result = score(["a b c d", "e f", "g"], ["a x c", "e f f", "g"], RAW)
    assert (result.substitutions, result.deletions, result.insertions) == (1, 1, 1)
    assert (result.hits, result.reference_words, result.n) == (5, 7, 3)
    assert result.wer == pytest.approx(3 / 7)
    # "a b c d" to "a x c": b to x, then " d" gone; "e f" to "e f f": " f" added. 5 of 7 + 3 + 1.
    assert result.cer == pytest.approx(5 / 11)
    assert result.utterances[0] == UtteranceScore(0, errors=2, words=4, char_errors=3, chars=7)


def test_code_points_and_graphemes_differ_in_devanagari():
    # कि is two code points and one cluster; the vowel sign is wrong.
    result = score(["कि"], ["की"], RAW)
    assert result.cer == 0.5
    assert result.grapheme_error_rate == 1.0


def test_the_worked_example_three_ways():
    ways = score_all_ways([REFERENCE], [HYPOTHESIS])
    assert list(ways) == ["raw", "whisper-basic", "hindi-1"]
    assert ways["raw"].wer == pytest.approx(5 / 6)
    assert ways["whisper-basic"].wer == 0.0
    assert ways["hindi-1"].wer == pytest.approx(4 / 6)  # हूँ and हूं are one word
    assert "vowel signs" in ways["whisper-basic"].warning
    assert ways["raw"].warning == ways["hindi-1"].warning == ""
    assert list(score_all_ways(["a"], ["a"], "en"))[-1] == "whisper-english"
    assert list(score_all_ways(["a"], ["a"], "mr"))[-1] == "marathi-1"


def test_named_normalizers_stand_before_the_one_that_judges():
    more = ["vistaar", "hindi-1", "hindi-1+glides", "vistaar"]
    ways = score_all_ways(["वह गये"], ["वह गए"], "hi", more)
    assert list(ways) == ["raw", "whisper-basic", "vistaar", "hindi-1+glides", "hindi-1"]
    assert [way.wer for way in ways.values()] == [0.5, 0.5, 0.5, 0.0, 0.5]
    assert "only for comparison" in ways["vistaar"].warning
    with pytest.raises(UsageError, match="vistaar-2"):
        score_all_ways(["a"], ["a"], "hi", ["vistaar-2"])


def test_compounds_count_over_the_words_of_the_reference():
    joined = by_name("hindi-1+compounds")
    result = score(["बातचीत हुई", "भारत पाक"], ["बात चीत हुआ", "भारतपाक"], joined)
    assert (result.hits, result.substitutions, result.reference_words) == (3, 1, 4)
    assert [(u.errors, u.words) for u in result.utterances] == [(1, 2), (0, 2)]
    kinds = [step.kind for step in word_differences("भारत पाक", "भारतपाक", joined)]
    assert kinds == ["equal", "equal"]


def test_more_errors_than_words():
    assert score(["a"], ["b c d"], RAW).wer == 3.0


def test_empty_hypothesis_is_all_deletions():
    result = score(["a b"], [""], RAW)
    assert (result.wer, result.cer, result.deletions) == (1.0, 1.0, 2)


def test_empty_references_are_scored_apart():
    alone = score(["a b"], ["a"], RAW)
    mixed = score(["", "a b", "  ", ""], ["धन्यवाद देखने के लिए", "a", "", "x"], RAW)
    assert (mixed.wer, mixed.n, mixed.insertions) == (alone.wer, 1, 0)
    assert mixed.utterances[0].index == 1
    assert mixed.hallucinated == EmptyReferenceScore(count=3, with_text=2, words=5)
    assert alone.hallucinated == EmptyReferenceScore(0, 0, 0)


def test_a_reference_that_normalizes_to_nothing_is_empty():
    result = score(["।", "है"], ["हाँ", "है"], HindiNormalizer())
    assert (result.n, result.wer, result.hallucinated.words) == (1, 0.0, 1)


def test_silence_alone_has_no_error_rate():
    with pytest.raises(DataError, match="none of the 2 references"):
        score(["", "।"], ["a", "b"], HindiNormalizer())
    with pytest.raises(DataError, match="none of the 0 references"):
        score([], [], RAW)


def test_lengths_must_match():
    with pytest.raises(DataError, match="2 references but 1 hypotheses"):
        score(["a", "b"], ["a"], RAW)


def test_record_is_json_and_names_the_normalizer():
    result = score([REFERENCE, ""], [HYPOTHESIS, "x"], WhisperBasicNormalizer())
    record = json.loads(json.dumps(result.to_record(), allow_nan=False))
    assert record["normalizer"] == "whisper-basic"
    assert record["version"] and record["warning"]
    assert record["hallucinated"] == {"count": 1, "with_text": 1, "words": 1}
    assert "utterances" not in record
    assert record["wer"] == result.wer


def test_word_differences_by_hand():
    assert word_differences("a b c", "a x c d") == (
        WordDifference("equal", "a", "a"),
        WordDifference("substitute", "b", "x"),
        WordDifference("equal", "c", "c"),
        WordDifference("insert", "", "d"),
    )
    assert word_differences("a b", "b") == (
        WordDifference("delete", "a", ""),
        WordDifference("equal", "b", "b"),
    )
    assert word_differences("", "") == ()
    assert word_differences("", "a b") == (
        WordDifference("insert", "", "a"),
        WordDifference("insert", "", "b"),
    )
    assert word_differences("हूँ।", "हूं", HindiNormalizer()) == (WordDifference("equal", "हूं", "हूं"),)


@settings(deadline=None)
@given(SENTENCES, SENTENCES)
def test_word_differences_spell_out_both_texts_with_the_fewest_edits(reference, hypothesis):
    steps = word_differences(reference, hypothesis)
    assert [s.reference for s in steps if s.reference] == reference.split()
    assert [s.hypothesis for s in steps if s.hypothesis] == hypothesis.split()
    wrong = sum(step.kind != "equal" for step in steps)
    assert wrong == edits(reference.split(), hypothesis.split())
    assert all((s.reference == s.hypothesis) == (s.kind == "equal") for s in steps)
