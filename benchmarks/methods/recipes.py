"""WER, size and speed of several models on the same evaluation sets, with tests of difference.

    python -m benchmarks.methods.recipes --baseline "dense tuned" \\
        --row "dense untuned=openai/whisper-base" --row "dense tuned=RUN" --row "SGL=RUN" \\
        --data PATH/hi_stories --data PATH/hi_prompts#test

A RUN stands for its slim folder. Every row is scored on every set with the same decoding; latency
is measured one clip at a time, models in turn on the same clip, after all scoring is done.
"""

import argparse

import torch

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
    baseline = results[arguments.baseline]
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
