"""Word, character and grapheme error rates, each with the normalizer that it went through."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jiwer
import regex

from whisperslim.errors import DataError
from whisperslim.speech.scoring.normalizer import (
    Normalizer,
    RawNormalizer,
    by_name,
    for_language,
    normalized_pair,
)
from whisperslim.speech.scoring.published import WhisperBasicNormalizer

_GRAPHEME = regex.compile(r"\X")


@dataclass(frozen=True)
class UtteranceScore:
    """One utterance with a non-empty reference. `index` is its place in the list that was scored.

    `errors` are substitutions + deletions + insertions of words, `words` those of the reference;
    `char_errors` and `chars` the same for code points.
    """

    index: int
    errors: int
    words: int
    char_errors: int
    chars: int


@dataclass(frozen=True)
class EmptyReferenceScore:
    """What a system wrote where nothing was said. Not part of any error rate.

    Of `count` utterances with an empty reference, `with_text` got at least one word, and `words`
    were written in all.
    """

    count: int
    with_text: int
    words: int


@dataclass(frozen=True)
class Score:
    """Error rates over `n` utterances whose normalized reference is not empty.

    Rates are errors / reference units, pooled over utterances (not a mean of per-utterance rates):
    0 is perfect and values above 1 are possible. `cer` counts code points and
    `grapheme_error_rate` extended grapheme clusters (what a reader takes for one letter), both
    with the single spaces between words. `hits` to `insertions` count words.
    `normalizer` is the name of the normalizer.
    """

    wer: float
    cer: float
    grapheme_error_rate: float
    hits: int
    substitutions: int
    deletions: int
    insertions: int
    reference_words: int
    n: int
    normalizer: str
    version: str
    warning: str
    utterances: tuple[UtteranceScore, ...]
    hallucinated: EmptyReferenceScore

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON; the per-utterance counts are left out."""
        record = {k: v for k, v in vars(self).items() if k not in ("utterances", "hallucinated")}
        return {**record, "hallucinated": dict(vars(self.hallucinated))}


@dataclass(frozen=True, slots=True)
class Edits:
    """What is wrong in one hypothesis; `hits` to `insertions` are words."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int
    char_errors: int
    chars: int
    grapheme_errors: int
    graphemes: int

    @property
    def errors(self) -> int:
        """Words substituted, deleted and inserted."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def words(self) -> int:
        """Of the reference."""
        return self.hits + self.substitutions + self.deletions


class Tally:
    """Sums over utterances, which may be many: none of them is kept."""

    def __init__(self) -> None:
        self._sums = Counter[str]()
        self._n = 0
        self._silent = EmptyReferenceScore(0, 0, 0)

    def add(self, each: Edits | int) -> None:
        """Count one utterance of `edits`."""
        if isinstance(each, int):
            before = self._silent
            self._silent = EmptyReferenceScore(
                before.count + 1, before.with_text + (each > 0), before.words + each
            )
            return
        self._n += 1
        for name in Edits.__slots__:
            self._sums[name] += getattr(each, name)

    def rates(self, name: str) -> dict[str, Any]:
        """The fields of a `Score` that are sums. `name` is the normalizer's, for the error.

        Raises `DataError` when no utterance had a word in its reference.
        """
        if not self._n:
            raise no_words(self._silent.count, name)
        total = Edits(**{name: self._sums[name] for name in Edits.__slots__})
        return {
            "wer": total.errors / total.words,
            "cer": total.char_errors / total.chars,
            "grapheme_error_rate": total.grapheme_errors / total.graphemes,
            "hits": total.hits,
            "substitutions": total.substitutions,
            "deletions": total.deletions,
            "insertions": total.insertions,
            "reference_words": total.words,
            "n": self._n,
            "hallucinated": self._silent,
        }


@dataclass(frozen=True)
class WordDifference:
    """One step of a word alignment. The text that has no counterpart is empty."""

    kind: Literal["equal", "substitute", "insert", "delete"]
    reference: str
    hypothesis: str


class _Words(jiwer.AbstractTransform):
    """Jiwer's own default also splits at single spaces; this one needs no prior stripping."""

    def process_string(self, s: str) -> list[str]:
        return s.split()


class _CodePoints(jiwer.AbstractTransform):
    def process_string(self, s: str) -> list[str]:
        return list(s)


class _Graphemes(jiwer.AbstractTransform):
    def process_string(self, s: str) -> list[str]:
        return _GRAPHEME.findall(s)


def score(references: Sequence[str], hypotheses: Sequence[str], normalizer: Normalizer) -> Score:
    """Compare `hypotheses[i]` with `references[i]` for every i, both normalized.

    Raises `DataError` when the lists differ in length or when no reference has a word left.
    """
    found = edits(references, hypotheses, normalizer)
    tally = Tally()
    for each in found:
        tally.add(each)
    return Score(
        **tally.rates(normalizer.name),
        normalizer=normalizer.name,
        version=normalizer.version,
        warning=warning_of(normalizer),
        utterances=tuple(
            UtteranceScore(index, each.errors, each.words, each.char_errors, each.chars)
            for index, each in enumerate(found)
            if isinstance(each, Edits)
        ),
    )


