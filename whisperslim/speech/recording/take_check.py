"""Whether a recording of one sentence is good to train on, checked while it can be read again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from whisperslim.errors import AudioError
from whisperslim.speech.audio.audio import SAMPLE_RATE, frame_levels, is_silent
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.recording.prompts import LONGEST_TAKE_SECONDS

# Our choice. Full scale is 1; a hundredth of a second at full scale is heard as a crackle.
CLIPPED_AT, CLIPPED_SECONDS = 0.99, 0.01
QUIET_DBFS = -40.0  # of the loud frames; speech at a hand's breadth is at -30 to -15
_LOUD_FRAMES = 95  # percentile


@dataclass(frozen=True)
class CheckedTake:
    """A decoded recording: float32 samples at 16 kHz, seconds, level in dB below full scale.

    `doubts` say what is not good about it; it can be used all the same.
    """

    samples: np.ndarray
    seconds: float
    level: float
    doubts: tuple[str, ...]


def check_take(source: Path | str) -> CheckedTake:
    """Decode a recording and check it for the usual faults.

    Raises `AudioError` when nothing can be decoded, it is too long or it is silent.
    """
    samples = decode(source, max_seconds=LONGEST_TAKE_SECONDS)
    if is_silent(samples):
        raise AudioError(
            "no speech in the recording: is the right microphone chosen and not muted? Read it "
            "again"
        )
    level = float(np.percentile(frame_levels(samples), _LOUD_FRAMES))
    return CheckedTake(samples, len(samples) / SAMPLE_RATE, level, _doubts(samples, level))


def _doubts(samples: np.ndarray, level: float) -> tuple[str, ...]:
    found = []
    if np.count_nonzero(np.abs(samples) >= CLIPPED_AT) > CLIPPED_SECONDS * SAMPLE_RATE:
        found.append("too loud: it is distorted. Move away a little, or turn the microphone down")
    if level < QUIET_DBFS:
        found.append("very quiet. Come closer, or turn the microphone up")
    return tuple(found)
