"""Sound that arrives piece by piece, at 16 kHz without seams between the pieces."""

import numpy as np
import soxr

from whisperslim.errors import AudioError
from whisperslim.speech.audio.audio import FASTEST_RATE, SAMPLE_RATE, SLOWEST_RATE

_BYTES_PER_SAMPLE = 2
_FULL_SCALE = 32_768


class SoundStream:
    """Turns 16-bit mono samples of one rate into float32 at 16 kHz, as `decoding.decode` would.

    One filter runs through all pieces; it holds back a few milliseconds.
    """

    def __init__(self, rate: int) -> None:
        """`rate` in Hz. Raises `AudioError` for one no recorder has."""
        if isinstance(rate, bool) or not isinstance(rate, int):
            raise AudioError(f"a sampling rate is a whole number of Hz, not {rate!r}")
        if not SLOWEST_RATE <= rate <= FASTEST_RATE:
            raise AudioError(
                f"{rate} samples a second; {SLOWEST_RATE} to {FASTEST_RATE} are accepted"
            )
        self._same = rate == SAMPLE_RATE
        self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32")

    def take(self, samples: bytes) -> np.ndarray:
        """The next piece: little-endian 16-bit samples. Returns float32 of shape (samples,).

        Raises `AudioError` for half a sample.
        """
        if len(samples) % _BYTES_PER_SAMPLE:
            raise AudioError(f"{len(samples)} bytes are not a whole number of 16-bit samples")
        sound = np.frombuffer(samples, "<i2").astype(np.float32) / _FULL_SCALE
        if self._same or not len(sound):
            return sound
        return np.clip(self._resampler.resample_chunk(sound), -1.0, 1.0)
