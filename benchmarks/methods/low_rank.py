"""Layers of two matrices against heads and FFN units at equal weights: token loss, paired by clip.

    python -m benchmarks.methods.low_rank --run RUN --data PATH/hi_prompts#dev \\
        [--removed 0.2,0.35,0.5]

RUN is a finished run whose tuned model is dense, such as one of preset `dense-tuned`. At each share
of all prunable weights the model is cut twice: heads and FFN units by method `fisher`, made up for
by least squares, and components of its linear layers by method `low_rank`. Both rank by the Fisher
information of their units on the same clips. Nothing is trained; all is fitted to clips of the
run's own training data.
"""

import argparse
from collections.abc import Callable
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
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.families import prunable_total
from whisperslim.core.families.factors import factored
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import plan_to_budget
from whisperslim.core.surgery import low_rank
from whisperslim.core.surgery.compensation import compensated, losing
from whisperslim.core.surgery.shrink import open_matrices
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.narrow import CLIPS
from whisperslim.jobs.stages.train import calibration
from whisperslim.speech.corpus.dataset import load_items, manifest_hash

Cut = Callable[[float], SpeechModel]


def main() -> None:
    """Measure and store."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    run = RunDir(Path(arguments.run))
    context = StageContext(run, run.recipe(), lambda event: None)
    sets = {short(source): load_items(source) for source in arguments.data}
    dense = context.load(str(context.tuned_path / "model"))

    def heard(speech: SpeechModel) -> dict[str, np.ndarray]:
        return {
            name: losses(speech, items, run.recipe().language, context.window)
            for name, items in sets.items()
        }

    before, rows = heard(dense), list[dict[str, Any]]()
    units, found = _units(context, dense, arguments), _components(context, dense, arguments)
    for share in arguments.removed:
        cuts = {"fisher": units(share), "low_rank": found(share)}
        scored = {name: heard(speech) for name, speech in cuts.items()}
        for name in sets:
            rows.append(
                {
                    "target": share,
                    "set": name,
                    "n": len(sets[name]),
                    "dense": per_token(before[name]),
                    **{
                        key: _facts(dense, cuts[key], before[name], scored[key][name])
                        for key in cuts
                    },
                    **change(scored["fisher"][name], scored["low_rank"][name]),
                }
            )
            print(rows[-1], flush=True)
    record = {
        "what": "token loss of layers of two matrices and of fewer units, before any training",
        "provenance": provenance(arguments.threads),
        "run": run.path.name,
        "weights_sha256": dense.info.weights_sha256,
        "clips": {"fit": CLIPS, "information": arguments.clips},
        "window": context.window.describe(),
        "sets": {
            name: {"n": len(items), "manifest_sha256": manifest_hash(items)}
            for name, items in sets.items()
        },
        "rows": rows,
    }
    print(write_result(arguments.out, record))


def _units(context: StageContext, dense: SpeechModel, arguments: argparse.Namespace) -> Cut:
    """Share -> the model without heads and FFN units, made up for."""
    groups = dense.groups()
    scores = unit_scores(context, dense, arguments.clips)
    moments = calibration(context, "benchmark", dense).moments(groups, CLIPS)

    def at(share: float) -> SpeechModel:
        plan = plan_to_budget(scores, groups, share)
        known = {site.key: moments[site.key] for site in losing(groups, plan)}
        return after_cut(dense, compensated(dense.model, groups, plan, known))

    return at


def _components(context: StageContext, dense: SpeechModel, arguments: argparse.Namespace) -> Cut:
    """Share -> the model most of whose layers are two matrices."""
    opened = replace(dense, model=deepcopy(dense.model))
    sites = low_rank.watching(opened.model)
    measure = calibration(context, "benchmark", opened)
    moments = measure.moments(sites, CLIPS, attended=True)
    open_matrices(
        opened.model,
        {s.key: low_rank.components(opened.model, s.key, moments[s.key]) for s in sites},
    )
    groups = opened.groups()
    scores = unit_scores(context, opened, arguments.clips)
    return lambda share: after_cut(opened, plan_to_budget(scores, groups, share))


def _facts(
    dense: SpeechModel, slim: SpeechModel, before: np.ndarray, heard: np.ndarray
) -> dict[str, Any]:
    report = cost_of(slim)
    return {
        "loss": per_token(heard),
        "removed": 1.0 - prunable_total(slim.groups()) / prunable_total(dense.groups()),
        "parameters": report.parameters,
        "operations": report.flops / report.flops_dense,
        "layers_of_two": len(factored(slim.model)),
        "rise": change(before, heard),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--removed", type=numbers, default=[0.2, 0.35, 0.5])
    parser.add_argument("--clips", type=int, default=128, help="clips for the information of units")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="low_rank")
    return parser.parse_args()


if __name__ == "__main__":
    main()
