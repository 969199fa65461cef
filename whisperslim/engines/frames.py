"""From scores of frames (CTC) to text, whatever engine computes them."""

import time
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from whisperslim.core.tokens.letters import LetterTokens, load_letters
from whisperslim.engines.export.record import ExportRecord, stated_rules
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.exported.ctc import DECODING, CTCRules, read_path
from whisperslim.exported.pieces import PieceTokens, load_pieces
from whisperslim.exported.tokens import TOKENIZER_FILE
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.window import WindowPolicy


@dataclass(frozen=True)
class FramesTranscriber(WindowedTranscriber):
    """An export of a model that scores frames, opened.

    Attributes:
        record: What the folder says of itself.
        rules: What of that says which frames count.
        window: Window policy it listens with.
        tokens: Its letters or pieces.
    """

    record: ExportRecord
    rules: CTCRules
    window: WindowPolicy
    tokens: LetterTokens | PieceTokens

    @abstractmethod
    def scores(self, given: np.ndarray) -> np.ndarray:
        """Logits of a segment's frames, `(frames, vocabulary)` float32."""

    @property
    def input_spec(self) -> InputSpec:
        """As its record says."""
        return self.record.input_spec

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language that its letters cannot write."""
        self.tokens.check_language(language)

    def in_own_script(self) -> Self:
        """Itself: it writes the letters it was made with."""
        return self

    def telling_words(self) -> Self:
        """Itself: its words always come with their times."""
        return self

    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`, along the greedy path."""
        started = time.perf_counter()
        scores = self.scores(given).astype(np.float64)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        chances, best = scores.max(-1) / scores.sum(-1), scores.argmax(-1)
        path = read_path(best.tolist(), chances.tolist(), self.tokens, self.rules.timing, seconds)
        first = time.perf_counter() - started if path.ids else None
        text = self.tokens.decode(path.ids)
        return Heard(text, len(path.ids), False, first, path.ids, path.words)

    def describe_decoding(self) -> str:
        """Nothing to choose."""
        return DECODING


def ctc_rules(record: ExportRecord) -> CTCRules:
    """What a family that scores frames stated. Raises `ExportError` when it stated none."""
    return stated_rules(record, CTCRules, "does not say which frames count")


def frame_tokens(folder: Path, record: ExportRecord) -> LetterTokens | PieceTokens:
    """The tokenizer of an export. Raises `CheckpointError` when it cannot be read."""
    if record.tokenizer == TOKENIZER_FILE:
        return load_pieces(folder, ctc_rules(record).blank)
    return load_letters(folder)
