"""Sound in pieces, at 16 kHz: as if it had come whole."""

import numpy as np
import pytest
import soxr

from whisperslim.errors import AudioError
from whisperslim.speech.audio.stream import SoundStream


def chirp(rate: int, seconds: float = 2.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    wave = 0.5 * np.sin(2 * np.pi * (200 + 1500 * time) * time)
    return np.round(wave * 32_767).astype("<i2")


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("piece", [100, 4_096, 48_000])
def test_pieces_have_no_seams(rate: int, piece: int) -> None:
    sound = chirp(rate)
    stream = SoundStream(rate)
    parts = [stream.take(sound[i : i + piece].tobytes()) for i in range(0, len(sound), piece)]
    found = np.concatenate(parts)
    whole = soxr.resample(sound.astype(np.float32) / 32_768, rate, 16_000)
    # The filter still holds back what comes last.
    assert len(whole) - 2_000 <= len(found) <= len(whole) + 1
    np.testing.assert_allclose(found, whole[: len(found)], atol=2e-3)


def test_nothing_in_nothing_out() -> None:
    assert SoundStream(48_000).take(b"").shape == (0,)


@pytest.mark.parametrize("rate", [0, 100, 10**7, 44_100.0, "48000", None, True])
def test_rates_no_recorder_has(rate: object) -> None:
    with pytest.raises(AudioError):
        SoundStream(rate)  # type: ignore[arg-type]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(AudioError, match="whole number"):
        SoundStream(16_000).take(b"abc")
