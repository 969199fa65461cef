"""Run an exported CTC model that is given samples in CTranslate2.

The runtime computes scores of the samples as they are, and knows no padding: here the samples are
normalized, what pads them is cut off before, and its scores are put back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ctranslate2
import numpy as np

from whisperslim.core.disk.untrusted import typed
from whisperslim.engines.base import EngineSize
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.frames import FramesTranscriber, ctc_rules, frame_tokens
from whisperslim.errors import ExportError
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.window import WindowPolicy

MODEL_FILE = "model.bin"
_LEAST_VARIANCE = 1e-7  # as the feature extractor of transformers adds it


@dataclass(frozen=True)
class Ct2Frames(FramesTranscriber):
    """An export folder, opened on the CPU. The runtime queues concurrent calls itself.

    The runtime does not show the encoder's states.

    Attributes:
        folder: The export.
        runtime: The loaded model.
        normalize: Whether clips are made of mean 0 and variance 1.
        silence: Scores where nothing is heard, one a token.
    """

    folder: Path
    runtime: ctranslate2.models.Wav2Vec2
    normalize: bool
    silence: np.ndarray

    @property
    def name(self) -> str:
        """The exported model's name, the engine and the precision it computes in."""
        return f"{self.record.source} (CTranslate2 {self.runtime.compute_type})"

    def size(self) -> EngineSize:
        """As `size_of`."""
        return size_of(self.folder, self.record)

    def scores(self, given: np.ndarray) -> np.ndarray:
        """As `FramesTranscriber.scores`."""
        timing, field = self.rules.timing, round(self.rules.lead * SAMPLE_RATE) + 1
        heard = int(np.flatnonzero(given)[-1]) + 1 if given.any() else 0
        samples = given[: max(heard, field)].astype(np.float32)
        samples = np.pad(samples, (0, max(0, field - len(samples))))
        if self.normalize:
            deviation = np.sqrt(samples.var(dtype=np.float64) + _LEAST_VARIANCE)
            samples = (samples - samples.mean(dtype=np.float64)) / deviation
        batch = np.ascontiguousarray(samples[None, None], dtype=np.float32)
        view = ctranslate2.StorageView.from_array(batch)
        found = np.array(self.runtime.encode(view, to_cpu=True))[0]
        padding = timing.positions(len(given) / SAMPLE_RATE) - len(found)
        return np.concatenate([found, np.tile(self.silence, (max(0, padding), 1))])


def open_frames(
    folder: Path,
    record: ExportRecord,
    window: WindowPolicy,
    runtime: ctranslate2.models.Wav2Vec2,
) -> Ct2Frames:
    """The model in `folder`, ready to listen.

    Raises:
        ExportError: the record does not say which frames count, or how samples are given.
        CheckpointError: the letters cannot be read.
    """
    try:
        normalize = typed(record.settings["normalize"], bool)
        silence = _numbers(record.settings["silence"])
    except (KeyError, ValueError) as error:
        raise ExportError(
            f"the export of {record.source} is damaged: its record does not say how samples are "
            f"given ({error}); export the model again"
        ) from error
    rules, tokens = ctc_rules(record), frame_tokens(folder, record)
    return Ct2Frames(record, rules, window, tokens, folder, runtime, normalize, silence)


def size_of(folder: Path, record: ExportRecord) -> EngineSize:
    """Bytes of `model.bin`, and of its values once loaded.

    The latter is computed: the runtime does not report it; int8 values stay so, all others are
    float32 on a CPU. What the runtime adds to some matrices to multiply them faster is not in it.
    """
    stored, loaded = (folder / MODEL_FILE).stat().st_size, int(record.settings["bytes_loaded"])
    return EngineSize(record.parameters, stored, loaded, loaded)


def _numbers(values: object) -> np.ndarray:
    listed: Sequence[object] = typed(values, list)
    return np.array([typed(value, float) for value in listed], np.float32)
