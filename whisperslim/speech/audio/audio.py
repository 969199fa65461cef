"""Recordings are mono 16 kHz float32 arrays: what counts in samples or in frames of these.

Everything that hears counts in samples of `SAMPLE_RATE` or in frames of `HOP_LENGTH` samples.
`decoding` makes such arrays of files.
"""

import numpy as np

# The front end of Whisper (Radford et al. 2022, section 2.2). Not knobs: the weights expect them.
SAMPLE_RATE = 16_000  # Hz
N_FFT = 400  # samples: 25 ms
HOP_LENGTH = 160  # samples: 10 ms
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100

# Our limits on what counts as a recording of speech.
MAX_SECONDS = 3 * 3600.0
SLOWEST_RATE, FASTEST_RATE = 4_000, 768_000  # Hz
MAX_AMPLITUDE = 4.0  # full scale is 1; up to here it is overshoot or a hot mix, and is clipped
SILENCE_DBFS = -50.0  # dB below full scale; reads of quiet rooms in our data sit at -45 to -65
MIN_SPEECH_SECONDS = 0.1  # less than one short syllable

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".webm"})
"""How files of recordings end, for finding them in a folder; what one is shows in its content."""


def frame_levels(audio: np.ndarray) -> np.ndarray:
    """Level of each whole 10 ms frame in dB relative to full scale, shape (samples // 160,).

    A constant offset, common with cheap sound cards, does not count. Silence is -100 dB.
    """
    frames = audio[: len(audio) // HOP_LENGTH * HOP_LENGTH].reshape(-1, HOP_LENGTH)
    power = np.einsum("ij,ij->i", frames, frames) / HOP_LENGTH - frames.mean(axis=1) ** 2
    levels: np.ndarray = 10.0 * np.log10(np.maximum(power, 1e-10))
    return levels


def is_silent(audio: np.ndarray) -> bool:
    """True when less than `MIN_SPEECH_SECONDS` is above `SILENCE_DBFS`: no speech can be there.

    Goes by level only: False does not mean that the sound is speech.
    """
    loud = int(np.count_nonzero(frame_levels(audio) >= SILENCE_DBFS))
    return loud < MIN_SPEECH_SECONDS * FRAMES_PER_SECOND
