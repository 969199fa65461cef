"""Whether the difference between two systems on the same utterances is more than chance.

Two methods that fail in different ways are used, a paired bootstrap and a matched-pairs test, and
only what both find is reported. Both take utterances as independent draws; with few speakers, whose
utterances resemble each other, the result is less certain than the figures.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.scoring.wer import Score

ALPHA = 0.05

# Our choice: with fewer utterances than this that separate the systems, the normal curve is a
# poor stand-in for the sum (4 of 200 utterances one word better: 0.044 against an exact 0.125).
NORMAL_FROM = 50

# Drawn positions per block: bounds the memory, 8 bytes each.
_BLOCK = 2_000_000

# Our choice: of more utterances, those with equal counts are drawn together. The distribution is
# the same, and the time no longer grows with their number.
_ALIKE_FROM = 100_000

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A confidence interval. `estimate` is the value on the utterances themselves."""

    low: float
    high: float
    estimate: float

    def contains(self, value: float) -> bool:
        """Whether `value` lies in the interval, ends included."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class MatchedPairs:
    """A matched-pairs test over `n` utterances; two-sided `p_value`.

    `mean_difference` is in word errors per utterance, b - a. `statistic` is z: that mean over its
    standard error; infinite when every utterance differs by the same non-zero number. `exact`
    says whether the p-value comes from the exact sign-flip distribution or from the normal curve.
    """

    p_value: float
    n: int
    mean_difference: float
    statistic: float
    exact: bool


@dataclass(frozen=True)
class Significance:
    """System b against system a on the same utterances. Differences are b - a: negative is better.

    Rates are fractions of 1. `significant` needs both methods to agree, and so does the verdict
    "no significant change"; when they do not agree the verdict is "undecided".
    """

    wer_a: float
    wer_b: float
    difference: float
    interval: Interval
    p_value: float
    significant: bool
    verdict: str
    n: int
    reference_words: int
    differing: int
    normalizer: str
    version: str
    alpha: float
    resamples: int
    seed: int

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "interval": dict(vars(self.interval))}


def paired_bootstrap(
    errors_a: ArrayLike,
    errors_b: ArrayLike,
    words: ArrayLike,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval of WER(b) - WER(a) when utterances are redrawn with replacement.

    The three arrays hold one count per utterance, shape (n,); both systems are redrawn together
    (Bisani and Ney, ICASSP 2004). Few utterances make it too narrow: with one it has no width.
    Raises `DataError` for counts that do not fit together, `UsageError` for a bad option.
    """
    a, b = _counts(errors_a, "errors_a"), _counts(errors_b, "errors_b")
    _check_same_length(a, b)
    return _bootstrap(b - a, _words(words, a), resamples, seed, confidence)


