"""One recording, two or three models: texts, times, sizes and differences."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from whisperslim.engines.base import Features, Transcriber, Transcript
from whisperslim.engines.timing.memory import PeakMemory
from whisperslim.errors import UsageError
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.scoring.wer import WordDifference, score_all_ways, word_differences

MEMORY_NOTE = (
    "highest resident memory (RSS) of the process while this side ran, and of the process that an "
    "export from elsewhere runs in, read every 5 ms, less the weights of the "
    "other models that were loaded; libraries count, memory of a GPU does not"
)

SideScores = Mapping[str, tuple[float, float]]
"""Normalizer name -> (WER, CER), each errors / reference length."""


@dataclass(frozen=True)
class Side:
    """One model's part.

    Attributes:
        name: The transcriber's name.
        transcript: Text of the first run; seconds and rtf are the median over the runs.
        bytes_on_disk: The weights file.
        parameters: Elements present, zeroed ones included.
        weights_bytes: What the weights take while loaded, wherever they are.
        peak_memory_bytes: See `Comparison.memory_note`.
    """

    name: str
    transcript: Transcript
    bytes_on_disk: int
    parameters: int
    weights_bytes: int
    peak_memory_bytes: int


@dataclass(frozen=True)
class Comparison:
    """Two models on one recording, or three.

    Attributes:
        dense, slim: The sides.
        differences: Word alignment of the texts as written; "reference" is the dense one's.
        scores: "dense", "slim" and, when there is one, "third" -> scores, when it is known what
            was said.
        reference: What was said, or None.
        language: Code of the language asked for.
        shared_features: Whether all were given the very same features.
        repeats: Timed runs of each side.
        memory_note: How peak memory was measured.
        third: One more side, for example the slim model in another precision, or None.
    """

    dense: Side
    slim: Side
    differences: tuple[WordDifference, ...]
    scores: Mapping[str, SideScores] | None
    reference: str | None
    language: str
    shared_features: bool
    repeats: int
    memory_note: str = MEMORY_NOTE
    third: Side | None = None

    @property
    def speedup(self) -> float:
        """Dense seconds over slim seconds: above 1, slim is faster."""
        return self.dense.transcript.seconds / self.slim.transcript.seconds

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "speedup": self.speedup}


def compare(
    dense: Transcriber,
    slim: Transcriber,
    audio: np.ndarray,
    *,
    language: str = "hi",
    reference: str | None = None,
    repeats: int = 1,
    third: Transcriber | None = None,
    warm: bool = False,
    beside: Sequence[Transcriber] = (),
    normalizers: Sequence[str] = (),
) -> Comparison:
    """Give `audio` (mono float32, 16 kHz) to all and put the results side by side.

    Features are made once for those that take the same; the time that took counts for each. Each
    side first transcribes the opening untimed, unless all are `warm` already, having worked before
    in this process; and the order alternates from run to run, so that being first is no
    disadvantage. A blank `reference` counts as none. `beside` are engines that this process has
    loaded and that take no part: their weights count for no side. `normalizers` are named ones to
    score with beside the usual.

    Raises:
        AudioError, UsageError: for an unusable recording, an unknown language, no repeats.
        DataError: when nothing is left of the reference after normalization.
    """
    if repeats < 1:
        raise UsageError(f"{repeats} repeats: at least one run of each side is needed")
    said = reference.strip() if reference and reference.strip() else None
    if said:
        score_all_ways([said], [""], language, normalizers)  # refuses one without words early
    engines = {"dense": dense, "slim": slim}
    if third is not None:
        engines["third"] = third
    features, shared = _features(engines, audio)
    if not warm:
        _warm_up(engines, features, language)
    sides = _measure(engines, features, language, repeats, beside)
    texts = {which: side.transcript.text for which, side in sides.items()}
    return Comparison(
        dense=sides["dense"],
        slim=sides["slim"],
        differences=word_differences(texts["dense"], texts["slim"]),
        scores={which: _scores(said, text, language, normalizers) for which, text in texts.items()}
        if said
        else None,
        reference=said,
        language=language,
        shared_features=shared,
        repeats=repeats,
        third=sides.get("third"),
    )


def _features(
    engines: Mapping[str, Transcriber], audio: np.ndarray
) -> tuple[dict[str, Features], bool]:
    # The first call in a process builds the mel filters, which takes a second or more.
    dense = engines["dense"]
    dense.features_for(audio[: int(dense.input_spec.max_seconds * SAMPLE_RATE)])
    made: dict[tuple[InputSpec, str], Features] = {}
    found = {}
    for which, engine in engines.items():
        kind = (engine.input_spec, engine.window_name)
        if kind not in made:
            made[kind] = engine.features_for(audio)
        found[which] = made[kind]
    return found, len(made) == 1


def _warm_up(
    engines: Mapping[str, Transcriber], features: dict[str, Features], language: str
) -> None:
    for which, engine in engines.items():
        opening = features[which].first_spoken()
        if opening.segments:
            engine.transcribe_features(opening, language)


def _measure(
    engines: Mapping[str, Transcriber],
    features: dict[str, Features],
    language: str,
    repeats: int,
    beside: Sequence[Transcriber],
) -> dict[str, Side]:
    runs: dict[str, list[tuple[Transcript, int]]] = {which: [] for which in engines}
    for turn in range(repeats):
        for which in list(engines)[:: -1 if turn % 2 else 1]:
            runs[which].append(_one_run(engines[which], features[which], language))
    sizes = {which: engine.size() for which, engine in engines.items()}
    # Two sides may be one and the same engine, whose weights are there once.
    loaded = {id(engine): engine for engine in (*engines.values(), *beside)}
    in_ram = sum(engine.size().bytes_in_ram for engine in loaded.values())
    return {
        which: Side(
            name=engine.name,
            transcript=_typical([transcript for transcript, _ in runs[which]]),
            bytes_on_disk=sizes[which].bytes_on_disk,
            parameters=sizes[which].parameters,
            weights_bytes=sizes[which].bytes_loaded,
            peak_memory_bytes=max(peak for _, peak in runs[which])
            - (in_ram - sizes[which].bytes_in_ram),
        )
        for which, engine in engines.items()
    }


def _one_run(engine: Transcriber, features: Features, language: str) -> tuple[Transcript, int]:
    with PeakMemory(engine.process) as memory:
        transcript = engine.transcribe_features(features, language)
    return transcript, memory.peak


def _typical(runs: list[Transcript]) -> Transcript:
    seconds = statistics.median(run.seconds for run in runs)
    return replace(runs[0], seconds=seconds, rtf=seconds / runs[0].audio_seconds)


def _scores(
    reference: str, hypothesis: str, language: str, normalizers: Sequence[str]
) -> SideScores:
    scores = score_all_ways([reference], [hypothesis], language, normalizers)
    return {name: (score.wer, score.cer) for name, score in scores.items()}
