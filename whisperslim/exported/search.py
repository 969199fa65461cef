"""The likeliest text of the scores of frames (CTC), and where in the sound it is. Numpy alone.

Prefix beam search as Hannun et al., arXiv 1408.2873, algorithm 1, with a language model of words:

    ln p(text | sound) + weight * ln p(words) + bonus * number of words

Times of words come from the likeliest alignment of the text to the frames (Viterbi). That a word
counts once the next one begins, and that tokens below a ten-thousandth are not tried, are our
choice.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File

import numpy as np

from whisperslim.errors import UsageError
from whisperslim.exported.ctc import FrameTiming, FrameTokens, Path, read_path
from whisperslim.exported.ngrams import BEGIN, END, NGrams, Words, read_ngrams

_LEAST = math.log(1e-4)
_NEVER = -math.inf
MOST_WIDTH = 512
Prefix = tuple[int, ...]


@dataclass(frozen=True)
class Search:
    """How the text of frames is looked for.

    Attributes:
        width: Prefixes that are followed.
        words: A language model; None: the scores alone decide.
        weight: Of its logarithms.
        bonus: Added for each word, since every word costs what the language model says.
    """

    width: int = 16
    words: NGrams | None = None
    weight: float = 0.5
    bonus: float = 1.0

    def describe(self) -> str:
        """For reports."""
        plain = f"prefix beam search over CTC, {self.width} prefixes"
        if self.words is None:
            return plain
        return (
            f"{plain}, a language model of {self.words.order} words, weight {self.weight:g}, "
            f"bonus {self.bonus:g} a word"
        )


def search_asked(width: int, model: File | None, weight: float, bonus: float) -> Search | None:
    """What options ask for; None: the greedy path.

    Args:
        width: Prefixes to follow; 0: none, which is greedy.
        model: An ARPA file.
        weight: Of it.
        bonus: For each word.

    Raises:
        UsageError: numbers that are not accepted, a language model without a beam, or a file that
            cannot be used.
    """
    if not 0 <= width <= MOST_WIDTH:
        raise UsageError(f"a beam of {width}; accepted is 0 (greedy) to {MOST_WIDTH}")
    if not width:
        if model is not None:
            raise UsageError("a language model needs a beam to choose from; add --beam 16")
        return None
    if not (0.0 <= weight <= 10.0 and -10.0 <= bonus <= 10.0):
        raise UsageError(
            f"a language model's weight of {weight} and a bonus of {bonus} a word; accepted are 0 "
            "to 10, and -10 to 10"
        )
    return Search(width, read_ngrams(model) if model else None, weight, bonus)


def searched_path(
    logits: np.ndarray, tokens: FrameTokens, timing: FrameTiming, seconds: float, search: Search
) -> Path:
    """What was written in a clip of so many seconds, and when. `logits` is `(frames, vocabulary)`.

    Confidence is the mean probability along the alignment, as `read_path` has it.
    """
    heard = logits[: timing.frames(seconds)].astype(np.float64)
    scores = heard - np.logaddexp.reduce(heard, -1, keepdims=True)
    ids = best_text(scores, tokens, search)
    best = aligned(scores, ids, tokens.blank)
    chances = np.exp(scores[np.arange(len(best)), best])
    return read_path(best.tolist(), chances.tolist(), tokens, timing, seconds)


def best_text(scores: np.ndarray, tokens: FrameTokens, search: Search) -> Prefix:
    """The likeliest ids. `scores` is logarithms of probabilities, `(frames, vocabulary)`."""
    spoken = _Spoken(tokens, search)
    # Of each prefix: it ends in a blank, or in its last token.
    beam: dict[Prefix, tuple[float, float]] = {(): (0.0, _NEVER)}
    for row in scores:
        tried = np.flatnonzero(row >= min(_LEAST, float(row.max())))
        grown = _grown(beam, tried.tolist(), row[tried].tolist(), tokens.blank)
        if len(grown) > search.width:
            likely = sorted(
                grown, key=lambda each: _sum(*grown[each]) + spoken.so_far(each), reverse=True
            )
            grown = {each: grown[each] for each in likely[: search.width]}
        beam = grown
    return max(beam, key=lambda each: _sum(*beam[each]) + spoken.in_all(each))


def _grown(
    beam: Mapping[Prefix, tuple[float, float]],
    tried: Sequence[int],
    scores: Sequence[float],
    blank: int,
) -> dict[Prefix, tuple[float, float]]:
    """Every prefix after one more frame."""
    found: dict[Prefix, tuple[float, float]] = {}
    nothing = (_NEVER, _NEVER)
    for prefix, (ended, held) in beam.items():
        whole, last = _sum(ended, held), prefix[-1] if prefix else -1
        for token, score in zip(tried, scores, strict=True):
            if token == blank:
                before = found.get(prefix, nothing)
                found[prefix] = (_sum(before[0], whole + score), before[1])
                continue
            if token == last:
                before = found.get(prefix, nothing)
                found[prefix] = (before[0], _sum(before[1], held + score))
            # The same token once more takes a blank between.
            come = (ended if token == last else whole) + score
            longer = (*prefix, token)
            before = found.get(longer, nothing)
            found[longer] = (before[0], _sum(before[1], come))
    return found


class _Spoken:
    """What the language model says of prefixes; of each it is asked once."""

    def __init__(self, tokens: FrameTokens, search: Search) -> None:
        self._tokens, self._search = tokens, search
        # Prefix -> score of its whole words, the words before the next, ids of the word begun.
        self._known: dict[Prefix, tuple[float, Words, Prefix]] = {(): (0.0, (BEGIN,), ())}

    def so_far(self, prefix: Prefix) -> float:
        """Score of the words that are complete."""
        return self._read(prefix)[0] if self._search.words else 0.0

    def in_all(self, prefix: Prefix) -> float:
        """Score of all words, and of the text's end."""
        if self._search.words is None:
            return 0.0
        score, context, _ = self._closed(*self._read(prefix))
        return score + self._search.weight * self._search.words.after(context, END)

    def _read(self, prefix: Prefix) -> tuple[float, Words, Prefix]:
        known = next(n for n in range(len(prefix), -1, -1) if prefix[:n] in self._known)
        score, context, begun = self._known[prefix[:known]]
        for length in range(known, len(prefix)):
            token = prefix[length]
            gap = self._tokens.is_gap(token)
            if gap or self._tokens.begins_word(token):
                score, context, begun = self._closed(score, context, begun)
            begun = () if gap else (*begun, token)
            self._known[prefix[: length + 1]] = (score, context, begun)
        return score, context, begun

    def _closed(self, score: float, context: Words, begun: Prefix) -> tuple[float, Words, Prefix]:
        word, search = self._tokens.decode(begun) if begun else "", self._search
        if not word or search.words is None:
            return score, context, ()
        gained = search.weight * search.words.after(context, word) + search.bonus
        return score + gained, search.words.kept((*context, word)), ()


