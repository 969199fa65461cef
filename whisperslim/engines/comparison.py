"""One recording, two or three models: texts, times, sizes and differences."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from whisperslim.engines.base import Features, Transcriber, Transcript
from whisperslim.engines.timing.memory import PeakMemory
from whisperslim.engines.together import Hearing, hear_all, tried
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import UsageError
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.scoring.wer import WordDifference, score_all_ways, word_differences

MEMORY_NOTE = (
    "highest resident memory (RSS) of the process while this side ran, and of the process that an "
    "export from elsewhere runs in, read every 5 ms, less the weights of the "
    "other models that were loaded; libraries count, memory of a GPU does not"
)
_OF_A_PASS = f"{MEMORY_NOTE}; of all recordings heard in the pass"

T = TypeVar("T")
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
        together: Recordings that were heard in the same pass of each side. Above 1, `seconds` and
            `rtf` are not this recording's own: see `compare_together`.
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
    together: int = 1
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
    said = _said(reference, language, normalizers)
    engines = _named(dense, slim, third)
    if not warm:
        # The first call in a process builds the mel filters, which takes a second or more.
        dense.features_for(audio[: int(dense.input_spec.max_seconds * SAMPLE_RATE)])
    features, shared = _features(engines, audio)
    if not warm:
        _warm_up(engines, features, language)
    sides = _measure(engines, features, language, repeats, beside)
    return _compared(sides, said, language, shared, normalizers, repeats=repeats)


@dataclass(frozen=True)
class Recording:
    """One to be compared: mono float32 at 16 kHz, and what is said in it, if that is known."""

    audio: np.ndarray
    reference: str | None = None


def compare_together(
    dense: WindowedTranscriber,
    slim: WindowedTranscriber,
    recordings: Sequence[Recording],
    *,
    language: str = "hi",
    third: WindowedTranscriber | None = None,
    beside: Sequence[Transcriber] = (),
) -> list[Callable[[], Comparison] | Exception]:
    """Hear several recordings at once, in their order; for one that cannot be heard, why.

    What comes back makes the comparison, scores and all, by whoever calls it: meanwhile the models
    are free for others. It raises `DataError` as `compare`.

    Each side hears all of them in one pass, as its engine hears several, and then the next side
    does: each text is the one it has alone (our choice; a crowd waits half as long). A pass has one
    time, and no recording in it a time of its own: `seconds` is the pass's time, shared by the
    lengths of the recordings, and `rtf` is the same for all of them. So the sides of one comparison
    may be compared with each other, but not with those of one that was heard alone. Peak memory is
    that of the pass. All engines must have worked before in this process. Other arguments as
    `compare`.

    Raises `UsageError` for an unknown language.
    """
    engines = _named(dense, slim, third)

    def prepared(each: Recording) -> _Prepared:
        return _Prepared(each.reference, *_features(engines, each.audio))

    made = [tried(partial(prepared, each)) for each in recordings]
    good = [each for each in made if isinstance(each, _Prepared)]
    passes = {
        which: _one_pass(engine, [each.features[which] for each in good], language)
        for which, engine in engines.items()
    }

    def ended(place: int, each: _Prepared) -> Callable[[], Comparison] | Exception:
        heard: dict[str, Transcript] = {}
        for which, (transcripts, _) in passes.items():
            found = transcripts[place]
            if isinstance(found, Exception):
                return found
            heard[which] = found
        sides = _sides(engines, heard, {which: peak for which, (_, peak) in passes.items()}, beside)
        return lambda: _compared(
            sides, _said(each.reference, language, ()), language, each.shared, (),
            together=len(good),
        )  # fmt: skip

    results = iter([ended(place, each) for place, each in enumerate(good)])
    return [next(results) if isinstance(each, _Prepared) else each for each in made]


@dataclass(frozen=True)
class _Prepared:
    reference: str | None
    features: Mapping[str, Features]
    shared: bool


def _one_pass(
    engine: WindowedTranscriber, features: Sequence[Features], language: str
) -> tuple[list[Transcript | Exception], int]:
    """What one side hears, and its peak memory."""
    hearings = [Hearing(engine, each, language) for each in features]
    with PeakMemory(engine.process) as memory:
        started = time.perf_counter()
        engine.check_language(language)
        failed = {id(each): error for each, error in hear_all(hearings)}
        seconds = time.perf_counter() - started + sum(each.seconds for each in features)
    rtf = seconds / sum(each.audio_seconds for each in features) if features else 0.0
    heard = [
        failed[id(each)]
        if id(each) in failed
        else replace(each.transcript(), seconds=rtf * each.features.audio_seconds, rtf=rtf)
        for each in hearings
    ]
    return heard, memory.peak


def _named(dense: T, slim: T, third: T | None) -> dict[str, T]:
    engines = {"dense": dense, "slim": slim}
    return engines if third is None else {**engines, "third": third}


def _said(reference: str | None, language: str, normalizers: Sequence[str]) -> str | None:
    said = reference.strip() if reference and reference.strip() else None
    if said:
        score_all_ways([said], [""], language, normalizers)  # refuses one without words early
    return said


def _compared(
    sides: Mapping[str, Side],
    said: str | None,
    language: str,
    shared: bool,
    normalizers: Sequence[str],
    *,
    repeats: int = 1,
    together: int = 1,
) -> Comparison:
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
        memory_note=MEMORY_NOTE if together == 1 else _OF_A_PASS,
        together=together,
        third=sides.get("third"),
    )


def _features(
    engines: Mapping[str, Transcriber], audio: np.ndarray
) -> tuple[dict[str, Features], bool]:
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
    heard = {
        which: _typical([transcript for transcript, _ in found]) for which, found in runs.items()
    }
    peaks = {which: max(peak for _, peak in found) for which, found in runs.items()}
    return _sides(engines, heard, peaks, beside)


def _sides(
    engines: Mapping[str, Transcriber],
    heard: Mapping[str, Transcript],
    peaks: Mapping[str, int],
    beside: Sequence[Transcriber],
) -> dict[str, Side]:
    sizes = {which: engine.size() for which, engine in engines.items()}
    # Two sides may be one and the same engine, whose weights are there once.
    loaded = {id(engine): engine for engine in (*engines.values(), *beside)}
    in_ram = sum(engine.size().bytes_in_ram for engine in loaded.values())
    return {
        which: Side(
            name=engine.name,
            transcript=heard[which],
            bytes_on_disk=sizes[which].bytes_on_disk,
            parameters=sizes[which].parameters,
            weights_bytes=sizes[which].bytes_loaded,
            peak_memory_bytes=peaks[which] - (in_ram - sizes[which].bytes_in_ram),
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
