"""Word, character and grapheme error rates, each with the normalizer that it went through."""

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
    `normaliser` is the name of the normalizer, spelled as in all records.
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
    normaliser: str
    version: str
    warning: str
    utterances: tuple[UtteranceScore, ...]
    hallucinated: EmptyReferenceScore

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON; the per-utterance counts are left out."""
        record = {k: v for k, v in vars(self).items() if k not in ("utterances", "hallucinated")}
        return {**record, "hallucinated": dict(vars(self.hallucinated))}


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
    spoken, silent = _normalized_pairs(references, hypotheses, normalizer)
    if not spoken:
        raise no_words(len(references), normalizer.name)
    refs, hyps = [ref for _, ref, _ in spoken], [hyp for _, _, hyp in spoken]
    words = _align(refs, hyps, _Words())
    chars = _align(refs, hyps, _CodePoints())
    return Score(
        wer=words.wer,
        cer=chars.wer,
        grapheme_error_rate=_align(refs, hyps, _Graphemes()).wer,
        hits=words.hits,
        substitutions=words.substitutions,
        deletions=words.deletions,
        insertions=words.insertions,
        reference_words=words.hits + words.substitutions + words.deletions,
        n=len(spoken),
        normaliser=normalizer.name,
        version=normalizer.version,
        warning=getattr(normalizer, "warning", ""),
        utterances=_utterances([index for index, _, _ in spoken], words, chars),
        hallucinated=_empty_score([hyp for _, _, hyp in silent]),
    )


def no_words(references: int, normalizer: str) -> DataError:
    """The error for so many references without a word under the normalizer of that name."""
    return DataError(
        f"no error rate: none of the {references} references has a word after normalization with "
        f"{normalizer}; give at least one transcript with words"
    )


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


def _normalized_pairs(
    references: Sequence[str], hypotheses: Sequence[str], normalizer: Normalizer
) -> tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]:
    """(index, reference, hypothesis) of the utterances with words, and of those without."""
    if len(references) != len(hypotheses):
        raise DataError(
            f"{len(references)} references but {len(hypotheses)} hypotheses; "
            "give one hypothesis for each reference, an empty one where nothing was recognized"
        )
    pairs = zip(references, hypotheses, strict=True)
    items = [(i, *normalized_pair(normalizer, ref, hyp)) for i, (ref, hyp) in enumerate(pairs)]
    spoken = [item for item in items if item[1].split()]
    return spoken, [item for item in items if not item[1].split()]


def _align(refs: list[str], hyps: list[str], split: jiwer.AbstractTransform) -> jiwer.WordOutput:
    return jiwer.process_words(refs, hyps, split, split)


def _edits(alignment: list[jiwer.AlignmentChunk]) -> int:
    return sum(
        max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for chunk in alignment
        if chunk.type != "equal"
    )


def _utterances(
    indices: list[int], words: jiwer.WordOutput, chars: jiwer.WordOutput
) -> tuple[UtteranceScore, ...]:
    return tuple(
        UtteranceScore(
            index=index,
            errors=_edits(words.alignments[i]),
            words=len(words.references[i]),
            char_errors=_edits(chars.alignments[i]),
            chars=len(chars.references[i]),
        )
        for i, index in enumerate(indices)
    )


def _empty_score(hypotheses: list[str]) -> EmptyReferenceScore:
    counts = [len(hypothesis.split()) for hypothesis in hypotheses]
    return EmptyReferenceScore(len(counts), sum(count > 0 for count in counts), sum(counts))
