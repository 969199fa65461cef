"""An engine that is PyTorch in disguise, and misbehaves on request.

`WHISPERSLIM_TEST_FAKE` says how while the export is written: right, wrong (other weights), nan,
mute (reports neither tokens nor encoder states) or full (the disk is).
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.store.checkpoint import copy_side_files
from whisperslim.engines.export.export import Written
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.engines.windowed import Heard
from whisperslim.errors import ExportError
from whisperslim.speech.audio.window import WindowPolicy

VARIABLE = "WHISPERSLIM_TEST_FAKE"
SIZE = 123


@dataclass(frozen=True)
class Mute(TorchTranscriber):
    def hear(self, mel: np.ndarray, seconds: float, language: str) -> Heard:
        return replace(super().hear(mel, seconds, language), ids=None)

    def encoder_states(self, mel: np.ndarray) -> None:  # type: ignore[override]
        return None


def check(speech: SpeechModel, quantize: str) -> None:
    if quantize == "int4":
        raise ExportError("this engine has no int4; use int8")


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    (folder / "model.bin").write_bytes(bytes(SIZE))
    copy_side_files(speech.path, folder)
    how = os.environ.get(VARIABLE, "right")
    if how == "full":
        raise OSError(errno.ENOSPC, "No space left on device")
    return Written(("model.bin",), {"torch": "1"}, {"model": str(speech.path), "how": how})


def open_export(
    folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
) -> TorchTranscriber:
    speech = load_model(record.settings["model"])
    change: Callable[[torch.Tensor], torch.Tensor] | None = {
        "wrong": lambda weight: weight + 0.1 * torch.randn_like(weight),
        "nan": lambda weight: weight * torch.nan,
    }.get(record.settings["how"])
    if change is not None:
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in speech.model.model.encoder.parameters():
                parameter.copy_(change(parameter))
    kind = Mute if record.settings["how"] == "mute" else TorchTranscriber
    return kind(speech, window)
