"""Intervals and p-values against scipy, enumeration and arithmetic by hand."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.scoring import significance
from whisperslim.speech.scoring.normalizer import NeutralNormalizer, RawNormalizer
from whisperslim.speech.scoring.significance import (
    NORMAL_FROM,
    bootstrap_interval,
    compare,
    matched_pairs,
    paired_bootstrap,
)
from whisperslim.speech.scoring.wer import score

RAW = RawNormalizer()


def systems(n: int = 300, seed: int = 1):
    """Errors of two related systems and the words, one count per utterance."""
    rng = np.random.default_rng(seed)
    words = rng.integers(4, 15, n)
    a = rng.binomial(words, 0.3)
    return a, np.maximum(a - rng.binomial(2, 0.2, n) + rng.binomial(1, 0.15, n), 0), words


def scored(errors: list[int], words: int = 5, normalizer=RAW):
    """A score whose utterance i has `words` words, of which `errors[i]` are wrong."""
    reference = " ".join("abcdefgh"[:words])
    hypotheses = [" ".join(["z"] * wrong + reference.split()[wrong:]) for wrong in errors]
    return score([reference] * len(errors), hypotheses, normalizer)


def wer_difference(a, b, words):
    return b.sum() / words.sum() - a.sum() / words.sum()


def test_bootstrap_agrees_with_scipy():
    a, b, words = systems()
    ours = paired_bootstrap(a, b, words)
    theirs = stats.bootstrap(
        (a, b, words),
        wer_difference,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(5),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.estimate == pytest.approx(wer_difference(a, b, words))
    # Quantiles of a few thousand draws wander by a few per cent of the width.
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_bootstrap_agrees_with_enumeration():
    """Three utterances have 27 equally likely redraws; the quantiles are known exactly."""
    a, b, words = np.array([0, 2, 1]), np.array([3, 0, 2]), np.array([4, 5, 6])
    redraws = [list(draw) for draw in itertools.product(range(3), repeat=3)]
    rates = [wer_difference(a[d], b[d], words[d]) for d in redraws]
    ours = paired_bootstrap(a, b, words, confidence=0.5, resamples=50_000)
    exact = np.quantile(rates, (0.25, 0.75), method="inverted_cdf")
    assert (ours.low, ours.high) == pytest.approx(tuple(exact))


def test_alike_utterances_drawn_together_are_drawn_as_often(monkeypatch):
    """Of many utterances only how often each kind occurs is drawn."""
    a, b, words = systems()
    apart = paired_bootstrap(a, b, words)
    monkeypatch.setattr(significance, "_ALIKE_FROM", 10)
    together = paired_bootstrap(a, b, words)
    width = apart.high - apart.low
    assert together.estimate == apart.estimate
    assert together.low == pytest.approx(apart.low, abs=0.04 * width)
    assert together.high == pytest.approx(apart.high, abs=0.04 * width)
    assert paired_bootstrap(a, b, words) == together
    order = np.random.default_rng(1).permutation(len(a))
    assert paired_bootstrap(a[order], b[order], words[order]) == together


def test_bootstrap_of_one_system_is_that_against_a_perfect_one():
    a, _, words = systems()
    assert bootstrap_interval(a, words) == paired_bootstrap(np.zeros_like(a), a, words)


def test_bootstrap_is_repeatable_and_wider_with_confidence():
    a, b, words = systems()
    assert paired_bootstrap(a, b, words, seed=3) == paired_bootstrap(a, b, words, seed=3)
    assert paired_bootstrap(a, b, words, seed=3) != paired_bootstrap(a, b, words, seed=4)
    narrow, wide = (paired_bootstrap(a, b, words, confidence=c) for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.estimate < narrow.high < wide.high


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    words = np.full(120, 10)
    hits = 0
    for seed in range(150):
        a, b = rng.binomial(10, 0.3, 120), rng.binomial(10, 0.25, 120)
        hits += paired_bootstrap(a, b, words, resamples=400, seed=seed).contains(-0.05)
    # 150 draws at 0.95: fewer than 130 would be over four standard deviations short.
    assert hits >= 130


def test_z_is_the_paired_t_statistic():
    a, b, _ = systems()
    ours = matched_pairs(a, b)
    assert not ours.exact
    assert ours.n == 300
    assert ours.mean_difference == pytest.approx((b - a).mean())
    assert ours.statistic == pytest.approx(stats.ttest_rel(b, a).statistic)
    assert ours.p_value == pytest.approx(2 * stats.norm.sf(abs(ours.statistic)))


def test_normal_and_sign_flip_p_values_agree_on_many_utterances():
    a, b, _ = systems(n=400, seed=8)
    flips = stats.permutation_test(
        (b - a,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    )
    assert np.count_nonzero(b - a) >= NORMAL_FROM
    assert matched_pairs(a, b).p_value == pytest.approx(flips.pvalue, abs=0.01)


COUNTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=9)


@settings(deadline=None)
@given(COUNTS)
def test_small_samples_are_exact(pairs):
    a, b = np.array(pairs).T
    differences = b - a
    signs = np.array(list(itertools.product((-1, 1), repeat=len(pairs))))
    sums = np.abs((signs * differences).sum(axis=1))
    ours = matched_pairs(a, b)
    assert ours.exact
    assert ours.p_value == pytest.approx(np.mean(sums >= abs(differences.sum())))


def test_small_sample_agrees_with_scipy():
    a, b = np.array([3, 0, 2, 5, 1, 4, 2, 0]), np.array([1, 0, 3, 2, 0, 2, 0, 1])
    flips = stats.permutation_test((b - a,), np.sum, permutation_type="samples", vectorized=True)
    assert matched_pairs(a, b).p_value == pytest.approx(flips.pvalue)


def test_a_few_differing_utterances_among_many_are_not_called_normal():
    a, b = np.zeros(200, int), np.zeros(200, int)
    a[:4] = 1
    result = matched_pairs(a, b)
    assert result.p_value == 2 / 2**4  # all four the same way: 2 of 16 sign patterns
    assert 2 * stats.norm.sf(abs(result.statistic)) < 0.05


def test_the_p_value_is_honest_when_nothing_differs():
    """Two systems alike in law: p under 0.05 about one time in twenty, never much more."""
    rng = np.random.default_rng(4)
    draws = [rng.binomial(8, 0.3, (2, 80)) for _ in range(600)]
    share = np.mean([matched_pairs(a, b).p_value < 0.05 for a, b in draws])
    assert share == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 600))


def test_order_turns_the_sign_only():
    a, b, words = systems()
    forth, back = matched_pairs(a, b), matched_pairs(b, a)
    assert (forth.p_value, forth.statistic) == pytest.approx((back.p_value, -back.statistic))
    one, other = paired_bootstrap(a, b, words), paired_bootstrap(b, a, words)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_identical_systems():
    same = scored([1, 0, 2, 3])
    result = compare(same, same)
    assert result.p_value == 1.0
    assert (result.interval.low, result.interval.high, result.difference) == (0, 0, 0)
    assert not result.significant
    assert result.differing == 0
    assert result.verdict.startswith("no significant change")


def test_a_clear_gain():
    result = compare(scored([2] * 30), scored([1, 0] * 15))
    # 60 and 15 errors in 150 words.
    assert (result.wer_a, result.wer_b) == pytest.approx((0.4, 0.1))
    assert result.difference == pytest.approx(-0.3)
    assert result.p_value == pytest.approx(2 / 2**30)
    assert result.significant
    assert result.verdict.startswith("significantly better (-30.00 points of WER")
    assert "n = 30 utterances" in result.verdict
    assert compare(scored([0] * 30), scored([1] * 30)).verdict.startswith("significantly worse")


def test_no_change_needs_both_methods():
    noise = compare(scored([1, 0, 2, 1, 0, 1]), scored([0, 1, 1, 2, 1, 0]))
    assert noise.interval.contains(0)
    assert noise.p_value >= 0.05
    assert noise.verdict.startswith("no significant change")
    # All four utterances better: redraws never reach zero, yet p = 2/16.
    split = compare(scored([1] * 4), scored([0] * 4))
    assert not split.interval.contains(0)
    assert split.p_value == 0.125
    assert not split.significant
    assert split.verdict.startswith("undecided")


def test_one_utterance_decides_nothing():
    result = compare(scored([5]), scored([0]))
    assert result.p_value == 1.0
    assert not result.significant
    assert result.verdict.startswith("undecided")


def test_record_is_json():
    result = compare(scored([1] * 60), scored([0] * 60))
    record = json.loads(json.dumps(result.to_record(), allow_nan=False))
    assert record["interval"] == {"low": -0.2, "high": -0.2, "estimate": -0.2}
    assert (record["n"], record["reference_words"]) == (60, 300)
    assert (record["normalizer"], record["resamples"], record["seed"]) == ("raw", 10_000, 0)


def test_different_references_are_refused():
    with pytest.raises(DataError, match="different references"):
        compare(scored([1, 0]), scored([1, 0, 0]))
    with pytest.raises(DataError, match="different references"):
        compare(scored([1, 0], words=5), scored([1, 0], words=4))
    gap = score(["a", "", "b"], ["a", "", "b"], RAW), score(["a", "b", ""], ["a", "b", ""], RAW)
    with pytest.raises(DataError, match="different references"):
        compare(*gap)


def test_different_normalizers_are_refused():
    with pytest.raises(DataError, match="different normalizers"):
        compare(scored([1]), scored([1], normalizer=NeutralNormalizer()))


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1, 2], [1], [3, 3]),
        ([1, 2], [1, 2], [3]),
        ([1, 2], [1, 2], [3, 0]),
        ([], [], []),
        ([-1], [1], [3]),
        ([0.5], [1], [3]),
        ([[1]], [[1]], [[3]]),
    ],
)
def test_bad_counts_are_refused(a, b, words):
    with pytest.raises(DataError):
        paired_bootstrap(a, b, words)


def test_bad_options_are_refused():
    with pytest.raises(UsageError, match="resamples"):
        bootstrap_interval([1], [2], resamples=0)
    with pytest.raises(UsageError, match="confidence"):
        bootstrap_interval([1], [2], confidence=95)
