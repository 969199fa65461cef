"""Run a Hugging Face export in PyTorch, by the same classes that others load it with."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from whisperslim.core.families.hf_remote.forms import form_of
from whisperslim.core.families.whisper.hf import encode_as_stored
from whisperslim.core.families.whisper.model import WhisperFamily
from whisperslim.core.families.whisper.tokens import TokenCodec, load_tokens
from whisperslim.core.store.checkpoint import WEIGHTS_FILE, count_parameters
from whisperslim.engines.base import EngineSize
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.hf.loading import load_strictly
from whisperslim.engines.timing.memory import weight_bytes
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.window import WindowPolicy


@dataclass(frozen=True)
class HfTranscriber(WindowedTranscriber):
    """A Hugging Face export as a `Transcriber`, in float32."""

    folder: Path
    model: Any
    tokens: TokenCodec
    window: WindowPolicy
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    @classmethod
    def load(cls, folder: Path, record: ExportRecord, window: WindowPolicy) -> "HfTranscriber":
        """Load strictly. Raises as `load_strictly`."""
        model = load_strictly(form_of(record.model_type), folder)
        return cls(folder, model, load_tokens(folder), window)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return str(self.folder)

    @property
    def input_spec(self) -> InputSpec:
        """Log-mel features of its bands."""
        return WhisperFamily().input_spec(self.model)

    def size(self) -> EngineSize:
        """Parameters, the weights file, and the weights in memory."""
        loaded = weight_bytes(self.model)
        file = self.folder / WEIGHTS_FILE
        return EngineSize(count_parameters(self.model), file.stat().st_size, loaded, loaded)

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language the tokenizer has no token of."""
        self.tokens.prompt(language)

    def in_own_script(self) -> Self:
        """As `WindowedTranscriber.in_own_script`."""
        return replace(self, decoding=replace(self.decoding, own_script=True))

    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`, greedily."""
        started = time.perf_counter()
        firsts: list[float] = []
        (written,) = WhisperFamily(self.decoding).decode(
            self.model, self.tokens, self._encode(given), [seconds], language,
            on_first=lambda: firsts.append(time.perf_counter() - started),
        )  # fmt: skip
        first = firsts[0] if firsts else None
        text = self.tokens.decode(written.ids)
        return Heard(text, len(written.ids), written.at_limit, first, written.ids)

    def describe_decoding(self) -> str:
        """As its family does."""
        return WhisperFamily(self.decoding).describe_decoding()

    def encoder_states(self, given: np.ndarray) -> np.ndarray:
        """As `WindowedTranscriber.encoder_states`."""
        states: np.ndarray = self._encode(given)[0].numpy()
        return states

    @torch.no_grad()
    def _encode(self, given: np.ndarray) -> torch.Tensor:
        return encode_as_stored(self.model, torch.from_numpy(given)[None])
