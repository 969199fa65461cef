"""Silero's voice activity detector, frame by frame."""

import importlib.util
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from whisperslim.errors import SourceError
from whisperslim.speech.audio.audio import SAMPLE_RATE

# The detector's own sizes at 16 kHz (silero_vad/utils_vad.py, OnnxWrapper): not knobs.
FRAME_SAMPLES = 512  # 32 ms
_CONTEXT_SAMPLES = 64  # of the frame before, seen again
_STATE_SHAPE = (2, 1, 128)


class VoiceDetector(Protocol):
    """Takes one recording from its beginning, frame after frame."""

    def probability(self, frame: np.ndarray) -> float:
        """Probability, 0 to 1, that the frame, float32 of shape (512,) at 16 kHz, holds speech."""
        ...


class SileroDetector:
    """Silero VAD (MIT license) on one thread of ONNX Runtime. One object per recording."""

    def __init__(self) -> None:
        """Raises `SourceError` when the package that carries the weights is not installed."""
        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(_weights()), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._state = np.zeros(_STATE_SHAPE, np.float32)
        self._context = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self._rate = np.array(SAMPLE_RATE, np.int64)

    def probability(self, frame: np.ndarray) -> float:
        """As `VoiceDetector.probability`. Raises `ValueError` for another shape."""
        if frame.shape != (FRAME_SAMPLES,):
            raise ValueError(f"a frame has {FRAME_SAMPLES} samples, not shape {frame.shape}")
        seen = np.concatenate([self._context, frame])[None]
        given = {"input": seen, "state": self._state, "sr": self._rate}
        found, self._state = self._session.run(None, given)
        self._context = seen[0, -_CONTEXT_SAMPLES:]
        return float(found[0, 0])


def _weights() -> Path:
    # The package is looked up and not imported: its import sets torch to one thread everywhere.
    spec = importlib.util.find_spec("silero_vad")
    places = spec.submodule_search_locations if spec else None
    files = [Path(place) / "data" / "silero_vad.onnx" for place in places or ()]
    found = [file for file in files if file.is_file()]
    if not found:
        raise SourceError(
            "the voice activity detector's weights are missing: pip install silero-vad"
        )
    return found[0]
