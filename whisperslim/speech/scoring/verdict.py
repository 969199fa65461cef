"""Which side is better: the rules that the Compare page, reports and the command line share.

1. A text in another script than the reference is scored as written and, for Hindi, a second time
   after transliteration, which says so. Both stand side by side.
2. What was heard in another script is known only within bounds: at most the errors after
   transliteration, which guesses vowels, and about those among the consonants at least. A winner
   is named only if it wins whatever is true within them.
3. Where every side gets more than `FAILED` of the words wrong, none is right.
4. One clip names a winner only with `CLIP_WORDS` words spoken and a difference of `CLIP_ERRORS`
   words and `CLIP_SHARE` of those spoken. A set names one only if paired bootstrap and
   matched-pairs test both do, as in `significance`.
5. A text that repeats itself is marked.

The numbers are our choice.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from whisperslim.errors import DataError
from whisperslim.speech.scoring.loops import Loop, find_loop
from whisperslim.speech.scoring.normalizer import Normalizer, by_name, for_language
from whisperslim.speech.scoring.significance import ALPHA, compare, matched_pairs, paired_bootstrap
from whisperslim.speech.scoring.transliteration import consonants, to_devanagari
from whisperslim.speech.scoring.wer import Score, score, word_differences
from whisperslim.speech.scoring.writing import MIXED, NO_SCRIPT, own_scripts, text_script

FAILED = 0.5
CLIP_WORDS = 5
CLIP_ERRORS = 2
CLIP_SHARE = 0.2
_SAME_SPEED = 0.02  # a smaller difference is noise of the clock

# Transliteration cannot know a nukta: it is folded in that score alone.
TRANSLITERATED_BY = "hindi-1+nukta-folding"
TRANSLITERATION_NOTE = (
    "after transliteration to Devanagari, which has to guess the short vowels, so at most that many"
)


@dataclass(frozen=True)
class ClipJudgement:
    """One transcript against what was said in one clip.

    Attributes:
        words: Words spoken.
        errors: Word errors as written, after the language's own normalizer.
        script: Script of the transcript.
        expected: Script of the reference.
        transliterated: Word errors after transliteration; None when it is not needed, or there is
            none to the reference's script.
        consonant_errors: Word errors among the consonants alone; None with `transliterated`.
        loop: How it repeats itself, or None.
    """

    words: int
    errors: int
    script: str
    expected: str
    transliterated: int | None = None
    consonant_errors: int | None = None
    loop: Loop | None = None

    @property
    def in_other_script(self) -> bool:
        """Whether the transcript is in another script than the reference."""
        known = self.script != NO_SCRIPT and self.expected not in (NO_SCRIPT, MIXED)
        return known and self.script != self.expected

    @property
    def most(self) -> int:
        """Errors of hearing, at most."""
        return self.errors if self.transliterated is None else min(self.errors, self.transliterated)

    @property
    def least(self) -> int:
        """Errors of hearing, at least."""
        return self.most if self.consonant_errors is None else min(self.most, self.consonant_errors)

    @property
    def failed(self) -> bool:
        """Whether more than `FAILED` of the words are wrong, however they were written."""
        return self.most > FAILED * self.words

    def notes(self) -> list[str]:
        """Caveats to the count, as clauses without a subject."""
        found = [script_note(self)] if self.in_other_script else []
        return [*found, self.loop.describe()] if self.loop else found


def judge_clip(reference: str, hypothesis: str, language: str) -> ClipJudgement:
    """A transcript against a reference with at least one word.

    Raises `DataError` for a reference without words.
    """
    wrong, spoken = _word_errors(reference, hypothesis, for_language(language))
    if not spoken:
        raise DataError("the reference has no word; an error count needs what was said")
    script, expected = text_script(hypothesis), text_script(reference)
    plain = ClipJudgement(spoken, wrong, script, expected, loop=find_loop(hypothesis, reference))
    if not plain.in_other_script or expected != "Devanagari":
        return plain
    respelt, folded = to_devanagari(hypothesis), by_name(TRANSLITERATED_BY)
    after, _ = _word_errors(reference, respelt, folded)
    bare, _ = _word_errors(consonants(folded(reference)), consonants(folded(respelt)), folded)
    return ClipJudgement(spoken, wrong, script, expected, after, bare, plain.loop)


def _word_errors(reference: str, hypothesis: str, normalizer: Normalizer) -> tuple[int, int]:
    """Word errors, and words of the reference."""
    steps = word_differences(reference, hypothesis, normalizer)
    return sum(s.kind != "equal" for s in steps), sum(s.kind != "insert" for s in steps)


def writing_note(text: str, language: str) -> str:
    """Which script a text is in when that is none of its language's; empty otherwise."""
    script, own = text_script(text), own_scripts(language)
    if not own or script == NO_SCRIPT or script in own:
        return ""
    return f"written in {script_name(script)}, not in {' or '.join(own)}"


