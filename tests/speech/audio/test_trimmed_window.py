"""Silent ends are left out by a window that trims, and by no other; speech never is."""

import numpy as np
import pytest

from whisperslim.errors import UsageError
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.window import (
    Segment,
    WindowPolicy,
    hearing_window,
    parse_window,
    without_silent_ends,
)


def tone(seconds: float, level: float) -> np.ndarray:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * 200 * times)).astype(np.float32)


def joined(*parts: tuple[float, float]) -> np.ndarray:
    return np.concatenate([tone(seconds, level) for seconds, level in parts])


def ends(audio: np.ndarray) -> tuple[float, float]:
    found = without_silent_ends(audio, Segment(0, len(audio)))
    return found.start / SAMPLE_RATE, found.end / SAMPLE_RATE


def test_three_tenths_of_a_second_stay_around_what_is_loud() -> None:
    # 20 log10(0.0005 / 0.5) = -60 dB.
    assert ends(joined((2, 0.0005), (3, 0.5), (1.5, 0.0005))) == pytest.approx((1.7, 5.3), abs=0.06)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 0.0999])
def test_what_is_too_short_to_judge_is_kept_whole(seconds: float) -> None:
    audio = tone(seconds, 0.5)
    assert without_silent_ends(audio, Segment(0, len(audio))) == Segment(0, len(audio))


def test_what_is_soft_but_not_silent_stays() -> None:
    # -34 dB: a soft beginning and a soft end.
    assert ends(joined((1, 0.01), (2, 0.5), (1, 0.01))) == (0.0, 4.0)


def test_pauses_within_stay() -> None:
    audio = joined((1, 0.0), (0.5, 0.5), (3, 0.0), (0.5, 0.5), (1, 0.0))
    assert ends(audio) == pytest.approx((0.7, 5.3), abs=0.06)


def test_a_click_is_no_speech() -> None:
    audio = joined((1, 0.0), (0.02, 0.9), (2, 0.0), (1, 0.5))
    assert ends(audio)[0] == pytest.approx(2.72, abs=0.06)


@pytest.mark.parametrize("audio", [np.zeros(0), np.zeros(100), np.zeros(16_000), tone(2, 0.3)])
def test_nothing_is_taken_where_nothing_stands_out(audio: np.ndarray) -> None:
    assert ends(audio.astype(np.float32)) == (0.0, len(audio) / SAMPLE_RATE)


def test_a_segment_is_looked_at_for_itself() -> None:
    audio = joined((5, 0.9), (1, 0.0005), (1, 0.2), (1, 0.0005))
    found = without_silent_ends(audio, Segment(5 * SAMPLE_RATE, len(audio)))
    assert found.start / SAMPLE_RATE == pytest.approx(5.7, abs=0.06)
    assert found.end / SAMPLE_RATE == pytest.approx(7.3, abs=0.06)


def test_only_the_trimming_window_trims() -> None:
    audio = joined((2, 0.0), (2, 0.5))
    whole = Segment(0, len(audio))
    for policy in (WindowPolicy(), WindowPolicy("30s"), parse_window("fit")):
        assert policy.heard_part(audio, whole) == whole
    trim = hearing_window("trim")
    assert trim.heard_part(audio, whole).start > 0
    assert trim.describe() != WindowPolicy().describe()
    assert trim.frames_for(3.0, 3000) == WindowPolicy().frames_for(3.0, 3000)
    with pytest.raises(UsageError, match="fit, 30s, trim"):
        hearing_window("tight")
    with pytest.raises(UsageError, match="fit, 30s"):
        parse_window("trim")
