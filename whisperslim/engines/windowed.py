"""From a recording to a transcript, whatever computes the tokens: cut, window, listen, join."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from whisperslim.engines.base import NO_SPEECH, EngineSize, Features, Transcript, check_audio
from whisperslim.errors import UsageError
from whisperslim.exported.ctc import Word
from whisperslim.exported.search import Search
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.audio import SAMPLE_RATE, is_silent
from whisperslim.speech.audio.log_mel import log_mel
from whisperslim.speech.audio.model_input import model_input
from whisperslim.speech.audio.window import Segment, WindowPolicy, cut_at_silences

# A long recording is cut to parts this much shorter than what the model hears at once, so that
# every part is followed by silence, as in training. Our choice.
_SPARE_SECONDS = 2.0


@dataclass(frozen=True)
class Heard:
    """What a model wrote for one segment.

    Attributes:
        text: Without control tokens.
        tokens: Text tokens written.
        at_limit: Whether the bound on tokens ended it, and not the model.
        first_token_seconds: From features to the first token; None when it was not measured.
        ids: The text tokens' ids, where the engine reports them.
        words: When each word was said, from the segment's start, where the model reports it.
    """

    text: str = ""
    tokens: int = 0
    at_limit: bool = False
    first_token_seconds: float | None = None
    ids: tuple[int, ...] | None = None
    words: tuple[Word, ...] = ()


class WindowedTranscriber(ABC):
    """A `Transcriber` made of one that hears a single segment.

    A recording longer than the model hears at once is cut where it is quiet and transcribed part by
    part, one at a time, so that a part's text never depends on another. Silent parts are left out
    by their level, since Whisper invents text for silence (our choice; Whisper itself goes by a
    no-speech token).
    """

    window: WindowPolicy

    @property
    @abstractmethod
    def name(self) -> str:
        """For people: which model, in which engine."""

    @property
    @abstractmethod
    def input_spec(self) -> InputSpec:
        """What it is given of a recording."""

    @abstractmethod
    def size(self) -> EngineSize:
        """What it takes on disk and in memory."""

    @abstractmethod
    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language this model has no token of."""

    @abstractmethod
    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        """Transcribe one segment of `seconds` of sound, given as `input_spec` says."""

    @property
    def at_once(self) -> int:
        """How many segments `hear_many` hears faster together than one after the other; 1: none."""
        return 1

    def hear_many(
        self, given: Sequence[np.ndarray], seconds: Sequence[float], language: str
    ) -> list[Heard]:
        """Transcribe several segments, each with the text it has alone; otherwise as `hear`."""
        pairs = zip(given, seconds, strict=True)
        return [self.hear(each, length, language) for each, length in pairs]

    @abstractmethod
    def describe_decoding(self) -> str:
        """How text is read off, for reports: figures depend on it."""

    def in_own_script(self) -> Self:
        """The same model with its texts held to the script of their language.

        Raises `UsageError` from an engine that cannot do that.
        """
        raise UsageError(f"{self.name} cannot be limited to the language's own script")

    def telling_words(self) -> Self:
        """The same model, reporting when each word was said.

        Raises `UsageError` from an engine that cannot do that.
        """
        raise UsageError(f"{self.name} cannot give word times; PyTorch and ONNX Runtime can")

    def searching(self, search: Search) -> Self:
        """The same model, which looks for the likeliest text among many.

        Raises `UsageError` from an engine or a model that cannot do that.
        """
        raise UsageError(
            f"{self.name} searches no beam: it is for models that score frames (CTC), in PyTorch "
            "and in exports that were written here; leave --beam out"
        )

    def encoder_states(self, given: np.ndarray) -> np.ndarray | None:
        """What the encoder makes of a segment, `(positions, d_model)` float32.

        For checks. None from an engine that does not show it.
        """
        return None

    @property
    def process(self) -> int | None:
        """The process that the model is in, when that is not this one."""
        return None

    @property
    def window_name(self) -> str:
        """Its window policy in words."""
        return self.window.describe()

    def features_for(self, audio: np.ndarray) -> Features:
        """The input of each part that is not silent. Raises `AudioError` for unusable audio."""
        started = time.perf_counter()
        check_audio(audio)
        parts = cut_at_silences(audio, self.input_spec.max_seconds - _SPARE_SECONDS)
        segments = [self.window.heard_part(audio, part) for part in parts]
        inputs = tuple(self._input(segment, segment.of(audio)) for segment in segments)
        seconds = time.perf_counter() - started
        length = len(audio) / SAMPLE_RATE
        return Features(tuple(segments), inputs, self.input_spec, self.window_name, length, seconds)

    def transcribe(self, audio: np.ndarray, language: str = "hi") -> Transcript:
        """As `Transcriber.transcribe`. Times include feature extraction."""
        return self.transcribe_features(self.features_for(audio), language)

    def transcribe_features(self, features: Features, language: str = "hi") -> Transcript:
        """As `transcribe`, of a recording that is features already; their time counts too."""
        self._check_features(features)
        self.check_language(language)  # an unknown language is refused even for silence
        started = time.perf_counter()
        pairs = list(zip(features.segments, features.inputs, strict=True))
        parts = [
            Heard() if given is None else self.hear(given, segment.seconds, language)
            for segment, given in pairs
        ]
        return joined(features, parts, time.perf_counter() - started + features.seconds)

    def transcribe_many(
        self, recordings: Iterable[np.ndarray], language: str = "hi"
    ) -> Iterator[Transcript]:
        """One recording at a time: only one is in memory, and each has its own time."""
        for audio in recordings:
            yield self.transcribe(audio, language)

    def _input(self, segment: Segment, samples: np.ndarray) -> np.ndarray | None:
        if is_silent(samples):
            return None
        frames = self.window.frames_for(segment.seconds, self.input_spec.max_frames)
        return model_input(samples, frames, self.input_spec, log_mel)

    def _check_features(self, features: Features) -> None:
        if (features.input_spec, features.window) != (self.input_spec, self.window_name):
            raise UsageError(
                f"{self.name} takes {self.input_spec.describe()} in the window {self.window_name}, "
                f"not {features.input_spec.describe()} in {features.window}; make the features "
                "with features_for"
            )


def joined(features: Features, parts: Sequence[Heard], seconds: float) -> Transcript:
    """The transcript of a recording whose segments were heard, in `seconds` of all the work."""
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
        first_token_seconds=_first_token(features, parts),
        words=tuple(
            word.later(segment.start / SAMPLE_RATE)
            for segment, part in zip(features.segments, parts, strict=True)
            for word in part.words
        ),
    )


def _first_token(features: Features, parts: Sequence[Heard]) -> float | None:
    """From samples to the first token of the first part with speech."""
    spoken = [part for part, given in zip(parts, features.inputs, strict=True) if given is not None]
    first = spoken[0].first_token_seconds if spoken else None
    return None if first is None else features.seconds + first


def _note(features: Features, parts: Sequence[Heard]) -> str:
    silent = sum(given is None for given in features.inputs)
    notes = []
    if silent == len(parts):
        notes.append(NO_SPEECH)
    elif silent:
        notes.append(f"{NO_SPEECH} in {silent} of {len(parts)} parts")
    if any(part.at_limit for part in parts):
        notes.append("the longest allowed text was reached: its end may be missing or repeated")
    return "; ".join(notes)
