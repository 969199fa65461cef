"""Temporary models in any engine, for measuring: exported to a folder that is deleted
afterwards."""

from pathlib import Path

import numpy as np
import torch

from whisperslim.core.loading import SpeechModel
from whisperslim.engines import registry
from whisperslim.engines.base import Transcriber
from whisperslim.engines.export.export import export, tuned_language
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.timing.profile import Opened
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.window import WindowPolicy

_USUAL_LANGUAGE = "hi"  # of a model that was made for none


def trial_opener(
    engine: str, quantize: str, folder: Path, window: WindowPolicy, threads: int = 0
) -> Opened:
    """How to get a loaded model into an engine, for `measure_profile`.

    Args:
        engine: One of `registry.names()`.
        quantize: One of its precisions.
        folder: Exports go there; the caller removes it.
        window: They listen in.
        threads: Of the processor; 0 leaves it to the engine.
    """

    def opened(name: str, speech: SpeechModel) -> Transcriber:
        if engine == registry.OWN:
            if threads:
                torch.set_num_threads(threads)
            return TorchTranscriber(speech, window)
        language = trial_language(speech)
        export(speech, engine, quantize, folder / name, [_second()], language, window)
        return open_transcriber(str(folder / name), window, threads)

    return opened


def trial_language(speech: SpeechModel) -> str:
    """A language that the model writes, for trials in which it does not matter which."""
    return tuned_language(speech) or _USUAL_LANGUAGE


def _second() -> np.ndarray:
    """What the export is checked on."""
    noise = np.random.default_rng(1).normal(0.0, 0.1, SAMPLE_RATE)
    return noise.clip(-1.0, 1.0).astype(np.float32)
