"""Fitted windows and cuts: arithmetic by hand and properties that hold for every length."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperslim.errors import RecipeError, UsageError
from whisperslim.speech.audio.audio import SAMPLE_RATE, is_silent
from whisperslim.speech.audio.window import Segment, WindowPolicy, cut_at_silences, parse_window


@pytest.mark.parametrize(
    ("seconds", "frames"),
    [
        (0.0, 100),  # the least: 1 s
        (0.6, 100),
        (0.61, 150),
        (3.775, 450),  # 4.175 s -> 4.5 s
        (5.6, 600),  # 5.6 + 0.4 is a whole step and must not become one more
        (5.6001, 650),
        (29.6, 3000),
        (29.9, 3000),
        (75.0, 3000),
    ],
)
def test_fitted_lengths_by_hand(seconds: float, frames: int) -> None:
    assert WindowPolicy(margin_seconds=0.4, step_seconds=0.5).frames_for(seconds, 3000) == frames


def test_the_30_s_window_is_always_3000_frames() -> None:
    assert {parse_window("30s").frames_for(s, 3000) for s in (0.0, 3.0, 30.0, 100.0)} == {3000}


@given(
    st.floats(0, 60),
    st.floats(0, 5),
    st.integers(1, 500).map(lambda pairs: pairs / 50),
)
def test_a_fitted_window_covers_the_audio(seconds: float, margin: float, step: float) -> None:
    frames = WindowPolicy(margin_seconds=margin, step_seconds=step).frames_for(seconds, 3000)
    assert frames % 2 == 0 and 100 <= frames <= 3000
    whole_samples = 0.5 / SAMPLE_RATE + 1e-9
    assert frames == 3000 or frames / 100 >= seconds + margin - whole_samples
    assert frames == 3000 or frames / 100 < max(1.0, seconds + margin) + step + whole_samples
    assert frames == 3000 or math.isclose(math.remainder(frames / 100, step), 0, abs_tol=1e-9)


@given(st.floats(0, 60), st.floats(0, 60))
def test_more_audio_never_gets_a_shorter_window(one: float, other: float) -> None:
    shorter, longer = sorted((one, other))
    policy = WindowPolicy()
    assert policy.frames_for(shorter, 3000) <= policy.frames_for(longer, 3000)


@pytest.mark.parametrize("seconds", [-0.1, math.nan, math.inf])
def test_impossible_lengths_are_refused(seconds: float) -> None:
    for kind in ("fit", "30s"):
        with pytest.raises(ValueError, match="length in seconds"):
            parse_window(kind).frames_for(seconds, 3000)


@pytest.mark.parametrize("seconds", [0.0, 5.0, 19.9, 40.0])
def test_no_window_is_longer_than_the_model_hears_at_once(seconds: float) -> None:
    """One that hears 20 s: the window of 30 s is all of them, and an odd last second stays."""
    assert parse_window("30s").frames_for(seconds, 2000) == 2000
    fitted = parse_window("fit")
    assert fitted.frames_for(seconds, 2000) == min(2000, fitted.frames_for(seconds, 10_000))
    assert fitted.training_frames_for(seconds, 2000) <= 2000
    assert fitted.training_frames_for(18.9, 1900) == 1900


def test_a_model_that_hears_more_than_30_s_is_given_all_of_a_long_clip() -> None:
    assert parse_window("30s").frames_for(3.0, 6000) == 3000
    assert parse_window("30s").frames_for(40.0, 6000) == 4050
    assert parse_window("fit").frames_for(40.0, 6000) == 4050


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(RecipeError) as caught:
        WindowPolicy(kind="tight", margin_seconds=-1.0, step_seconds=0.0)
    assert set(caught.value.problems) == {"kind", "margin_seconds", "step_seconds"}


@pytest.mark.parametrize("step", [0.03, 0.05, 0.25, 0.333])
def test_a_step_of_half_an_encoder_position_is_refused(step: float) -> None:
    with pytest.raises(RecipeError, match=r"step_seconds: .*multiple of 0\.02 s"):
        WindowPolicy(step_seconds=step)


def test_descriptions_and_names() -> None:
    assert parse_window("fit").describe() == "fit(margin 0.4 s, step 0.5 s)"
    assert parse_window("30s").describe() == "30 s"
    with pytest.raises(UsageError, match="fit, 30s"):
        parse_window("20s")


def noise(seconds: float, loudness: float = 0.1) -> np.ndarray:
    count = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(count).normal(0, loudness, count).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40 * SAMPLE_RATE), st.floats(1, 30), st.booleans())
def test_segments_are_the_whole_recording(samples: int, longest: float, silent: bool) -> None:
    recording = np.zeros(samples, np.float32) if silent else noise(samples / SAMPLE_RATE)
    segments = cut_at_silences(recording, max_seconds=longest)
    parts = [segment.of(recording) for segment in segments]
    np.testing.assert_array_equal(np.concatenate([*parts, recording[:0]]), recording)
    assert all(0 < segment.seconds <= longest for segment in segments)
    assert len(segments) <= 1 or min(segment.seconds for segment in segments) >= 0.1


def test_cuts_fall_into_the_pauses() -> None:
    pause = np.zeros(SAMPLE_RATE, np.float32)
    recording = np.concatenate([noise(20), pause, noise(20), pause, noise(20)])
    segments = cut_at_silences(recording, max_seconds=28)
    pauses = [(20.0, 21.0), (41.0, 42.0)]
    cuts = [segment.end / SAMPLE_RATE for segment in segments[:-1]]
    assert len(cuts) == 2
    assert all(low < cut < high for cut, (low, high) in zip(cuts, pauses, strict=True))


def test_a_long_pause_wins_over_a_short_dip() -> None:
    recording = noise(40)
    recording[15 * SAMPLE_RATE : 15 * SAMPLE_RATE + 800] = 0  # 50 ms, as in a stop consonant
    recording[24 * SAMPLE_RATE : 25 * SAMPLE_RATE] = 0
    first = cut_at_silences(recording, max_seconds=28)[0]
    assert 24 < first.seconds < 25


def test_the_last_segment_is_not_a_crumb() -> None:
    for extra in (1, 160, 1600, 16_000):
        recording = np.zeros(28 * SAMPLE_RATE + extra, np.float32)
        assert [s.seconds > 3 for s in cut_at_silences(recording, 28.0)] == [True, True]


def test_two_hours_are_cut_into_usable_segments() -> None:
    recording = np.tile(noise(60), 120)
    segments = cut_at_silences(recording, 28.0)
    assert segments[0].start == 0 and segments[-1].end == len(recording)
    assert all(one.end == two.start for one, two in pairwise(segments))
    assert 7200 / 28 <= len(segments) <= 7200 / 14 + 1


def test_silent_segments_can_be_told() -> None:
    recording = np.concatenate([noise(25), np.zeros(40 * SAMPLE_RATE, np.float32), noise(25)])
    flags = [is_silent(segment.of(recording)) for segment in cut_at_silences(recording, 28.0)]
    assert flags[0] is False and flags[-1] is False and True in flags


def test_nothing_gives_no_segment_and_short_gives_one() -> None:
    assert cut_at_silences(np.zeros(0, np.float32), 28.0) == []
    assert cut_at_silences(np.zeros(5, np.float32), 28.0) == [Segment(0, 5)]


@pytest.mark.parametrize("longest", [0.0, 0.5, math.nan, math.inf])
def test_segments_too_short_for_a_window_are_refused(longest: float) -> None:
    with pytest.raises(UsageError, match="at least 1 s"):
        cut_at_silences(np.zeros(100, np.float32), max_seconds=longest)
