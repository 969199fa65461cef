"""Run an exported model that scores frames (CTC) in ONNX Runtime, on the CPU."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from whisperslim.engines.base import EngineSize
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.frames import FramesTranscriber, ctc_rules, frame_tokens
from whisperslim.engines.onnx.several import SideBySide
from whisperslim.exported.names import FEATURES, LOGITS, STATES
from whisperslim.speech.audio.window import WindowPolicy


@dataclass(frozen=True)
class OnnxFrames(SideBySide, FramesTranscriber):
    """An export folder of one graph, opened.

    Attributes:
        graph: The session.
    """

    graph: onnxruntime.InferenceSession

    @property
    def name(self) -> str:
        """The exported model's name, and how it runs."""
        return f"{self.record.source} (ONNX Runtime, {self.record.stored})"

    def size(self) -> EngineSize:
        """Parameters and bytes of the graph's files, which stand for the weights loaded."""
        stored = self.record.weights_bytes
        return EngineSize(self.record.parameters, stored, stored, stored)

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """As `SideBySide.session`."""
        return self.graph

    def scores(self, given: np.ndarray) -> np.ndarray:
        """As `FramesTranscriber.scores`."""
        return self._run(LOGITS, given)

    def encoder_states(self, given: np.ndarray) -> np.ndarray | None:
        """The encoder's states of a segment, `(positions, width)` float32, if it shows them."""
        shown = any(output.name == STATES for output in self.graph.get_outputs())
        return self._run(STATES, given) if shown else None

    def _run(self, output: str, given: np.ndarray) -> np.ndarray:
        features = np.ascontiguousarray(given[None], dtype=np.float32)
        found: np.ndarray = self.graph.run([output], {FEATURES: features})[0][0]
        return found


def open_frames(
    folder: Path, record: ExportRecord, window: WindowPolicy, graph: onnxruntime.InferenceSession
) -> OnnxFrames:
    """The model in `folder`, ready to listen.

    Raises:
        ExportError: the record does not say which frames count.
        CheckpointError: the letters or pieces cannot be read.
    """
    return OnnxFrames(record, ctc_rules(record), window, frame_tokens(folder, record), graph)
