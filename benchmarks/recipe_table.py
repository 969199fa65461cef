"""WER, size and speed of several models on the same evaluation sets, with tests of difference.

    python -m benchmarks.recipe_table --baseline "dense tuned" \\
        --row "dense untuned=openai/whisper-base" --row "dense tuned=RUN" --row "SGL=RUN" \\
        --data PATH/hi_stories --data PATH/hi_prompts#test

A RUN stands for its slim folder. Every row is scored on every set with the same decoding; latency
is measured one clip at a time, models in turn on the same clip, after all scoring is done.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.provenance import median_and_range, provenance, write_result
from whisperslim.core.cost import cost_of
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.places import audio_cache
from whisperslim.speech.audio import decode
from whisperslim.speech.dataset import Item, load_items
from whisperslim.speech.significance import compare
from whisperslim.speech.window import parse_window
from whisperslim.train.evaluate import EvalResult, evaluate

Results = dict[str, dict[str, EvalResult]]


def main() -> None:
    """Score, compare, time and store."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    names = dict(row.split("=", 1) for row in arguments.row)
    sets = {_short(source): load_items(source) for source in arguments.data}
    if arguments.limit:
        sets = {name: items[: arguments.limit] for name, items in sets.items()}
    models = {row: load_model(model) for row, model in names.items()}
    results = {row: _score(row, model, sets, arguments) for row, model in models.items()}
    record = {
        "what": "word error rate by set and normaliser; size; latency one clip at a time",
        "baseline": arguments.baseline,
        "note": arguments.note,
        "rows": {row: _row(row, models[row], results, arguments.baseline) for row in models},
        "latency": _latency(models, sets, arguments),
        **provenance(arguments.threads),
    }
    print(write_result(arguments.out, record))


def _score(
    row: str, model: SpeechModel, sets: dict[str, list[Item]], arguments: argparse.Namespace
) -> dict[str, EvalResult]:
    found = {}
    for name, items in sets.items():
        found[name] = evaluate(
            model,
            items,
            data=name,
            language=arguments.language,
            policy=parse_window(arguments.window),
            cache_folder=audio_cache(),
        )
        score = list(found[name].scores.values())[-1]
        print(f"{row:16s} {name:12s} n={len(items)} WER {score.wer:.4f} CER {score.cer:.4f}")
    return found


def _row(row: str, model: SpeechModel, results: Results, baseline: str) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for name, result in results[row].items():
        record = result.to_record()
        for normaliser, score in result.scores.items():
            against = results[baseline][name].scores[normaliser]
            record["scores"][normaliser]["against_baseline"] = compare(against, score).to_record()
        sets[name] = record
    cost = cost_of(model).to_record()
    cost.pop("rows")
    cost["name"] = row  # not the folder of whoever measured
    return {"weights_sha256": model.info.weights_sha256, "sets": sets, "cost": cost}


def _latency(
    models: dict[str, SpeechModel], sets: dict[str, list[Item]], arguments: argparse.Namespace
) -> dict[str, Any]:
    window = parse_window(arguments.window)
    engines = {row: TorchTranscriber(model, window) for row, model in models.items()}
    clips = _spread([item for items in sets.values() for item in items], arguments.latency_clips)
    audios = [decode(item.path) for item in clips]
    times: dict[str, list[float]] = {row: [] for row in engines}
    for engine in engines.values():
        engine.transcribe(audios[0], arguments.language)
    for audio in audios:
        for row, engine in engines.items():
            times[row].append(engine.transcribe(audio, arguments.language).seconds)
    audio_seconds = sum(len(audio) for audio in audios) / 16_000
    return {
        "engine": f"torch fp32, window {window.describe()}, greedy, one clip at a time",
        "clips": len(audios),
        "audio_seconds": audio_seconds,
        "seconds_per_clip": {row: median_and_range(values) for row, values in times.items()},
        "real_time_factor": {row: sum(values) / audio_seconds for row, values in times.items()},
    }


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    step = max(1, len(items) // max(1, count))
    return list(items[::step])[:count]


def _short(source: str) -> str:
    return source.rstrip("/").rsplit("/", 1)[-1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", action="append", required=True, metavar="NAME=MODEL")
    parser.add_argument("--baseline", required=True, help="row the others are tested against")
    parser.add_argument("--data", action="append", required=True, metavar="PATH[#SPLIT]")
    parser.add_argument("--language", default="hi")
    parser.add_argument("--window", default="fit", choices=("fit", "30s"))
    parser.add_argument("--limit", type=int, default=0, help="clips of each set; 0 is all")
    parser.add_argument("--latency-clips", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="recipe_table")
    parser.add_argument("--note", default="", help="free text stored with the record")
    arguments = parser.parse_args()
    if arguments.baseline not in [row.split("=", 1)[0] for row in arguments.row]:
        parser.error(f"the baseline {arguments.baseline!r} is not among the rows")
    return arguments


if __name__ == "__main__":
    main()