def aligned(scores: np.ndarray, ids: Sequence[int], blank: int) -> np.ndarray:
    """The likeliest way to spell `ids` over the frames: a token or the blank for each, `(frames,)`.

    `scores` is as of `best_text`. Raises `ValueError` for more ids than frames can spell.
    """
    # Blanks before, between and behind; a blank may be left out between two different tokens.
    spelled = [blank, *(each for token in ids for each in (token, blank))]
    frames, places = len(scores), len(spelled)
    skips = np.array([i > 1 and spelled[i] not in (blank, spelled[i - 2]) for i in range(places)])
    came = np.zeros((frames, places), np.int8)
    best = np.full(places, _NEVER)
    best[0] = 0.0  # before the first frame, as if a blank had been heard
    for frame, row in enumerate(scores[:, spelled]):
        ways = np.full((3, places), _NEVER)
        ways[0] = best
        ways[1, 1:] = best[:-1]
        ways[2, 2:] = np.where(skips[2:], best[:-2], _NEVER)
        came[frame] = ways.argmax(0)
        best = ways.max(0) + row
    ends = range(max(0, places - 2), places)
    place = max(ends, key=lambda end: best[end])
    if frames and best[place] == _NEVER:
        raise ValueError(f"{len(ids)} tokens do not fit into {frames} frames")
    path = np.empty(frames, np.int64)
    for frame in reversed(range(frames)):
        path[frame] = spelled[place]
        place -= int(came[frame, place])
    return path


def _sum(first: float, second: float) -> float:
    """The logarithm of the sum of what two are logarithms of."""
    if first < second:
        first, second = second, first
    if second == _NEVER:
        return first
    return first + math.log1p(math.exp(second - first))
