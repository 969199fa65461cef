"""Run a model, whole or cut, in PyTorch."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from whisperslim.core.checkpoint import WEIGHTS_FILE, count_parameters
from whisperslim.core.decoding import DecodingOptions, greedy
from whisperslim.core.loading import SpeechModel
from whisperslim.engines.base import NO_SPEECH, EngineSize, Features, Transcript, check_audio
from whisperslim.engines.memory import weight_bytes
from whisperslim.errors import UsageError
from whisperslim.speech.audio import SAMPLE_RATE, is_silent, log_mel
from whisperslim.speech.window import Segment, WindowPolicy, cut_at_silences


@dataclass(frozen=True)
class _Part:
    """One segment's text, its tokens, and whether the bound on tokens ended it."""

    text: str = ""
    tokens: int = 0
    at_limit: bool = False


@dataclass(frozen=True)
class TorchTranscriber:
    """A loaded model as a `Transcriber`.

    A recording over 28 s is cut where it is quiet and transcribed part by part, one at a time, so
    that a part's text never depends on another. Silent parts are left out by their level, since
    Whisper invents text for silence (our choice; Whisper itself goes by a no-speech token).
    """

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

    @property
    def window_name(self) -> str:
        """Its window policy in words."""
        return self.window.describe()

    def size(self) -> EngineSize:
        """Parameters and bytes; the disk's of the folder the model was loaded from."""
        model, file = self.speech.model, self.speech.path / WEIGHTS_FILE
        loaded = weight_bytes(model)
        in_ram = loaded if self.speech.device.type == "cpu" else 0
        return EngineSize(count_parameters(model), file.stat().st_size, loaded, in_ram)

    def features_for(self, audio: np.ndarray) -> Features:
        """Log-mel of each part that is not silent. Raises `AudioError` for unusable audio."""
        started = time.perf_counter()
        check_audio(audio)
        segments = cut_at_silences(audio)
        mels = tuple(self._mel(segment, segment.of(audio)) for segment in segments)
        seconds = time.perf_counter() - started
        length = len(audio) / SAMPLE_RATE
        return Features(tuple(segments), mels, self.n_mels, self.window_name, length, seconds)

    def transcribe(self, audio: np.ndarray, language: str = "hi") -> Transcript:
        """As `Transcriber.transcribe`. Times include feature extraction."""
        return self.transcribe_features(self.features_for(audio), language)

    def transcribe_features(self, features: Features, language: str = "hi") -> Transcript:
        """As `transcribe`, of a recording that is features already; their time counts too."""
        self._check_features(features)
        self.speech.tokens.prompt(language)  # an unknown language is refused even for silence
        started = time.perf_counter()
        pairs = list(zip(features.segments, features.mels, strict=True))
        parts = [self._part(segment, mel, language) for segment, mel in pairs]
        seconds = time.perf_counter() - started + features.seconds
        spans = zip(features.segments, parts, strict=True)
        return Transcript(
            text=" ".join(part.text for part in parts if part.text),
            audio_seconds=features.audio_seconds,
            seconds=seconds,
            rtf=seconds / features.audio_seconds,
            tokens=sum(part.tokens for part in parts),
            window=features.window,
            segments=tuple((s.start / SAMPLE_RATE, s.end / SAMPLE_RATE, p.text) for s, p in spans),
            note=_note(features, parts),
        )

    def transcribe_many(
        self, recordings: Iterable[np.ndarray], language: str = "hi"
    ) -> Iterator[Transcript]:
        """One recording at a time: only one is in memory, and each has its own honest time."""
        for audio in recordings:
            yield self.transcribe(audio, language)

    def _mel(self, segment: Segment, samples: np.ndarray) -> np.ndarray | None:
        if is_silent(samples):
            return None
        return log_mel(samples, self.window.frames_for(segment.seconds), n_mels=self.n_mels)

    def _part(self, segment: Segment, mel: np.ndarray | None, language: str) -> _Part:
        if mel is None:
            return _Part()
        speech = self.speech
        weights = next(speech.model.parameters())
        batch = torch.from_numpy(mel)[None].to(speech.device, weights.dtype)
        # Ids come back as Python numbers, so a GPU has finished when the clock is read.
        ids = greedy(
            speech.model, speech.tokens, batch, [segment.seconds], language, self.decoding
        )[0]
        positions = int(speech.model.config.max_target_positions)
        prompt = len(speech.tokens.prompt(language))
        limit = self.decoding.limit(segment.seconds, positions, prompt)
        return _Part(speech.tokens.decode(ids), len(ids), len(ids) >= limit)

    def _check_features(self, features: Features) -> None:
        if (features.n_mels, features.window) != (self.n_mels, self.window_name):
            raise UsageError(
                f"{self.name} takes {self.n_mels} bands in the window {self.window_name}, not "
                f"{features.n_mels} in {features.window}; make the features with features_for"
            )


def _note(features: Features, parts: list[_Part]) -> str:
    silent = sum(mel is None for mel in features.mels)
    notes = []
    if silent == len(parts):
        notes.append(NO_SPEECH)
    elif silent:
        notes.append(f"{NO_SPEECH} in {silent} of {len(parts)} parts")
    if any(part.at_limit for part in parts):
        notes.append("the longest text allowed was reached: its end may be missing or repeated")
    return "; ".join(notes)