def script_name(script: str) -> str:
    """A script for people."""
    names = {"Arabic": "Arabic (Urdu) script", MIXED: "several scripts", "other": "another script"}
    return names.get(script, f"{script} script")


def script_note(judged: ClipJudgement) -> str:
    """Script, and the second score, of a transcript that is not in the reference's script."""
    said = f"written in {script_name(judged.script)}"
    if judged.transliterated is None:
        return said
    return f"{said}; {judged.transliterated} of {judged.words} wrong {TRANSLITERATION_NOTE}"


@dataclass(frozen=True)
class Verdict:
    """`winner` is a side's name, or empty; `sentence` is for people, `notes` qualify it.

    `equal` says that all sides have as many word errors, which is a result and no doubt.
    """

    winner: str
    sentence: str
    notes: tuple[str, ...] = ()
    equal: bool = False


def clip_verdict(sides: Mapping[str, ClipJudgement]) -> Verdict:
    """The verdict on one clip, of two sides or more, by name."""
    spoken = next(iter(sides.values())).words
    counts = ", ".join(f"{name} {_counted(judged)}" for name, judged in sides.items())
    facts = f"{counts}, of {_plural(spoken, 'word')} spoken"
    notes = tuple(f"{name}: {note}." for name, each in sides.items() for note in each.notes())
    if all(judged.failed for judged in sides.values()):
        return Verdict("", f"{_neither(sides)} is right: {facts}.", notes)
    if len({(judged.errors, judged.most, judged.least) for judged in sides.values()}) == 1:
        return Verdict("", _equal(sides, spoken), notes, equal=True)
    best = min(sides, key=lambda name: sides[name].most)
    others = [judged for name, judged in sides.items() if name != best]
    needed = max(CLIP_ERRORS, math.ceil(CLIP_SHARE * spoken))
    if spoken < CLIP_WORDS:
        why = f"too few words to name one (under {CLIP_WORDS})"
    elif all(other.least - sides[best].most >= needed for other in others):
        return Verdict(best, f"{_capital(best)} heard it better: {facts}.", notes)
    elif all(other.most - sides[best].most >= needed for other in others):
        why = "one text is in another script, which hides how much was recognized"
    else:
        why = f"on one clip of this length less than {needed} words is no difference"
    return Verdict("", f"No winner: {facts}; {why}.", notes)


def judge_sides(texts: Mapping[str, str], reference: str | None, language: str) -> Verdict:
    """The verdict on what each side wrote of one clip, by the side's name.

    Without a reference there is no winner; scripts and loops are still reported.
    """
    if reference and for_language(language)(reference).split():
        return clip_verdict(
            {name: judge_clip(reference, text, language) for name, text in texts.items()}
        )
    notes = []
    for name, text in texts.items():
        loop = find_loop(text)
        found = (writing_note(text, language), loop.describe() if loop else "")
        notes += [f"{name}: {note}." for note in found if note]
    return Verdict("", "", tuple(notes))


def _counted(judged: ClipJudgement) -> str:
    wrong = _plural(judged.errors, "word error")
    if judged.transliterated is None:
        return wrong
    return f"{wrong} as written ({judged.transliterated} after transliteration)"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _equal(sides: Mapping[str, ClipJudgement], spoken: int) -> str:
    judged = next(iter(sides.values()))
    every = "Both" if len(sides) == 2 else "All"
    if judged.most == 0:
        return f"{every} are right: no word error in {_plural(spoken, 'word')} spoken."
    return f"Equal on this clip: {_counted(judged)} each, of {_plural(spoken, 'word')} spoken."


def _neither(sides: Mapping[str, Any]) -> str:
    return "Neither" if len(sides) == 2 else "None"


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


@dataclass(frozen=True)
class SetJudgement:
    """One model's transcripts of a set.

    Attributes:
        clips: Judgement of each clip with a spoken word, in order.
        score: All of them as written, after the language's own normalizer.
        transliterated: The same after transliteration of those in another script, by
            `TRANSLITERATED_BY`; None when there are none.
    """

    clips: tuple[ClipJudgement, ...]
    score: Score
    transliterated: Score | None

    @property
    def scripts(self) -> dict[str, int]:
        """Script -> transcripts written in it, the most common first."""
        return dict(Counter(clip.script for clip in self.clips).most_common())

    @property
    def in_other_script(self) -> int:
        """Transcripts in another script than their reference."""
        return sum(clip.in_other_script for clip in self.clips)

    @property
    def loops(self) -> int:
        """Transcripts that repeat themselves."""
        return sum(clip.loop is not None for clip in self.clips)

    @cached_property
    def words(self) -> list[int]:
        """Words spoken in each clip."""
        return [clip.words for clip in self.clips]

    @property
    def most(self) -> float:
        """Share of words heard wrong, at most."""
        return sum(clip.most for clip in self.clips) / sum(self.words)

    @property
    def failed(self) -> bool:
        """Whether more than `FAILED` of the words are wrong, however they were written."""
        return self.most > FAILED

    def notes(self) -> list[str]:
        """Caveats to the score, as clauses without a subject."""
        return self._counts().notes()

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self._counts().to_record()

    def _counts(self) -> "SetCounts":
        after = self.transliterated
        return SetCounts(
            len(self.clips),
            self.scripts,
            self.in_other_script,
            self.loops,
            None if after is None else after.to_record(),
            self.failed,
        )


