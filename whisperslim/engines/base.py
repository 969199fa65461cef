"""What every engine offers: a recording in, a transcript with its costs out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from whisperslim.errors import AudioError
from whisperslim.exported.ctc import Word
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.audio import MAX_AMPLITUDE, SAMPLE_RATE
from whisperslim.speech.audio.window import Segment

NO_SPEECH = "no speech found"


@dataclass(frozen=True)
class Transcript:
    """What was heard in one recording.

    Attributes:
        text: All of it; parts of a long recording are joined with a space.
        audio_seconds: Length of the recording.
        seconds: Wall time from samples to text, feature extraction included, decoding of the
            audio file not.
        rtf: Real-time factor, `seconds / audio_seconds`: below 1 is faster than speech.
        tokens: Text tokens written, control tokens not counted.
        window: The window policy, as it describes itself.
        segments: (start, end, text) in seconds of each part; silent ones have an empty
            text. They cover the recording, but for what the window policy leaves out.
        note: What the reader should know, or empty.
        first_token_seconds: From samples to the first token of the first part with speech; None
            when there was none, or the engine does not report it.
        words: When each word was said; empty where the model does not report it. See `Word`.
    """

    text: str
    audio_seconds: float
    seconds: float
    rtf: float
    tokens: int
    window: str
    segments: tuple[tuple[float, float, str], ...]
    note: str = ""
    first_token_seconds: float | None = None
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Features:
    """A recording ready for the encoder, so that several models can be given the same.

    Attributes:
        segments: Parts of the recording, in order; what the policy leaves out lies between them.
        inputs: What a model is given of each part, as `input_spec` says; None for a silent one.
        input_spec: Which numbers these are.
        window: The policy that chose the lengths, as it describes itself.
        audio_seconds: Length of the recording.
        seconds: Wall time it took to make these.
    """

    segments: tuple[Segment, ...]
    inputs: tuple[np.ndarray | None, ...]
    input_spec: InputSpec
    window: str
    audio_seconds: float
    seconds: float

    def first_spoken(self) -> "Features":
        """The first part that is not silent, alone; no part at all when there is none."""
        spoken = [i for i, given in enumerate(self.inputs) if given is not None][:1]
        segments = tuple(self.segments[i] for i in spoken)
        seconds = sum(segment.seconds for segment in segments)
        inputs = tuple(self.inputs[i] for i in spoken)
        return Features(segments, inputs, self.input_spec, self.window, seconds, 0.0)


@dataclass(frozen=True)
class EngineSize:
    """`parameters` present, and bytes: of the weights file, and of the weights while loaded.

    `bytes_in_ram` is the part of `bytes_loaded` in this process, and not on a GPU.
    """

    parameters: int
    bytes_on_disk: int
    bytes_loaded: int
    bytes_in_ram: int


class Transcriber(Protocol):
    """A model that runs, in one engine."""

    @property
    def name(self) -> str:
        """For people: which model, in which engine."""
        ...

    @property
    def input_spec(self) -> InputSpec:
        """What it is given of a recording."""
        ...

    @property
    def window_name(self) -> str:
        """Its window policy, as `Features.window` has it."""
        ...

    @property
    def process(self) -> int | None:
        """The process that the model is in, when that is not this one."""
        ...

    def size(self) -> EngineSize:
        """What it takes on disk and in memory."""
        ...

    def features_for(self, audio: np.ndarray) -> Features:
        """Cut and transform a recording. Raises `AudioError` as `check_audio` does."""
        ...

    def transcribe_features(self, features: Features, language: str = "hi") -> Transcript:
        """Transcribe features of this engine, or of one with the same `input_spec` and window.

        The time it took to make them counts. Raises `UsageError` for an unknown language, or for
        features made for another window.
        """
        ...

    def transcribe(self, audio: np.ndarray, language: str = "hi") -> Transcript:
        """Transcribe one recording: mono float32 at 16 kHz, shape `(samples,)`, any length.

        Raises:
            AudioError: when `audio` is not usable.
            UsageError: for an unknown language.
        """
        ...

    def transcribe_many(
        self, recordings: Iterable[np.ndarray], language: str = "hi"
    ) -> Iterator[Transcript]:
        """Transcripts one after the other, as soon as each is ready."""
        ...


def check_audio(audio: np.ndarray) -> None:
    """Raise `AudioError` unless `audio` is a usable 16 kHz recording in memory."""
    if not isinstance(audio, np.ndarray) or audio.ndim != 1 or audio.dtype != np.float32:
        found = f"{getattr(audio, 'dtype', type(audio).__name__)} {np.shape(audio)}"
        raise AudioError(
            f"the recording is {found}; mono float32 of shape (samples,) at {SAMPLE_RATE} Hz is "
            "needed; speech.audio.decoding.decode makes it from any file"
        )
    if not len(audio):
        raise AudioError("the recording is empty; record or choose one with sound in it")
    if not bool(np.isfinite(audio).all()):
        raise AudioError("the recording has samples that are not numbers; record or export again")
    peak = float(np.abs(audio).max())
    if peak > MAX_AMPLITUDE:
        raise AudioError(
            f"the recording has samples up to {peak:.3g}; they must lie within -1 and 1: divide "
            "16-bit samples by 32768"
        )
