"""Transcribe recordings with a model, and nothing else: no training code is loaded.

    from whisperslim import runtime

    model = runtime.load("slim-onnx")
    print(model.transcribe("recording.wav").text)

An ONNX export needs neither torch nor transformers here; `pip install whisperslim` is enough.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from whisperslim.engines.base import EngineSize, Transcript
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.speech.audio.decoding import Recording, sound_of
from whisperslim.speech.audio.window import hearing_window
from whisperslim.text.languages import code_of

__all__ = ["Model", "Recording", "Transcript", "load"]


@dataclass(frozen=True)
class Model:
    """A model to transcribe with. `engine` is what it runs in."""

    engine: WindowedTranscriber

    @property
    def name(self) -> str:
        """Which model, in which engine."""
        return self.engine.name

    def size(self) -> EngineSize:
        """Parameters, and bytes on disk and in memory."""
        return self.engine.size()

    def transcribe(
        self, recording: Recording, language: str = "hi", *, words: bool = False
    ) -> Transcript:
        """What is said in a recording of any length and, for files, any common format.

        Args:
            recording: See `Recording`.
            language: Spoken language: Whisper's code, or its English name.
            words: Whether to give the time of each word, which takes a little longer.

        Raises:
            AudioError: the recording cannot be read or is not usable.
            UsageError: the model does not know the language, or cannot tell when words were said.
        """
        engine = self.engine.telling_words() if words else self.engine
        return engine.transcribe(sound_of(recording), code_of(language))


def load(
    name: str | Path,
    *,
    window: str = "fit",
    threads: int = 0,
    announce: Callable[[str], None] = lambda message: None,
) -> Model:
    """Open a model in the engine it was written for.

    Args:
        name: An export, a run, a slim folder, a Hugging Face folder or a hub id. All but exports
            for other engines need the extra `train`.
        window: `fit` follows the audio, `trim` leaves out silent ends as well, `30s` is stock
            Whisper's.
        threads: CPU threads; 0 leaves it to the engine.
        announce: Called with messages while the model is looked for.

    Raises:
        UsageError: an unknown window.
        ExportError, SourceError, CheckpointError: there is no usable model of that name.
    """
    return Model(open_transcriber(str(name), hearing_window(window), threads, announce))
