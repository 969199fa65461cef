"""Variation of speech: bounds, signal arithmetic, and the same variant for the same clip."""

import subprocess
import sys

import numpy as np
import pytest

from whisperslim.errors import RecipeError
from whisperslim.speech.audio.augment import (
    Augmenter,
    AugmentOptions,
    add_noise,
    change_gain,
    change_speed,
    rng_for,
)

RATE = 16_000


def tone(hertz: float = 440.0, seconds: float = 2.0, level: float = 0.5) -> np.ndarray:
    times = np.arange(round(seconds * RATE)) / RATE
    return (level * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def strongest_hertz(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return float(np.argmax(spectrum) * RATE / len(audio))


def decibels(quiet: np.ndarray, loud: np.ndarray) -> float:
    powers = [np.mean(np.square(a.astype(np.float64))) for a in (quiet, loud)]
    return float(10 * np.log10(powers[1] / powers[0]))


def test_by_default_nothing_is_changed():
    augmenter = Augmenter(AugmentOptions())
    audio, features = tone(), np.ones((80, 50), np.float32)
    np.testing.assert_array_equal(augmenter.waveform(audio, rng_for(0, 0, "a"), 30.0), audio)
    np.testing.assert_array_equal(augmenter.features(features, rng_for(0, 0, "a")), features)


def test_wrong_options_are_refused_all_at_once():
    with pytest.raises(RecipeError) as caught:
        AugmentOptions(time_masks=-1, time_mask_fraction=0.9, speed=1)
    assert set(caught.value.problems) == {"time_masks", "time_mask_fraction", "speed"}


def test_the_generator_depends_on_seed_epoch_and_key_only():
    def draw(*names: object) -> float:
        return float(rng_for(*names).random())  # type: ignore[arg-type]

    first = draw(0, 0, "क")
    np.random.seed(5)
    assert draw(0, 0, "क") == first
    assert len({first, draw(1, 0, "क"), draw(0, 1, "क"), draw(0, 0, "ख"), draw(0, 10, "क")}) == 5


def test_the_generator_is_the_same_in_another_process():
    code = (
        "from whisperslim.speech.audio.augment import rng_for; print(rng_for(3, 4, 'क').random())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert float(printed) == rng_for(3, 4, "क").random()


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch_by_the_factor(factor):
    faster = change_speed(tone(440.0), factor)
    assert faster.dtype == np.float32
    assert len(faster) == pytest.approx(2 * RATE / factor, abs=1)
    assert strongest_hertz(faster) == pytest.approx(440.0 * factor, abs=1.0)
    assert decibels(tone(440.0), faster) == pytest.approx(0.0, abs=0.1)


def test_speed_stays_within_its_range_and_within_30_seconds():
    augmenter = Augmenter(AugmentOptions(speed=True))
    lengths = [len(augmenter.waveform(tone(), rng_for(0, 0, str(n)), 30.0)) for n in range(100)]
    assert min(lengths) >= 2 * RATE / 1.1 - 1 and max(lengths) <= 2 * RATE / 0.9 + 1
    # Both ends are drawn: a uniform factor misses an outer fifth 100 times with chance 2e-10.
    assert min(lengths) < 2 * RATE / 1.06 and max(lengths) > 2 * RATE / 0.94
    for seconds in (28.0, 29.99, 30.0):
        long = np.zeros(round(seconds * RATE), np.float32)
        for n in range(10):
            assert len(augmenter.waveform(long, rng_for(0, 0, str(n)), 30.0)) <= 30 * RATE


@pytest.mark.parametrize("snr_db", [10.0, 25.0, 40.0])
def test_noise_has_the_power_asked_for(snr_db):
    audio = tone()
    noise = add_noise(audio, snr_db, rng_for(0, 0, "a")) - audio
    assert decibels(noise, audio) == pytest.approx(snr_db, abs=0.05)


def test_noise_differs_in_color_and_leaves_silence_silent():
    silence = np.zeros(RATE, np.float32)
    assert not add_noise(silence, 10.0, rng_for(0, 0, "a")).any()
    shares = []
    for n in range(20):
        power = np.abs(np.fft.rfft(add_noise(tone(), 10.0, rng_for(0, 0, str(n))) - tone())) ** 2
        shares.append(power[: len(power) // 4].sum() / power.sum())
    # White noise has a quarter of its power in the lowest quarter of the band.
    assert min(shares) < 0.5 and max(shares) > 0.8


def test_gain_is_in_decibels_and_never_clips():
    assert decibels(tone(), change_gain(tone(), -6.0)) == pytest.approx(-6.0, abs=0.01)
    assert decibels(tone(level=0.1), change_gain(tone(level=0.1), 6.0)) == pytest.approx(
        6, abs=0.01
    )
    assert np.abs(change_gain(tone(level=0.9), 20.0)).max() == pytest.approx(1.0, abs=1e-6)
    augmenter = Augmenter(AugmentOptions(gain_db=3.0))
    for n in range(20):
        quiet = tone(level=0.1)
        assert abs(decibels(quiet, augmenter.waveform(quiet, rng_for(0, 0, str(n)), 30.0))) <= 3.01


def test_everything_together_repeats_and_leaves_the_input_alone():
    options = AugmentOptions(spec_augment=True, speed=True, noise=True, gain_db=6.0)
    audio, features = tone(), np.arange(80 * 100, dtype=np.float32).reshape(80, 100)
    kept = audio.copy(), features.copy()
    runs = []
    for _ in range(2):
        rng = rng_for(1, 2, "clip")
        augmenter = Augmenter(options)
        runs.append((augmenter.waveform(audio, rng, 30.0), augmenter.features(features, rng)))
    for once, twice in zip(*runs, strict=True):
        assert once.dtype == np.float32
        np.testing.assert_array_equal(once, twice)
    np.testing.assert_array_equal(audio, kept[0])
    np.testing.assert_array_equal(features, kept[1])


def masked(options: AugmentOptions, n: int, speech: int | None = None) -> np.ndarray:
    """Which cells of a (80, 200) picture of distinct values are hidden."""
    rng = np.random.default_rng(0)
    features = rng.permutation(80 * 200).reshape(80, 200).astype(np.float32)
    changed = Augmenter(options).features(features, rng_for(0, 0, str(n)), speech)
    hidden = changed != features
    assert np.all(changed[hidden] == features[:, : speech or 200].mean())
    return hidden


@pytest.mark.parametrize("n", range(20))
def test_time_stripes_are_whole_narrow_and_within_the_speech(n):
    options = AugmentOptions(spec_augment=True, time_masks=2, time_mask_fraction=0.1, freq_masks=0)
    columns = masked(options, n, speech=150).all(axis=0)
    assert columns.sum() <= 2 * 15 and not columns[150:].any()
    assert masked(options, n, speech=150).sum() == 80 * columns.sum()


@pytest.mark.parametrize("n", range(20))
def test_frequency_bands_are_whole_and_narrow(n):
    options = AugmentOptions(spec_augment=True, time_masks=0, freq_masks=1, freq_mask_bins=12)
    hidden = masked(options, n)
    rows = np.flatnonzero(hidden.all(axis=1))
    assert len(rows) <= 12 and hidden.sum() == 200 * len(rows)
    assert not len(rows) or rows[-1] - rows[0] + 1 == len(rows)


def test_masks_move_from_clip_to_clip():
    options = AugmentOptions(spec_augment=True)
    assert len({masked(options, n).tobytes() for n in range(10)}) == 10
