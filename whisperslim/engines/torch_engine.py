"""Run a model, whole or cut, in PyTorch."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch

from whisperslim.core.decoding import DecodingOptions, greedy
from whisperslim.core.disk.weight_files import weights_bytes
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import count_parameters
from whisperslim.engines.base import EngineSize
from whisperslim.engines.timing.memory import weight_bytes
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.speech.audio.window import WindowPolicy


@dataclass(frozen=True)
class TorchTranscriber(WindowedTranscriber):
    """A loaded model as a `Transcriber`."""

    speech: SpeechModel
    window: WindowPolicy
    decoding: DecodingOptions = field(default_factory=DecodingOptions)

    @property
    def name(self) -> str:
        """The model's name as it was asked for."""
        return self.speech.name

    @property
    def n_mels(self) -> int:
        """Bands of its features."""
        return self.speech.n_mels

    def size(self) -> EngineSize:
        """Parameters and bytes; the disk's of the folder the model was loaded from."""
        model = self.speech.model
        loaded = weight_bytes(model)
        in_ram = loaded if self.speech.device.type == "cpu" else 0
        return EngineSize(count_parameters(model), weights_bytes(self.speech.path), loaded, in_ram)

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language the tokenizer has no token of."""
        self.speech.tokens.prompt(language)

    def hear(self, mel: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`, greedily."""
        speech = self.speech
        weights = next(speech.model.parameters())
        started = time.perf_counter()
        batch = torch.from_numpy(mel)[None].to(speech.device, weights.dtype)
        firsts: list[float] = []
        # Ids come back as Python numbers, so a GPU has finished when the clock is read.
        ids = greedy(
            speech.model, speech.tokens, batch, [seconds], language, self.decoding,
            on_first=lambda: firsts.append(time.perf_counter() - started),
        )[0]  # fmt: skip
        positions = int(speech.model.config.max_target_positions)
        limit = self.decoding.limit(seconds, positions, len(speech.tokens.prompt(language)))
        first = firsts[0] if firsts else None
        return Heard(speech.tokens.decode(ids), len(ids), len(ids) >= limit, first, tuple(ids))

    @torch.no_grad()
    def encoder_states(self, mel: np.ndarray) -> np.ndarray:
        """As `WindowedTranscriber.encoder_states`."""
        speech = self.speech
        weights = next(speech.model.parameters())
        batch = torch.from_numpy(mel)[None].to(speech.device, weights.dtype)
        states: np.ndarray = speech.family.encode(speech.model, batch)[0].float().cpu().numpy()
        return states
