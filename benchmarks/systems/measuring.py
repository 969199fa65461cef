"""Several systems on the same recordings, in turn: the clock, the memory, the error rate."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shared.provenance import median_and_range
from benchmarks.systems.opening import System
from benchmarks.systems.process import SystemFailedError, SystemProcess
from benchmarks.systems.recordings import ALL_SHORT, LENGTHS, LONG, Clip
from whisperslim.errors import WhisperSlimError
from whisperslim.speech.scoring.significance import compare, wer_interval
from whisperslim.speech.scoring.wer import Score, score_all_ways

RESAMPLES = 10_000
# What making a peer's weights, or opening it, raises when it cannot be done here.
_FAILURES = (SystemFailedError, WhisperSlimError, ImportError, OSError, RuntimeError, ValueError)

Answers = dict[str, list[list[dict[str, Any]]]]
"""System -> recording -> one answer for each repeat."""


def start(
    wanted: Mapping[str, Callable[[], System]], language: str, threads: int, logs: Path
) -> tuple[dict[str, SystemProcess], dict[str, str]]:
    """A process for each system that opens, and why the others do not."""
    running: dict[str, SystemProcess] = {}
    missing: dict[str, str] = {}
    for label, make in wanted.items():
        print(f"opening {label}", flush=True)
        try:
            log = logs / f"{len(running) + len(missing)}.log"
            running[label] = SystemProcess(make(), language, threads, log)
        except _FAILURES as error:
            missing[label] = without_folders(f"{type(error).__name__}: {error}")
            print(f"  {missing[label]}", flush=True)
    return running, missing


def measure(
    running: dict[str, SystemProcess],
    missing: dict[str, str],
    clips: Sequence[Clip],
    repeats: int,
    pause: float,
) -> Answers:
    """Each recording by every system, one system at a time; which one begins rotates.

    Before it, each system hears the first recording untimed. `pause` seconds pass before each
    turn: a runtime's idle threads spin for up to 0.2 s, which would slow the next one down. A
        system that fails moves from `running` to `missing`.
    """
    answers: Answers = {label: [[] for _ in clips] for label in running}
    _turn(running, missing, list(running), clips[0], pause)
    for place, clip in enumerate(clips):
        for repeat in range(repeats):
            labels = list(running)
            first = (place + repeat) % max(1, len(labels))
            order = labels[first:] + labels[:first]
            for label, answer in _turn(running, missing, order, clip, pause).items():
                answers[label][place].append(answer)
        print(f"{place + 1} of {len(clips)}: {clip.seconds:.1f} s", flush=True)
    return {label: answers[label] for label in running}


def _turn(
    running: dict[str, SystemProcess],
    missing: dict[str, str],
    order: Sequence[str],
    clip: Clip,
    pause: float,
) -> dict[str, dict[str, Any]]:
    answers = {}
    for label in order:
        time.sleep(pause)
        try:
            answers[label] = running[label].ask({"audio": str(clip.file)})
        except SystemFailedError as error:
            missing[label] = without_folders(str(error))
            del running[label]
            print(f"  {label}: {missing[label]}", flush=True)
    return answers


def class_records(
    clips: Sequence[Clip],
    answers: Answers,
    baseline: str,
    faster_than: Sequence[str],
    language: str,
) -> dict[str, Any]:
    """Figures by length class; all short classes together are one more."""
    places = {
        length: [i for i, clip in enumerate(clips) if clip.length == length]
        for length in (*LENGTHS, LONG)
    }
    places = {ALL_SHORT: [i for i, c in enumerate(clips) if c.length != LONG], **places}
    return {
        length: _class_record([clips[i] for i in chosen], _of(answers, chosen), baseline,
                              faster_than, language)
        for length, chosen in places.items()
        if chosen
    }  # fmt: skip


def _of(answers: Answers, places: Sequence[int]) -> Answers:
    return {label: [found[place] for place in places] for label, found in answers.items()}


def _class_record(
    clips: Sequence[Clip],
    answers: Answers,
    baseline: str,
    faster_than: Sequence[str],
    language: str,
) -> dict[str, Any]:
    scores = {label: _score(clips, found, language) for label, found in answers.items()}
    seconds = {label: clip_seconds(found) for label, found in answers.items()}
    audio = sum(clip.seconds for clip in clips)
    rows = {}
    for label, found in answers.items():
        score = scores[label]
        rows[label] = {
            "seconds_per_clip": median_and_range(list(seconds[label])),
            "real_time_factor": float(seconds[label].sum()) / audio,
            "first_token_seconds": _first_token(found),
            "tokens_per_second": _tokens(found) / float(seconds[label].sum()),
            "wer": score.wer,
            "cer": score.cer,
            "wer_interval_95": _ends(score),
            "against_baseline": compare(scores[baseline], score).to_record()
            if baseline in scores
            else None,
            "faster_than": {
                other: ratio(seconds[other], seconds[label])
                for other in faster_than
                if other in seconds
            },
        }
    any_score = next(iter(scores.values()))
    return {
        "n": len(clips),
        "audio_seconds": audio,
        "repeats": len(next(iter(answers.values()))[0]),
        "normalizer": any_score.normalizer,
        "normalizer_version": any_score.version,
        "rows": rows,
    }


def clip_seconds(found: Sequence[Sequence[Mapping[str, Any]]]) -> np.ndarray:
    """The median over the repeats of each recording."""
    return np.array([np.median([answer["seconds"] for answer in repeats]) for repeats in found])


def ratio(slow: np.ndarray, fast: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Total time of `slow` over that of `fast`, with a paired 95 % bootstrap over recordings."""
    drawn = np.random.default_rng(seed).integers(len(slow), size=(RESAMPLES, len(slow)))
    ratios = slow[drawn].sum(axis=1) / fast[drawn].sum(axis=1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    whole = float(slow.sum() / fast.sum())
    return {"ratio": whole, "low": float(low), "high": float(high), "n": len(slow)}


def system_records(running: Mapping[str, SystemProcess], answers: Answers) -> dict[str, Any]:
    """Description and footprint of each system. Its highest memory includes loading the weights."""
    records = {}
    for label, process in running.items():
        opened = process.opened
        every = [answer for repeats in answers[label] for answer in repeats]
        records[label] = {
            "describe": opened["describe"],
            "bytes_on_disk": opened["bytes_on_disk"],
            "opening_seconds": opened["seconds"],
            "resident_when_open": opened["resident"],
            "peak_memory_bytes": max(answer["peak"] for answer in every),
        }
    return records


def clip_records(clips: Sequence[Clip], answers: Answers) -> list[dict[str, Any]]:
    """Every single time, so that other figures can be made of them."""
    return [
        {
            "name": clip.name,
            "length": clip.length,
            "seconds": clip.seconds,
            "times": {
                label: [round(answer["seconds"], 4) for answer in found[place]]
                for label, found in answers.items()
            },
        }
        for place, clip in enumerate(clips)
    ]


def without_folders(text: str) -> str:
    """A message without the folders of this machine."""
    return re.sub(r"(?<![\w:/])/(?:[\w.~-]+/)+", "", text)


def _score(
    clips: Sequence[Clip], found: Sequence[Sequence[Mapping[str, Any]]], language: str
) -> Score:
    texts = [repeats[0]["text"] for repeats in found]
    return list(score_all_ways([clip.text for clip in clips], texts, language).values())[-1]


def _ends(score: Score) -> list[float]:
    interval = wer_interval(score)
    return [interval.low, interval.high]


def _first_token(found: Sequence[Sequence[Mapping[str, Any]]]) -> float | None:
    times = [answer["first_token_seconds"] for repeats in found for answer in repeats]
    known = [each for each in times if each is not None]
    return float(np.median(known)) if known else None


def _tokens(found: Sequence[Sequence[Mapping[str, Any]]]) -> int:
    return sum(int(repeats[0]["tokens"] or 0) for repeats in found)