def bootstrap_interval(
    errors: ArrayLike,
    words: ArrayLike,
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval of one system's WER; arrays and errors as in `paired_bootstrap`."""
    counts = _counts(errors, "errors")
    return _bootstrap(counts, _words(words, counts), resamples, seed, confidence)


def wer_interval(score: Score, *, confidence: float = 0.95) -> Interval:
    """Percentile interval of the WER of a score, utterances redrawn; the seed is fixed."""
    errors = [each.errors for each in score.utterances]
    words = [each.words for each in score.utterances]
    return bootstrap_interval(errors, words, confidence=confidence)


def matched_pairs(errors_a: ArrayLike, errors_b: ArrayLike) -> MatchedPairs:
    """Two-sided test that the mean difference in word errors per utterance is zero.

    NIST's MAPSSWE statistic (Gillick and Cox, ICASSP 1989) with whole utterances as segments; NIST
    cuts finer, at stretches that both systems got right. When fewer than `NORMAL_FROM` utterances
    differ, the p-value is exact: under the null hypothesis each difference has either sign with
    probability one half. Identical counts give p = 1. Raises `DataError` for unequal lengths.
    """
    a, b = _counts(errors_a, "errors_a"), _counts(errors_b, "errors_b")
    _check_same_length(a, b)
    differences = b - a
    exact = np.count_nonzero(differences) < NORMAL_FROM
    z = _z(differences)
    p = _sign_flip_p(differences) if exact else math.erfc(abs(z) / math.sqrt(2))
    return MatchedPairs(p, len(differences), float(differences.mean()), z, bool(exact))


def compare(
    score_a: Score, score_b: Score, *, resamples: int = 10_000, seed: int = 0
) -> Significance:
    """WER of b against a over the same references and normalizer, at the 5 % level.

    Raises `DataError` when references or normalizers differ.
    """
    _check_comparable(score_a, score_b)
    a, b = ([u.errors for u in s.utterances] for s in (score_a, score_b))
    words = [u.words for u in score_a.utterances]
    interval = paired_bootstrap(a, b, words, resamples=resamples, seed=seed, confidence=1 - ALPHA)
    test = matched_pairs(a, b)
    return Significance(
        wer_a=score_a.wer,
        wer_b=score_b.wer,
        difference=interval.estimate,
        interval=interval,
        p_value=test.p_value,
        significant=not interval.contains(0) and test.p_value < ALPHA,
        verdict=_verdict(interval, test),
        n=test.n,
        reference_words=score_a.reference_words,
        differing=sum(x != y for x, y in zip(a, b, strict=True)),
        normalizer=score_a.normalizer,
        version=score_a.version,
        alpha=ALPHA,
        resamples=resamples,
        seed=seed,
    )


def _verdict(interval: Interval, test: MatchedPairs) -> str:
    facts = (
        f"{interval.estimate * 100:+.2f} points of WER, 95 % interval {interval.low * 100:+.2f} "
        f"to {interval.high * 100:+.2f}, {_p_text(test.p_value)}, n = {test.n} utterances"
    )
    by_interval, by_test = not interval.contains(0), test.p_value < ALPHA
    if by_interval and by_test:
        return f"significantly {'better' if interval.estimate < 0 else 'worse'} ({facts})"
    if not by_interval and not by_test:
        return f"no significant change ({facts})"
    return f"undecided: too few clips to be sure; score more ({facts})"


def _p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _bootstrap(
    numerator: Counts, words: Counts, resamples: int, seed: int, confidence: float
) -> Interval:
    _check_options(resamples, confidence)
    generator = np.random.default_rng(seed)
    n = len(words)
    estimate = float(numerator.sum() / words.sum())
    if n > _ALIKE_FROM:
        rates = _rates_of_alike(numerator, words, resamples, generator)
        return _percentiles(rates, confidence, estimate)
    rows = max(1, _BLOCK // n)
    rates = np.empty(resamples)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(n, size=(stop - start, n))
        rates[start:stop] = numerator[drawn].sum(axis=1) / words[drawn].sum(axis=1)
    return _percentiles(rates, confidence, estimate)


def _rates_of_alike(
    numerator: Counts, words: Counts, resamples: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Rates when utterances are redrawn, drawn as how often each kind of them occurs."""
    kinds, counts = np.unique(np.stack([numerator, words]), axis=1, return_counts=True)
    rates = np.empty(resamples)
    rows = max(1, _BLOCK // len(counts))
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.multinomial(len(words), counts / len(words), size=stop - start)
        rates[start:stop] = (drawn @ kinds[0]) / (drawn @ kinds[1])
    return rates


def _percentiles(rates: NDArray[np.float64], confidence: float, estimate: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(rates, (tail, 1 - tail))
    return Interval(float(low), float(high), estimate)


def _z(differences: Counts) -> float:
    mean = float(differences.mean())
    if mean == 0:
        return 0.0
    if np.all(differences == differences[0]):
        return math.copysign(math.inf, mean)
    return mean / float(differences.std(ddof=1) / math.sqrt(len(differences)))


def _sign_flip_p(differences: Counts) -> float:
    """P(|sum of ±|d|| >= |sum of d|), exactly, by building the sum's distribution step by step."""
    sizes = np.abs(differences[differences != 0])
    total = int(sizes.sum())
    # chance[k]: probability that the sizes given a plus sign add up to k; the sum is 2k - total.
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    for size in sizes:
        moved = np.zeros_like(chance)
        moved[size:] = chance[: total + 1 - size]
        chance = (chance + moved) / 2
    sums = np.abs(2 * np.arange(total + 1) - total)
    return min(1.0, float(chance[sums >= abs(int(differences.sum()))].sum()))


def _counts(values: ArrayLike, name: str) -> Counts:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array) or not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"{name} must be a non-empty list of whole numbers, one per utterance")
    if array.min() < 0:
        raise DataError(f"{name} holds a negative count; counts start at 0")
    return array.astype(np.int64)


def _words(values: ArrayLike, errors: Counts) -> Counts:
    words = _counts(values, "words")
    _check_same_length(errors, words)
    if words.min() == 0:
        raise DataError("an utterance has no reference words; score empty references separately")
    return words


def _check_same_length(a: Sequence[int] | Counts, b: Sequence[int] | Counts) -> None:
    if len(a) != len(b):
        raise DataError(
            f"{len(a)} utterances against {len(b)}; give counts for the same utterances, in order"
        )


def _check_options(resamples: int, confidence: float) -> None:
    if resamples < 1:
        raise UsageError(f"resamples is {resamples}; give a whole number of at least 1")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence is {confidence}; give a fraction between 0 and 1")


def _check_comparable(score_a: Score, score_b: Score) -> None:
    ways = [f"{s.normalizer} (version {s.version})" for s in (score_a, score_b)]
    if ways[0] != ways[1]:
        raise DataError(
            f"scores made with different normalizers, {ways[0]} and {ways[1]}, are different "
            "measures; score both systems with the same one"
        )
    if [(u.index, u.words) for u in score_a.utterances] != [
        (u.index, u.words) for u in score_b.utterances
    ]:
        raise DataError(
            f"the scores are of different references (n = {score_a.n} and {score_b.n}); "
            "score both systems on the same utterances in the same order"
        )