@dataclass(frozen=True)
class SetCounts:
    """What `SetJudgement` says of a set, without its clips, of which there may be many.

    `transliterated` is the record of that score.
    """

    n: int
    scripts: dict[str, int]
    in_other_script: int
    loops: int
    transliterated: dict[str, Any] | None
    failed: bool

    def notes(self) -> list[str]:
        """Caveats to the score, as clauses without a subject."""
        found = []
        if self.in_other_script:
            kinds = ", ".join(f"{script} {count}" for script, count in self.scripts.items())
            found.append(
                f"{self.in_other_script} of {self.n} transcripts are not in the script of what was "
                f"said ({kinds})"
            )
        if self.transliterated is not None:
            found.append(f"WER {self.transliterated['wer']:.1%} {TRANSLITERATION_NOTE}")
        if self.loops:
            found.append(f"{self.loops} of {self.n} transcripts repeat themselves")
        if self.failed:
            found.append("more than half of the words are wrong")
        return found

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        after = self.transliterated
        return {
            "scripts": self.scripts,
            "in_other_script": self.in_other_script,
            "repeating": self.loops,
            "transliterated": after and {**after, "note": TRANSLITERATION_NOTE},
            "notes": self.notes(),
        }


def judge_set(references: Sequence[str], hypotheses: Sequence[str], language: str) -> SetJudgement:
    """Every transcript of a set. Raises `DataError` as `score` does.

    Clips without a spoken word take no part, as in `score`.
    """
    normalizer = for_language(language)
    written = score(references, hypotheses, normalizer)
    pairs = [(references[each.index], hypotheses[each.index]) for each in written.utterances]
    clips = tuple(judge_clip(said, heard, language) for said, heard in pairs)
    if all(clip.transliterated is None for clip in clips):
        return SetJudgement(clips, written, None)
    respelt = [
        heard if clip.transliterated is None else to_devanagari(heard)
        for clip, (_, heard) in zip(clips, pairs, strict=True)
    ]
    after = score([said for said, _ in pairs], respelt, by_name(TRANSLITERATED_BY))
    return SetJudgement(clips, written, after)


def set_verdict(
    dense: SetJudgement, slim: SetJudgement, names: Sequence[str] = ("dense", "slim")
) -> Verdict:
    """Slim against dense on the same clips, in order.

    Raises `DataError` when the clips differ.
    """
    as_written = compare(dense.score, slim.score)
    sides = dict(zip(names, (dense, slim), strict=True))
    notes = tuple(f"{name}: {note}." for name, each in sides.items() for note in each.notes())
    rates = ", ".join(f"{name} {each.score.wer:.1%}" for name, each in sides.items())
    if not (dense.in_other_script or slim.in_other_script):
        winner = names[as_written.difference < 0] if as_written.significant else ""
        sentence = f"{_capital(names[1])} against {names[0]}: {as_written.verdict}."
    else:
        winner = _heard_better(dense, slim, names)
        says = f"{winner} heard more" if winner else "no winner, since another script hides it"
        sentence = f"WER as written {rates}; by what was heard, {says}."
    if dense.failed and slim.failed:
        return Verdict("", f"Neither is right ({rates} WER as written). {sentence}", notes)
    return Verdict(winner, sentence, notes)


def _heard_better(dense: SetJudgement, slim: SetJudgement, names: Sequence[str]) -> str:
    """The side that wins whichever words the other script stands for; empty for none."""
    sides = dict(zip(names, (dense, slim), strict=True))
    for (better, ours), (_, theirs) in ((a, b) for a in sides.items() for b in sides.items()):
        mine = [clip.most for clip in ours.clips]
        others = [clip.least for clip in theirs.clips]
        if ours is not theirs and sum(mine) < sum(others) and _differ(others, mine, ours.words):
            return better
    return ""


def _differ(a: Sequence[int], b: Sequence[int], words: Sequence[int]) -> bool:
    interval = paired_bootstrap(a, b, words, confidence=1 - ALPHA)
    return not interval.contains(0) and matched_pairs(a, b).p_value < ALPHA


def faster(dense_seconds: float, seconds: float) -> str:
    """How a side's time compares with dense: "24× faster", "1.6× slower", "same speed"."""
    if min(dense_seconds, seconds) <= 0:
        return "–"
    ratio = max(dense_seconds, seconds) / min(dense_seconds, seconds)
    if ratio - 1 < _SAME_SPEED:
        return "same speed"
    shown = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1.1 else f"{ratio:.2f}"
    return f"{shown}× {'faster' if seconds < dense_seconds else 'slower'}"
