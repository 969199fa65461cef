"""WER, size and speed of several models on the same evaluation sets, with tests of difference.

    python -m benchmarks.methods.recipes --baseline "dense tuned" \\
        --row "dense untuned=openai/whisper-base" --row "dense tuned=RUN" --row "SGL=RUN" \\
        --data PATH/hi_stories --data PATH/hi_prompts#test

A RUN stands for its slim folder. Every row is scored on every set with the same decoding; latency
is measured one clip at a time, models in turn on the same clip, after all scoring is done.
"""

import argparse

import torch

from benchmarks.shared.arguments import parsed, rows_and_sets
from benchmarks.shared.provenance import provenance, write_result
from benchmarks.shared.scoring import latency, row_record, score, short
from whisperslim.core.loading import load_model
from whisperslim.speech.audio.window import parse_window
from whisperslim.speech.corpus.dataset import load_items


def main() -> None:
    """Score, compare, time and store."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    names = dict(row.split("=", 1) for row in arguments.row)
    sets = {short(source): load_items(source) for source in arguments.data}
    if arguments.limit:
        sets = {name: items[: arguments.limit] for name, items in sets.items()}
    window, language = parse_window(arguments.window), arguments.language
    models = {row: load_model(model) for row, model in names.items()}
    results = {row: score(row, model, sets, language, window) for row, model in models.items()}
    baseline = {name: each.scores for name, each in results[arguments.baseline].items()}
    every = [item for items in sets.values() for item in items]
    record = {
        "what": "word error rate by set and normalizer; size; latency one clip at a time",
        "baseline": arguments.baseline,
        "note": arguments.note,
        "rows": {
            row: row_record(row, model, results[row], baseline) for row, model in models.items()
        },
        "latency": latency(models, every, arguments.latency_clips, language, window),
        **provenance(arguments.threads),
    }
    print(write_result(arguments.out, record))


def _arguments() -> argparse.Namespace:
    parser = rows_and_sets(__doc__, "recipe_table")
    parser.add_argument("--latency-clips", type=int, default=20)
    return parsed(parser)


if __name__ == "__main__":
    main()