def no_words(references: int, normalizer: str) -> DataError:
    """The error for so many references without a word under the normalizer of that name."""
    return DataError(
        f"no error rate: none of the {references} references has a word after normalization with "
        f"{normalizer}; give at least one transcript with words"
    )


def warning_of(normalizer: Normalizer) -> str:
    """What readers of a figure of this normalizer must know; empty for one that judges."""
    return str(getattr(normalizer, "warning", ""))


def edits(
    references: Sequence[str], hypotheses: Sequence[str], normalizer: Normalizer
) -> list[Edits | int]:
    """What is wrong in each hypothesis; where nothing was said, how many words were written.

    Raises `DataError` when the lists differ in length.
    """
    if len(references) != len(hypotheses):
        raise DataError(
            f"{len(references)} references but {len(hypotheses)} hypotheses; "
            "give one hypothesis for each reference, an empty one where nothing was recognized"
        )
    pairs = zip(references, hypotheses, strict=True)
    texts = [normalized_pair(normalizer, said, heard) for said, heard in pairs]
    spoken = [(said, heard) for said, heard in texts if said.split()]
    if not spoken:
        return [len(heard.split()) for _, heard in texts]
    refs, hyps = [said for said, _ in spoken], [heard for _, heard in spoken]
    ways = [_align(refs, hyps, split) for split in (_Words(), _CodePoints(), _Graphemes())]
    aligned = iter(zip(*(way.alignments for way in ways), strict=True))
    return [_edits(*next(aligned)) if said.split() else len(heard.split()) for said, heard in texts]


def all_ways(language: str = "hi", more: Sequence[str] = ()) -> tuple[Normalizer, ...]:
    """The normalizers that a text in `language` is scored with; the one that judges comes last.

    "raw", "whisper-basic" (with its warning), those named in `more`, and the one for the language
    ("hindi-1" for Hindi). Raises as `by_name`.
    """
    asked = [by_name(name, language) for name in more]
    judge = for_language(language)
    first: tuple[Normalizer, ...] = (RawNormalizer(), WhisperBasicNormalizer(), *asked)
    found = {each.name: each for each in first}
    found.pop(judge.name, None)
    return (*found.values(), judge)


def score_all_ways(
    references: Sequence[str],
    hypotheses: Sequence[str],
    language: str = "hi",
    more: Sequence[str] = (),
) -> dict[str, Score]:
    """The same pairs under each of `all_ways`, by the normalizer's name, in that order."""
    return {each.name: score(references, hypotheses, each) for each in all_ways(language, more)}


def word_differences(
    reference: str, hypothesis: str, normalizer: Normalizer | None = None
) -> tuple[WordDifference, ...]:
    """A word-by-word alignment with the fewest edits, for display.

    Without a normalizer words are compared as written. An empty reference is allowed.
    """
    normalize = RawNormalizer() if normalizer is None else normalizer
    said, heard = normalized_pair(normalize, reference, hypothesis)
    result = _align([said], [heard], _Words())
    refs, hyps = result.references[0], result.hypotheses[0]
    return tuple(step for chunk in result.alignments[0] for step in _steps(chunk, refs, hyps))


def _steps(chunk: jiwer.AlignmentChunk, refs: list[str], hyps: list[str]) -> list[WordDifference]:
    left = refs[chunk.ref_start_idx : chunk.ref_end_idx]
    right = hyps[chunk.hyp_start_idx : chunk.hyp_end_idx]
    kind: Any = chunk.type
    # Equal and substituted chunks are as long on both sides; the others are empty on one side.
    length = max(len(left), len(right))
    left, right = left or [""] * length, right or [""] * length
    return [WordDifference(kind, ref, hyp) for ref, hyp in zip(left, right, strict=True)]


def _align(refs: list[str], hyps: list[str], split: jiwer.AbstractTransform) -> jiwer.WordOutput:
    return jiwer.process_words(refs, hyps, split, split)


def _edits(
    words: list[jiwer.AlignmentChunk],
    chars: list[jiwer.AlignmentChunk],
    graphemes: list[jiwer.AlignmentChunk],
) -> Edits:
    of_words, of_chars, of_graphemes = (_kinds(each) for each in (words, chars, graphemes))
    return Edits(*of_words, *_errors_of(of_chars), *_errors_of(of_graphemes))


def _kinds(alignment: list[jiwer.AlignmentChunk]) -> tuple[int, int, int, int]:
    """Hits, substitutions, deletions, insertions."""
    found = dict.fromkeys(("equal", "substitute", "delete", "insert"), 0)
    for chunk in alignment:
        left = chunk.ref_end_idx - chunk.ref_start_idx
        right = chunk.hyp_end_idx - chunk.hyp_start_idx
        found[chunk.type] += max(left, right)
    return found["equal"], found["substitute"], found["delete"], found["insert"]


def _errors_of(kinds: tuple[int, int, int, int]) -> tuple[int, int]:
    """Errors, and units of the reference."""
    hits, substituted, deleted, inserted = kinds
    return substituted + deleted + inserted, hits + substituted + deleted
