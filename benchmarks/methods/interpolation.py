"""The two models that come with the project on the way back to the weights before tuning.

    python -m benchmarks.methods.interpolation --data PATH/hi_stories --data PATH/hi_prompts#test

No training: each is mixed with the stock Whisper-base, cut alike, at several shares of the way
(WiSE-FT, Wortsman et al., arXiv 2109.01903), and scored. The slim model must have heads of their
full width, as the one had that was scored for docs/measured.md; its commit is in the record.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.shared.provenance import provenance, write_result
from benchmarks.shared.scoring import score, short
from benchmarks.training.boxed_start import NAME, boxed_weights
from whisperslim.jobs.stages.interpolate import SHARES
from whisperslim.speech.audio.window import parse_window
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.speech.scoring.significance import compare
from whisperslim.train.evaluate import EvalResult

MODELS = {"dense": NAME, "slim": "whisperslim/base-hi"}


def main() -> None:
    """Score every share of both models and store the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", action="append", required=True, metavar="PATH[#SPLIT]")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="interpolation")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sets = {short(source): load_items(source) for source in arguments.data}
    with tempfile.TemporaryDirectory() as place:
        rows = {
            row: found
            for label, name in MODELS.items()
            for row, found in _rows(label, name, Path(place) / label, sets).items()
        }
    record = {
        "what": "WER between the weights before tuning and the tuned ones",
        "rows": rows,
        **provenance(arguments.threads),
    }
    print(write_result(arguments.out, record))


def _rows(label: str, name: str, place: Path, sets: dict[str, Any]) -> dict[str, Any]:
    place.mkdir()
    boxed, window = boxed_weights(name, place), parse_window("fit")
    rows: dict[str, Any] = {}
    tuned: dict[str, EvalResult] = {}
    for share in sorted(SHARES, reverse=True):
        row = f"{label} {share:g}"
        results = score(row, boxed.at(share), sets, "hi", window)
        tuned = tuned or results
        records = {set_name: result.to_record() for set_name, result in results.items()}
        for set_name, result in results.items():
            for normalizer, own in result.scores.items():
                against = compare(tuned[set_name].scores[normalizer], own).to_record()
                records[set_name]["scores"][normalizer]["against_baseline"] = against
        rows[row] = {"label": label, "share": share, "sets": records}
    return rows


if __name__ == "__main__":
    main()
