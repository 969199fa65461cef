"""From scores of frames (CTC) to text, whatever engine computes them."""

import time
from abc import abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np

from whisperslim.core.tokens.letters import LetterTokens, load_letters
from whisperslim.engines.export.record import ExportRecord, stated_rules
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.exported.ctc import DECODING, CTCRules, read_path
from whisperslim.exported.pieces import PieceTable, read_pieces
from whisperslim.exported.search import Search, searched_path
from whisperslim.exported.spelling import TOKENIZER_FILE
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
        search: How text is looked for; None: along the greedy path.
    """

    record: ExportRecord
    rules: CTCRules
    window: WindowPolicy
    tokens: LetterTokens | PieceTable
    search: Search | None = field(default=None, kw_only=True)

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

    def searching(self, search: Search) -> Self:
        """As `WindowedTranscriber.searching`."""
        return replace(self, search=search)

    def telling_words(self) -> Self:
        """Itself: its words always come with their times."""
        return self

    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`, along the greedy path or as searched."""
        started = time.perf_counter()
        timing, scores = self.rules.timing, self.scores(given)
        if self.search is not None:
            path = searched_path(scores, self.tokens, timing, seconds, self.search)
        else:
            chances, best = _greedy(scores.astype(np.float64))
            path = read_path(best.tolist(), chances.tolist(), self.tokens, timing, seconds)
        first = time.perf_counter() - started if path.ids else None
        text = self.tokens.decode(path.ids)
        return Heard(text, len(path.ids), False, first, path.ids, path.words)

    def describe_decoding(self) -> str:
        """Greedy, or as its search says."""
        return self.search.describe() if self.search else DECODING


def _greedy(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest token of every frame: its probability, and which it is."""
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    return raised.max(-1) / raised.sum(-1), raised.argmax(-1)


def ctc_rules(record: ExportRecord) -> CTCRules:
    """What a family that scores frames stated. Raises `ExportError` when it stated none."""
    return stated_rules(record, CTCRules, "does not say which frames count")


def frame_tokens(folder: Path, record: ExportRecord) -> LetterTokens | PieceTable:
    """The tokenizer of an export. Raises `CheckpointError` when it cannot be read."""
    if record.tokenizer == TOKENIZER_FILE:
        return read_pieces(folder, ctc_rules(record).blank)
    return load_letters(folder)
