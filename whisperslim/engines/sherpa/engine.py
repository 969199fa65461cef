"""Run an export for sherpa-onnx here, by ONNX Runtime alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from whisperslim.engines.export.record import ExportRecord, decoder_rules
from whisperslim.engines.onnx.engine import OnnxTranscriber, Values, run, session, value
from whisperslim.engines.onnx.frames import open_frames
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import UsageError
from whisperslim.exported.names import (
    DECODER_FILE,
    ENCODER_FILE,
    FRAMES_FILE,
    LOGITS,
    STACKED,
    STATES,
    TOKENS,
)
from whisperslim.exported.tokens import read_tokens
from whisperslim.machine.heap import give_back
from whisperslim.speech.audio.window import WindowPolicy


@dataclass(frozen=True)
class SherpaTranscriber(OnnxTranscriber):
    """An export folder, opened. Windows and bounds are this project's, and not sherpa-onnx's."""

    @property
    def name(self) -> str:
        """The exported model's name, and how it runs."""
        return f"{self.record.source} (for sherpa-onnx, {self.record.stored})"

    def telling_words(self) -> "SherpaTranscriber":
        """Raises `UsageError`: these graphs do not show where heads attend."""
        raise UsageError(f"{self.name} cannot give word times; PyTorch and ONNX Runtime can")

    def encoder_states(self, mel: np.ndarray) -> np.ndarray:
        """The encoder's states of a segment, `(positions, d_model)` float32."""
        states: np.ndarray = self.encoder.run([STATES], {STACKED.features: mel[None]})[0][0]
        return states

    def _vocabulary(self) -> int:
        (size,) = (out.shape[2] for out in self.decoder.get_outputs() if out.name == LOGITS)
        return int(size)

    def _no_caches(self) -> Values:
        shapes = {given.name: given.shape for given in self.decoder.get_inputs()}
        return {name: value(np.zeros(shapes[name], np.float32)) for name in STACKED.past}

    def _heard(self, mel: np.ndarray) -> Values:
        features = np.ascontiguousarray(mel[None], dtype=np.float32)
        return run(self.encoder, list(STACKED.heard), {STACKED.features: value(features)})

    def _step(
        self, ids: list[int], position: int, heard: Values, caches: Values
    ) -> tuple[np.ndarray, Values]:
        given = {
            TOKENS: value(np.array([ids], np.int64)),
            STACKED.offset: value(np.array([position], np.int64)),
            **heard,
            **caches,
        }
        found = run(self.decoder, [LOGITS, *STACKED.present], given)
        logits: np.ndarray = found[LOGITS].numpy()[0, 0]
        names = zip(STACKED.past, STACKED.present, strict=True)
        return logits, {past: found[present] for past, present in names}


def open_export(
    folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
) -> WindowedTranscriber:
    """The model in `folder`, ready to listen; arguments and errors as those of an ONNX export."""
    if FRAMES_FILE in record.files:
        frames = session(folder / FRAMES_FILE, record, threads)
        give_back()
        return open_frames(folder, record, window, frames)
    tokens = read_tokens(folder)
    graphs: list[onnxruntime.InferenceSession] = [
        session(folder / name, record, threads) for name in (ENCODER_FILE, DECODER_FILE)
    ]
    give_back()
    return SherpaTranscriber(record, decoder_rules(record), window, tokens, *graphs)
