"""A clip as the numbers that a model is given."""

from collections.abc import Callable

import numpy as np

from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.audio import HOP_LENGTH


def model_input(
    audio: np.ndarray,
    frames: int,
    spec: InputSpec,
    log_mel: Callable[[np.ndarray, int, int], np.ndarray],
) -> np.ndarray:
    """`frames` (10 ms each) of a clip as float32, in the shape that `spec` says.

    Args:
        audio: `(samples,)` float32 at 16 kHz; silence follows it up to the end of the window.
        frames: Length of the window. What of the clip is longer is dropped.
        spec: What the model takes.
        log_mel: Makes features of a clip, given `frames` and bands.
    """
    if spec.kind == "log_mel":
        return log_mel(audio, frames, spec.bands)
    whole = np.zeros(frames * HOP_LENGTH, np.float32)
    heard = audio[: len(whole)]
    whole[: len(heard)] = heard
    return whole
