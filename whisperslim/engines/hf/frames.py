"""Run a Hugging Face export that scores frames (CTC) in PyTorch, by the classes others load."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whisperslim.core.families.hf_remote.form import FramesForm
from whisperslim.core.store.checkpoint import WEIGHTS_FILE, count_parameters
from whisperslim.engines.base import EngineSize
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.frames import FramesTranscriber, ctc_rules, frame_tokens
from whisperslim.engines.hf.loading import load_strictly
from whisperslim.engines.timing.memory import weight_bytes
from whisperslim.speech.audio.window import WindowPolicy


@dataclass(frozen=True)
class HfFrames(FramesTranscriber):
    """A Hugging Face export as a `Transcriber`, in float32.

    Attributes:
        folder: Where it is.
        form: Of its family.
        model: As the form describes it.
    """

    folder: Path
    form: FramesForm
    model: Any

    @property
    def name(self) -> str:
        """The folder's own name."""
        return str(self.folder)

    def size(self) -> EngineSize:
        """Parameters, the weights file, and the weights in memory."""
        loaded = weight_bytes(self.model)
        file = self.folder / WEIGHTS_FILE
        return EngineSize(count_parameters(self.model), file.stat().st_size, loaded, loaded)

    @torch.no_grad()
    def scores(self, given: np.ndarray) -> np.ndarray:
        """As `FramesTranscriber.scores`."""
        found: np.ndarray = self.form.scores(self.model, torch.from_numpy(given)[None])[0].numpy()
        return found

    @torch.no_grad()
    def encoder_states(self, given: np.ndarray) -> np.ndarray:
        """The encoder's states of a segment, `(positions, width)` float32."""
        found: np.ndarray = self.form.states(self.model, torch.from_numpy(given)[None])[0].numpy()
        return found


def open_frames(
    folder: Path, record: ExportRecord, window: WindowPolicy, form: FramesForm
) -> HfFrames:
    """Load strictly. Raises as `load_strictly`."""
    model, tokens = load_strictly(form, folder), frame_tokens(folder, record)
    return HfFrames(record, ctc_rules(record), window, tokens, folder, form, model)
