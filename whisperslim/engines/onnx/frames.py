"""Run an exported model that scores frames (CTC) in ONNX Runtime, on the processor."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime

from whisperslim.core.disk.untrusted import record_of
from whisperslim.core.tokens.letters import LetterTokens, load_letters
from whisperslim.engines.base import EngineSize
from whisperslim.engines.export.record import EXPORT_FILE, ExportRecord
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.errors import ExportError
from whisperslim.exported.ctc import DECODING, CTCRules, read_path
from whisperslim.exported.names import FEATURES, LOGITS, STATES
from whisperslim.exported.pieces import PieceTokens, load_pieces
from whisperslim.exported.tokens import TOKENIZER_FILE
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.window import WindowPolicy


@dataclass(frozen=True)
class OnnxFrames(WindowedTranscriber):
    """An export folder of one graph, opened.

    Attributes:
        record: What the folder says of itself.
        rules: What of that says which frames count.
        window: Window policy it listens with.
        tokens: Its letters or pieces.
        graph: The session.
    """

    record: ExportRecord
    rules: CTCRules
    window: WindowPolicy
    tokens: LetterTokens | PieceTokens
    graph: onnxruntime.InferenceSession

    @property
    def name(self) -> str:
        """The exported model's name, and how it runs."""
        stored = {"none": "float32"}.get(self.record.quantize, self.record.quantize)
        return f"{self.record.source} (ONNX Runtime, {stored})"

    @property
    def input_spec(self) -> InputSpec:
        """As its record says."""
        return self.record.input_spec

    def size(self) -> EngineSize:
        """Parameters and bytes of the graph's files, which stand for the weights loaded."""
        stored = self.record.weights_bytes
        return EngineSize(self.record.parameters, stored, stored, stored)

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language that its letters cannot write."""
        self.tokens.check_language(language)

    def in_own_script(self) -> Self:
        """Itself: it writes the letters it was made with."""
        return self

    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`, along the greedy path."""
        started = time.perf_counter()
        scores = self._run(LOGITS, given).astype(np.float64)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        chances = scores.max(-1) / scores.sum(-1)
        best = scores.argmax(-1)
        path = read_path(best.tolist(), chances.tolist(), self.tokens, self.rules.timing, seconds)
        first = time.perf_counter() - started if path.ids else None
        text = self.tokens.decode(path.ids)
        return Heard(text, len(path.ids), False, first, path.ids, path.words)

    def describe_decoding(self) -> str:
        """Nothing to choose."""
        return DECODING

    def encoder_states(self, given: np.ndarray) -> np.ndarray:
        """What the encoder makes of a segment, `(positions, width)` float32."""
        return self._run(STATES, given)

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
    try:
        rules: CTCRules = record_of(CTCRules, dict(record.family))
    except ValueError as error:
        raise ExportError(
            f"the export of {record.source} is damaged: {EXPORT_FILE} does not say which frames "
            f"count ({error}); export the model again"
        ) from error
    pieces = record.tokenizer == TOKENIZER_FILE
    tokens = load_pieces(folder, rules.blank) if pieces else load_letters(folder)
    return OnnxFrames(record, rules, window, tokens, graph)
