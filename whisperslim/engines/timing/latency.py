"""How long a model takes to transcribe a recording, on this machine, now."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whisperslim.engines.base import Transcriber
from whisperslim.errors import UsageError

LATENCY_NOTE = (
    "mean wall seconds per recording, from samples to text: features, encoder and every decoding "
    "step, one recording at a time; median of the timed passes after an untimed one; decoding of "
    "audio files does not count"
)


@dataclass(frozen=True)
class Latency:
    """A measurement on fixed recordings.

    Attributes:
        seconds: Median over the passes of the mean time per recording.
        passes: Mean time per recording of each timed pass, in order.
        recordings: How many.
        audio_seconds: Their length together.
        window: The engine's window policy in words.
        note: What the figure means.
    """

    seconds: float
    passes: tuple[float, ...]
    recordings: int
    audio_seconds: float
    window: str
    note: str = LATENCY_NOTE


def measure_latency(
    engine: Transcriber, recordings: Sequence[np.ndarray], language: str = "hi", passes: int = 3
) -> Latency:
    """Transcribe all recordings (mono float32, 16 kHz) `passes` times, and once before untimed.

    Raises:
        UsageError: no recording or no pass.
        AudioError: a recording is not usable.
    """
    if not recordings or passes < 1:
        raise UsageError(
            f"{len(recordings)} recordings, {passes} passes: at least one of each is needed to "
            "measure a time"
        )
    lengths = [each.audio_seconds for each in engine.transcribe_many(recordings, language)]
    found = [
        statistics.fmean(each.seconds for each in engine.transcribe_many(recordings, language))
        for _ in range(passes)
    ]
    return Latency(
        seconds=statistics.median(found),
        passes=tuple(found),
        recordings=len(recordings),
        audio_seconds=sum(lengths),
        window=engine.window_name,
    )
