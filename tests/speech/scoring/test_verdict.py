"""The rules of a verdict, on counts made by hand and on what Whisper wrote."""

import pytest

from whisperslim.errors import DataError
from whisperslim.speech.scoring.loops import Loop
from whisperslim.speech.scoring.verdict import (
    ClipJudgement,
    clip_verdict,
    faster,
    judge_clip,
    judge_set,
    set_verdict,
    writing_note,
)

SAID = "मैं मोहन के साथ गेंद खेलने जा रहा हूँ।"
URDU = "میں موحن کے ساتھ گیند کھیلنے جارہا ہوں"
SLIM = "मैं मोहन के साट गेंद खेंद खेंडने जारा हो।"


def clip(errors: int, words: int = 10, script: str = "Devanagari", **more: int) -> ClipJudgement:
    return ClipJudgement(words, errors, script, "Devanagari", **more)


def winner(dense: ClipJudgement, slim: ClipJudgement) -> str:
    return clip_verdict({"dense": dense, "slim": slim}).winner


def test_another_script_gets_a_second_count() -> None:
    judged = judge_clip(SAID, URDU, "hi")
    assert (judged.words, judged.errors, judged.script) == (9, 9, "Arabic")
    # में for मैं, and जारहा for जा रहा: one replaced, one of two left out and one replaced.
    assert judged.transliterated == 3
    assert judged.consonant_errors == 2
    assert "9 wrong after transliteration" in judged.notes()[0]


def test_the_own_script_gets_one_count() -> None:
    judged = judge_clip(SAID, SLIM, "hi")
    assert judged.transliterated is None and not judged.notes()
    assert judged.most == judged.least == judged.errors == 5


def test_hearing_wins_over_script() -> None:
    verdict = clip_verdict(
        {"dense": judge_clip(SAID, URDU, "hi"), "slim": judge_clip(SAID, SLIM, "hi")}
    )
    assert verdict.winner == "dense"
    assert "9 word errors as written (3 after transliteration)" in verdict.sentence
    assert verdict.notes[0].startswith("dense: written in Arabic (Urdu) script")


def test_neither_is_right_when_both_fail() -> None:
    verdict = clip_verdict({"dense": clip(6), "slim": clip(72)})
    assert verdict.winner == "" and verdict.sentence.startswith("Neither is right")
    assert clip_verdict({"a": clip(6), "b": clip(7), "c": clip(9)}).sentence.startswith("None is")


def test_as_many_errors_are_a_result() -> None:
    verdict = clip_verdict({"dense": clip(2), "slim": clip(2)})
    assert verdict.winner == "" and verdict.equal
    assert verdict.sentence == "Equal on this clip: 2 word errors each, of 10 words spoken."
    right = clip_verdict({"dense": clip(0), "slim": clip(0), "third": clip(0)})
    assert right.equal and right.sentence == "All are right: no word error in 10 words spoken."
    assert not clip_verdict({"dense": clip(2), "slim": clip(3)}).equal
    assert not clip_verdict({"dense": clip(6), "slim": clip(6)}).equal, "both failed"


def test_as_many_errors_in_another_script_are_none() -> None:
    hidden = clip(2, script="Arabic", transliterated=2, consonant_errors=1)
    assert not clip_verdict({"dense": hidden, "slim": clip(2)}).equal


@pytest.mark.parametrize(
    ("dense", "slim", "expected"),
    [
        (clip(3), clip(1), "slim"),  # two words, a fifth of ten
        (clip(2), clip(1), ""),  # one word
        (clip(1), clip(3), "dense"),
        (clip(0), clip(0), ""),
        (clip(5, words=20), clip(2, words=20), ""),  # a fifth of twenty is four
        (clip(6, words=20), clip(2, words=20), "slim"),
        (clip(2, words=4), clip(0, words=4), ""),  # four words are too few
        (clip(6), clip(5), ""),  # half of the words right is no failure, one word no difference
    ],
)
def test_one_clip_needs_a_difference_that_means_something(
    dense: ClipJudgement, slim: ClipJudgement, expected: str
) -> None:
    assert winner(dense, slim) == expected


