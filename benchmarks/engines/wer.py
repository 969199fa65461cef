"""WER and size of a model as its engines run it, on whole evaluation sets, against the dense model.

    python -m benchmarks.engines.wer --baseline "dense tuned" --row "dense tuned=RUN" \\
        --row "slim=FOLDER" --row "ONNX int8=EXPORT" \\
        --data PATH/hi_stories --data PATH/hi_prompts#test

A RUN stands for its slim folder, an EXPORT runs in its own engine. No clock is read: for times see
benchmarks.systems.side_by_side, which takes fewer recordings and the systems in turn. `--keep ROW`
takes a row of a model that is not at hand any more from the stored record, whose baseline must be
the same weights with the same score.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks.shared.arguments import parsed, rows_and_sets
from benchmarks.shared.provenance import RESULTS, provenance, write_result
from benchmarks.shared.scoring import short
from whisperslim.jobs.scoring.evaluation import Evaluation, evaluate_model
from whisperslim.speech.scoring.significance import compare


def main() -> None:
    """Score, compare and store."""
    parser = rows_and_sets(__doc__, "engine_table")
    parser.add_argument("--keep", action="append", default=[], metavar="NAME", help="a stored row")
    arguments = parsed(parser)
    path = RESULTS / f"{arguments.out}.json"
    stored = json.loads(path.read_text("utf-8")) if arguments.keep else {}
    torch.set_num_threads(arguments.threads)
    names = dict(row.split("=", 1) for row in arguments.row)
    baseline = _score(arguments.baseline, names[arguments.baseline], arguments)
    first = _record(arguments.baseline, baseline, baseline)
    kept = kept_rows(stored, first, arguments.keep)
    rows = {
        row: first
        if row == arguments.baseline
        else _record(row, _score(row, model, arguments), baseline)
        for row, model in names.items()
    }
    record = {
        "what": "word error rate by engine and set, and size",
        "baseline": arguments.baseline,
        "note": arguments.note,
        "rows": {**rows, **kept},
        **provenance(threads=arguments.threads),
    }
    print(write_result(arguments.out, record))


def kept_rows(
    stored: Mapping[str, Any], baseline: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """Rows of a stored record, each with when and at which commit it was made.

    Exits when the stored record was scored against another baseline than `baseline`.
    """
    if not names:
        return {}
    before, now = stored["rows"][stored["baseline"]], json.loads(json.dumps(baseline))
    if any(before[part] != now[part] for part in ("weights_sha256", "sets")):
        raise SystemExit("the stored baseline is another model, or scored on other sets")
    lacking = [name for name in names if name not in stored["rows"]]
    if lacking:
        raise SystemExit(f"no stored row is called {lacking[0]!r}")
    made = {key: stored[key] for key in ("date", "commit", "processor")}
    return {name: {"made": made, **stored["rows"][name]} for name in names}


def _score(row: str, model: str, arguments: argparse.Namespace) -> dict[str, Evaluation]:
    sets = {}
    for data in arguments.data:
        done = evaluate_model(
            model, data, language=arguments.language, window=arguments.window, limit=arguments.limit
        )
        own = done.result.headline
        print(f"{row:24s} {short(data):16s} n={done.result.n} WER {own.wer:.4f}", flush=True)
        sets[short(data)] = done
    return sets


def _record(
    row: str, sets: dict[str, Evaluation], baseline: dict[str, Evaluation]
) -> dict[str, Any]:
    facts = next(iter(sets.values())).provenance
    kept = ("parameters", "bytes_on_disk", "weights_sha256", "engine", "quantize", "precision")
    return {
        "name": row,  # not the folder of whoever measured
        **{name: facts[name] for name in kept if name in facts},
        "sets": {name: _set_record(name, done, baseline[name]) for name, done in sets.items()},
    }


def _set_record(name: str, done: Evaluation, baseline: Evaluation) -> dict[str, Any]:
    record = done.to_record()
    kept = ("n", "audio_seconds", "window", "decoding", "language", "manifest_sha256", "normalizer")
    score = record["scores"][record["normalizer"]]
    against = compare(baseline.result.headline, done.result.headline).to_record()
    facts = {key: record[key] for key in kept}
    return {"data": name, **facts, "score": score, "against_baseline": against}


if __name__ == "__main__":
    main()
