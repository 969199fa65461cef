"""Training-time variation of speech: speed, gain, noise, and masks on the log-mel picture.

Randomness comes only from `rng_for(seed, epoch, key)`: a resumed run makes the same variants
without any generator state being saved, in whatever order clips are asked for.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import soxr
from scipy.signal import lfilter

from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.augment_options import AugmentOptions

# Ko et al. 2015, "Audio augmentation for speech recognition", use 0.9, 1.0 and 1.1; that the
# factor is drawn from the whole range is our choice.
SLOWEST, FASTEST = 0.9, 1.1
# Our choice: from clearly noisy to hardly audible.
LOWEST_SNR_DB, HIGHEST_SNR_DB = 10.0, 40.0


__all__ = ["AugmentOptions", "Augmenter", "add_noise", "change_gain", "change_speed", "rng_for"]


def rng_for(seed: int, epoch: int, key: str) -> np.random.Generator:
    """The generator that belongs to one clip in one epoch of one run; the same everywhere."""
    # Not hash(): Python salts it differently in each process.
    digest = hashlib.sha256(f"{seed}\0{epoch}\0{key}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


@dataclass(frozen=True)
class Augmenter:
    """Applies `AugmentOptions`. Inputs are never changed in place."""

    options: AugmentOptions

    def waveform(
        self, audio: np.ndarray, rng: np.random.Generator, max_seconds: float
    ) -> np.ndarray:
        """A variant of `audio` (samples,) float32 at 16 kHz; speed changes its length.

        It is never slowed down to more than `max_seconds`, which the model hears at once.
        """
        if self.options.speed:
            audio = change_speed(audio, _draw_speed(len(audio) / SAMPLE_RATE, rng, max_seconds))
        if self.options.noise:
            audio = add_noise(audio, rng.uniform(LOWEST_SNR_DB, HIGHEST_SNR_DB), rng)
        if self.options.gain_db > 0:
            audio = change_gain(audio, rng.uniform(-1.0, 1.0) * self.options.gain_db)
        return audio

    def seconds(self, seconds: float, rng: np.random.Generator, max_seconds: float) -> float:
        """How long `waveform` makes a clip of so many seconds, to a sample."""
        if not self.options.speed:
            return seconds
        return seconds / _draw_speed(seconds, rng, max_seconds)

    def features(
        self, features: np.ndarray, rng: np.random.Generator, speech_frames: int | None = None
    ) -> np.ndarray:
        """A variant of log-mel `features` (n_mels, frames) of the same shape.

        SpecAugment (Park et al. 2019) without time warping. Stripes of time fall within the first
        `speech_frames` (default: all), so that none is spent on padding. Hidden cells get the
        mean over the speech, which is the paper's zero for features that are not centered.
        """
        if not self.options.spec_augment:
            return features
        masked = features.copy()
        speech = min(speech_frames or features.shape[1], features.shape[1])
        fill = features[:, :speech].mean()
        for start, stop in self._time_stripes(speech, rng):
            masked[:, start:stop] = fill
        for start, stop in self._freq_stripes(features.shape[0], rng):
            masked[start:stop, :speech] = fill
        return masked

    def _time_stripes(self, frames: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        widest = int(self.options.time_mask_fraction * frames)
        return [_stripe(frames, widest, rng) for _ in range(self.options.time_masks)]

    def _freq_stripes(self, bins: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        widest = min(self.options.freq_mask_bins, bins)
        return [_stripe(bins, widest, rng) for _ in range(self.options.freq_masks)]


def change_speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Play `factor` times as fast (pitch moves too); about len(audio) / factor samples."""
    if not audio.size:
        return audio
    faster: np.ndarray = soxr.resample(
        audio.astype(np.float32, copy=False), SAMPLE_RATE * factor, SAMPLE_RATE, quality="LQ"
    )
    return faster


def add_noise(audio: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """Add noise whose power is `snr_db` below that of `audio`; silence stays silence.

    White to low-pitched: white noise through one pole drawn from 0 to 0.95 (our choice; a filter
    costs a tenth of shaping a spectrum).
    """
    pole = np.float32(rng.uniform(0.0, 0.95))
    white = rng.standard_normal(len(audio), dtype=np.float32)
    noise = lfilter(np.ones(1, np.float32), np.array([1.0, -pole], np.float32), white)
    wanted = _power(audio) * 10.0 ** (-snr_db / 10.0)
    present = _power(noise)
    return audio if present == 0.0 else audio + noise * np.float32(np.sqrt(wanted / present))


def change_gain(audio: np.ndarray, gain_db: float) -> np.ndarray:
    """Louder or softer by `gain_db`, never so loud that a peak passes full scale (1.0)."""
    factor = 10.0 ** (gain_db / 20.0)
    peak = float(np.abs(audio).max(initial=0.0))
    if factor > 1.0 and peak > 0.0:
        factor = max(1.0, min(factor, 1.0 / peak))
    return audio * np.float32(factor)


def _draw_speed(seconds: float, rng: np.random.Generator, max_seconds: float) -> float:
    # Slowing a clip down must not push speech out of the window.
    slowest_that_fits = seconds / max_seconds
    return max(rng.uniform(SLOWEST, FASTEST), min(slowest_that_fits, FASTEST))


def _stripe(length: int, widest: int, rng: np.random.Generator) -> tuple[int, int]:
    width = int(rng.integers(0, widest + 1))
    start = int(rng.integers(0, length - width + 1))
    return start, start + width


def _power(audio: np.ndarray) -> float:
    return float(np.mean(np.square(audio, dtype=np.float64))) if audio.size else 0.0