def test_a_script_that_hides_what_was_heard_makes_no_winner() -> None:
    hidden = clip(10, script="Arabic", transliterated=5, consonant_errors=1)
    verdict = clip_verdict({"dense": hidden, "slim": clip(2)})
    assert verdict.winner == "" and "another script" in verdict.sentence
    # Even by its consonants it heard less.
    known = clip(10, script="Arabic", transliterated=8, consonant_errors=6)
    assert winner(known, clip(2)) == "slim"


def test_a_loop_is_named() -> None:
    looped = judge_clip(SAID, "3" + ".5" * 40, "hi")
    assert looped.loop == Loop("5", 40)
    verdict = clip_verdict({"dense": looped, "slim": clip(0, words=9)})
    assert verdict.winner == "slim" and "repeats itself" in verdict.notes[0]


def test_other_languages_are_not_transliterated() -> None:
    judged = judge_clip("the cat sat on the mat", "кот сидел", "en")
    assert judged.in_other_script and judged.transliterated is None
    assert judged.notes() == ["written in another script"]


def test_a_reference_without_words_is_refused() -> None:
    with pytest.raises(DataError, match="no word"):
        judge_clip("।", "मैं", "hi")


def sayings(count: int) -> list[str]:
    return [f"{SAID} {i}" for i in range(count)]


def test_a_set_in_its_own_script_goes_by_significance() -> None:
    said = sayings(30)
    good = judge_set(said, said, "hi")
    worse = judge_set(said, [text.replace("साथ", "साट") for text in said], "hi")
    assert set_verdict(worse, good).winner == "slim"
    assert set_verdict(good, worse).winner == "dense"
    same = set_verdict(good, good)
    assert same.winner == "" and "no significant change" in same.sentence


def test_a_set_in_another_script_is_judged_by_what_was_heard() -> None:
    said = sayings(30)
    urdu = judge_set(said, [f"{URDU} {i}" for i in range(30)], "hi")
    slim = judge_set(said, [f"{SLIM} {i}" for i in range(30)], "hi")
    assert urdu.score.wer == pytest.approx(0.9)  # all words but the number
    assert urdu.transliterated is not None
    assert urdu.transliterated.wer == pytest.approx(0.3)
    assert urdu.scripts == {"Arabic": 30} and urdu.in_other_script == 30
    verdict = set_verdict(urdu, slim)
    assert verdict.winner == "dense" and "dense heard more" in verdict.sentence
    perfect = judge_set(said, said, "hi")
    # By consonants two words of ten are wrong in every clip: enough to name the better one.
    assert set_verdict(urdu, perfect).winner == "slim"


def test_neither_is_right_on_a_set() -> None:
    said = sayings(10)
    lost = judge_set(said, ["कुछ और"] * 10, "hi")
    looped = judge_set(said, ["जी " * 20] * 10, "hi")
    verdict = set_verdict(lost, looped)
    assert verdict.winner == "" and verdict.sentence.startswith("Neither is right")
    assert "slim: 10 of 10 transcripts repeat themselves." in verdict.notes
    assert looped.to_record()["repeating"] == 10


def test_empty_references_take_no_part() -> None:
    judged = judge_set([SAID, ""], [SAID, "कुछ"], "hi")
    assert len(judged.clips) == 1 and judged.most == 0


def test_a_script_is_said_without_a_reference_too() -> None:
    assert writing_note(URDU, "hi") == "written in Arabic (Urdu) script, not in Devanagari"
    assert writing_note(SAID, "hi") == writing_note("123", "hi") == ""
    assert writing_note(URDU, "ur") == writing_note(URDU, "xx") == ""


@pytest.mark.parametrize(
    ("dense", "slim", "words"),
    [
        (2.4, 0.1, "24× faster"),
        (1.0, 1.6, "1.6× slower"),
        (1.0, 1.01, "same speed"),
        (1.05, 1.0, "1.05× faster"),
        (0.0, 1.0, "–"),
    ],
)
def test_speed_in_words(dense: float, slim: float, words: str) -> None:
    assert faster(dense, slim) == words
