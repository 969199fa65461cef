"""What narrower heads are worth, before any training: token loss, paired by clip.

    python -m benchmarks.methods.head_width --run RUN --data PATH/hi_prompts#dev \\
        [--means 56,48,40,32] [--removed 0.5,0.65]

RUN is a run with a dense model: what its compression starts from is measured. First its heads alone
are narrowed to each mean width. Then equal shares of all prunable weights are removed in all, with
and without narrower heads: the rest by the Fisher information of the units of the narrowed model,
per weight, made up for by least squares. All is fitted to clips of the run's own training data.
"""

import argparse
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.methods.compensation import after_cut, change, losses, per_token, unit_scores
from benchmarks.shared.arguments import numbers
from benchmarks.shared.provenance import provenance, write_result
from benchmarks.shared.scoring import short
from whisperslim.core.families import prunable_total
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import plan_to_budget
from whisperslim.core.surgery.head_width import SortedHeads, choose_widths, sorted_heads, watching
from whisperslim.core.surgery.shrink import narrow_heads, narrowing
from whisperslim.jobs.recipe.recipe import with_values
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.compensation import compensate
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.narrow import CLIPS
from whisperslim.jobs.stages.train import calibration
from whisperslim.speech.corpus.dataset import load_items, manifest_hash

Losses = Mapping[str, np.ndarray]


def main() -> None:
    """Measure and store."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    run = RunDir(Path(arguments.run))
    recipe = with_values(run.recipe(), {"shrink.compensate": True})
    context = StageContext(run, recipe, lambda event: None)
    sets = {short(source): load_items(source) for source in arguments.data}
    dense = context.load(context.start)

    def heard(speech: SpeechModel) -> dict[str, np.ndarray]:
        return {
            name: losses(speech, items, recipe.language, context.window)
            for name, items in sets.items()
        }

    sites = narrowing(dense.model).attentions(dense.model)
    measure = calibration(context, "benchmark", dense)
    moments = measure.moments(watching(sites), CLIPS, attended=True)
    found = [sorted_heads(dense.model, site, moments) for site in sites]
    before, rows = heard(dense), list[dict[str, Any]]()
    for mean in arguments.means:
        narrowed, widths = _narrowed(dense, found, mean)
        facts = {"mean": mean, "widths": widths, "removed": _removed(dense, narrowed)}
        rows += [{**facts, **row} for row in _compared(before, heard(narrowed))]
        print(rows[-len(sets) :], flush=True)
    cuts = []
    for mean in (0, *arguments.with_units):
        start = _narrowed(dense, found, mean)[0] if mean else dense
        groups = start.groups()
        scores = unit_scores(context, start, arguments.clips)
        gone = _removed(dense, start)
        for total in arguments.removed:
            plan = plan_to_budget(scores, groups, (total - gone) / (1.0 - gone))
            fitted = compensate(context, "benchmark", start, groups, plan)
            slim = after_cut(start, fitted)
            facts = {"mean": mean, "target": total, "removed": _removed(dense, slim)}
            cuts += [{**facts, **row} for row in _compared(before, heard(slim))]
            print(cuts[-len(sets) :], flush=True)
    record = {
        "what": "token loss with narrower heads, before any training",
        "provenance": provenance(arguments.threads),
        "run": run.path.name,
        "weights_sha256": dense.info.weights_sha256,
        "clips": {"heads": CLIPS, "units": arguments.clips},
        "window": context.window.describe(),
        "sets": {
            name: {"n": len(items), "manifest_sha256": manifest_hash(items)}
            for name, items in sets.items()
        },
        "heads": rows,
        "heads_and_units": cuts,
    }
    print(write_result(arguments.out, record))


def _narrowed(
    dense: SpeechModel, found: Sequence[SortedHeads], mean: float
) -> tuple[SpeechModel, dict[str, int]]:
    widths, model = choose_widths(found, mean), deepcopy(dense.model)
    narrow_heads(model, found, widths)
    return replace(dense, model=model), widths


def _removed(dense: SpeechModel, slim: SpeechModel) -> float:
    return 1.0 - prunable_total(slim.groups()) / prunable_total(dense.groups())


def _compared(dense: Losses, slim: Losses) -> list[dict[str, Any]]:
    """By set: losses per token, slim minus dense, and its 95 % bootstrap interval over clips."""
    return [
        {
            "set": name,
            "n": len(before),
            "dense": per_token(before),
            "slim": per_token(slim[name]),
            **change(before, slim[name]),
        }
        for name, before in dense.items()
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--means", type=numbers, default=[56, 48, 40, 32])
    parser.add_argument("--with-units", type=numbers, default=[48, 40])
    parser.add_argument("--removed", type=numbers, default=[0.5, 0.65])
    parser.add_argument("--clips", type=int, default=256, help="clips for the information of units")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="head_width")
    return parser.parse_args()


if __name__ == "__main__":
    main()
