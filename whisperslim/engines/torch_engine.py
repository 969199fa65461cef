"""Run a model, whole or cut, in PyTorch."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from whisperslim.core import matmul
from whisperslim.core.disk.weight_files import weights_bytes
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.store.checkpoint import count_parameters
from whisperslim.engines.base import EngineSize
from whisperslim.engines.timing.memory import weight_bytes
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.errors import UsageError
from whisperslim.exported.ctc import Word
from whisperslim.exported.search import Search
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.window import WindowPolicy

_AT_ONCE = 8  # segments; our choice: more would not make batches much faster


@dataclass(frozen=True)
class TorchTranscriber(WindowedTranscriber):
    """A loaded model as a `Transcriber`; with `words` it reports when each was said."""

    speech: SpeechModel
    window: WindowPolicy
    words: bool = False

    @property
    def name(self) -> str:
        """The model's name as it was asked for."""
        return self.speech.name

    @property
    def input_spec(self) -> InputSpec:
        """As its family says."""
        return self.speech.input_spec

    def size(self) -> EngineSize:
        """Parameters and bytes; the disk's of the folder the model was loaded from."""
        model = self.speech.model
        loaded = weight_bytes(model)
        in_ram = loaded if self.speech.device.type == "cpu" else 0
        return EngineSize(count_parameters(model), weights_bytes(self.speech.path), loaded, in_ram)

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language the model cannot write."""
        self.speech.tokens.check_language(language)

    def in_own_script(self) -> Self:
        """As `WindowedTranscriber.in_own_script`, as its family does."""
        return replace(self, speech=self.speech.in_own_script())

    def searching(self, search: Search) -> Self:
        """As `WindowedTranscriber.searching`, as its family does."""
        return replace(self, speech=self.speech.searching(search))

    def telling_words(self) -> Self:
        """As `WindowedTranscriber.telling_words`; a family without a decoder always reports
        them."""
        return replace(self, words=True)

    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`, as its family decodes."""
        return self._hear([given], [seconds], language)[0]

    @property
    def at_once(self) -> int:
        """Weights are read once for all segments of a batch."""
        return _AT_ONCE

    def hear_many(
        self, given: Sequence[np.ndarray], seconds: Sequence[float], language: str
    ) -> list[Heard]:
        """As `WindowedTranscriber.hear_many`: those of one shape are decoded together."""
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, each in enumerate(given):
            alike.setdefault(each.shape, []).append(place)
        found: dict[int, Heard] = {}
        for places in alike.values():
            heard = self._hear([given[i] for i in places], [seconds[i] for i in places], language)
            found.update(zip(places, heard, strict=True))
        return [found[place] for place in range(len(given))]

    @torch.no_grad()
    def _hear(
        self, given: Sequence[np.ndarray], seconds: Sequence[float], language: str
    ) -> list[Heard]:
        speech = self.speech
        started = time.perf_counter()
        firsts: list[float] = []
        # Ids come back as Python numbers, so a GPU has finished when the clock is read.
        states = self._encode(np.stack(given))
        rows = speech.family.decode(
            speech.model, speech.tokens, states, seconds, language,
            on_first=lambda: firsts.append(time.perf_counter() - started),
        )  # fmt: skip
        first = firsts[0] if firsts else None
        found = []
        for place, written in enumerate(rows):
            text, words = speech.tokens.decode(written.ids), written.words
            if self.words and not words and written.ids:
                own = states[place : place + 1]
                words = self._timed(own, written.ids, seconds[place], language)
            length = len(written.ids)
            found.append(Heard(text, length, written.at_limit, first, written.ids, words))
        return found

    def _timed(
        self, states: torch.Tensor, ids: tuple[int, ...], seconds: float, language: str
    ) -> tuple[Word, ...]:
        speech = self.speech
        found = speech.family.word_times(
            speech.model, speech.tokens, states, ids, seconds, language
        )
        if found is None:
            raise UsageError(f"{self.name} has no attention left to time words with; ask for text")
        return found

    def describe_decoding(self) -> str:
        """As its family does."""
        return self.speech.family.describe_decoding()

    @torch.no_grad()
    def encoder_states(self, given: np.ndarray) -> np.ndarray:
        """As `WindowedTranscriber.encoder_states`."""
        states: np.ndarray = self._encode(given[None])[0].float().cpu().numpy()
        return states

    def _encode(self, given: np.ndarray) -> torch.Tensor:
        speech = self.speech
        weights = next(speech.model.parameters())
        batch = torch.from_numpy(given).to(speech.device, weights.dtype)
        return speech.family.encode(speech.model, batch)


def open_model(
    name: str, window: WindowPolicy, threads: int, announce: Callable[[str], None]
) -> TorchTranscriber:
    """Whatever `load_model` loads; arguments as of `open_transcriber`."""
    if threads:
        torch.set_num_threads(threads)
    matmul.decided()  # before the weights come: it needs memory for a moment
    return TorchTranscriber(load_model(name, announce=announce), window)
