"""Scores, sizes and speeds of several models on the same clips: what the model tables share."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from benchmarks.shared.provenance import median_and_range
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.loading import SpeechModel
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.machine.places import audio_cache
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.scoring.significance import compare
from whisperslim.speech.scoring.wer import EmptyReferenceScore, Score, UtteranceScore
from whisperslim.train.evaluate import EvalResult, evaluate

SetResults = Mapping[str, EvalResult]
"""Name of an evaluation set -> result."""


def score(
    row: str,
    model: SpeechModel,
    sets: Mapping[str, Sequence[Item]],
    language: str,
    window: WindowPolicy,
) -> dict[str, EvalResult]:
    """One model on every set; a line is printed for each."""
    found = {}
    for name, items in sets.items():
        found[name] = evaluate(
            model,
            items,
            data=name,
            language=language,
            policy=window,
            cache_folder=audio_cache(),
        )
        own = list(found[name].scores.values())[-1]
        print(
            f"{row:16s} {name:12s} n={len(items)} WER {own.wer:.4f} CER {own.cer:.4f}", flush=True
        )
    return found


Scores = Mapping[str, Mapping[str, Score]]
"""Name of an evaluation set -> name of a normalizer -> score."""


def row_record(
    row: str, model: SpeechModel, results: SetResults, baseline: Scores
) -> dict[str, Any]:
    """Scores with their difference from the baseline, and cost, as plain values."""
    sets: dict[str, Any] = {}
    for name, result in results.items():
        record = result.to_record()
        for normalizer, own in result.scores.items():
            against = baseline[name][normalizer]
            record["scores"][normalizer]["against_baseline"] = compare(against, own).to_record()
        sets[name] = record
    cost = cost_of(model).to_record()
    cost.pop("rows")
    cost["name"] = row  # not the folder of whoever measured
    return {"weights_sha256": model.info.weights_sha256, "sets": sets, "cost": cost}


def utterances(results: SetResults) -> dict[str, Any]:
    """What `stored_scores` needs beside a row's record, to compare other models with it later."""
    return {
        name: {way: [list(vars(u).values()) for u in own.utterances]
               for way, own in result.scores.items()}
        for name, result in results.items()
    }  # fmt: skip


def stored_scores(row: Mapping[str, Any]) -> dict[str, dict[str, Score]]:
    """The scores of a stored row that has its `utterances`, clip by clip."""
    known = {field.name for field in fields(Score)}
    found: dict[str, dict[str, Score]] = {}
    for name, ways in row["utterances"].items():
        found[name] = {}
        for way, listed in ways.items():
            record = row["sets"][name]["scores"][way]
            values = {key: value for key, value in record.items() if key in known}
            values["hallucinated"] = EmptyReferenceScore(**values["hallucinated"])
            values["utterances"] = tuple(UtteranceScore(*each) for each in listed)
            found[name][way] = Score(**values)
    return found


def latency(
    models: Mapping[str, SpeechModel],
    items: Sequence[Item],
    clips: int,
    language: str,
    window: WindowPolicy,
) -> dict[str, Any]:
    """Seconds per clip, one clip at a time, the models in turn on the same clip."""
    engines = {row: TorchTranscriber(model, window) for row, model in models.items()}
    audios = [decode(item.path) for item in spread(items, clips)]
    times: dict[str, list[float]] = {row: [] for row in engines}
    for engine in engines.values():
        engine.transcribe(audios[0], language)
    for audio in audios:
        for row, engine in engines.items():
            times[row].append(engine.transcribe(audio, language).seconds)
    audio_seconds = sum(len(audio) for audio in audios) / 16_000
    return {
        "engine": f"torch fp32, window {window.describe()}, greedy, one clip at a time",
        "clips": len(audios),
        "audio_seconds": audio_seconds,
        "seconds_per_clip": {row: median_and_range(values) for row, values in times.items()},
        "real_time_factor": {row: sum(values) / audio_seconds for row, values in times.items()},
    }


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` items from all over the list."""
    step = max(1, len(items) // max(1, count))
    return list(items[::step])[:count]


def short(source: str) -> str:
    """The name of a set without the folders of this machine."""
    return source.rstrip("/").rsplit("/", 1)[-1]
