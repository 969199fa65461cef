"""The effect of fitting the kept weights at the cut, before recovery: token loss, paired by clip.

    python -m benchmarks.methods.compensation --run RUN --data PATH/hi_prompts#dev \\
        [--targets 0.35,0.5,0.65]

RUN is a finished run with scores for its units, such as one of `benchmarks.method_table`. Its
tuned model is cut to each target twice from the same plan: as it is, and with the weights that stay
fitted by least squares on clips of the run's own training data. Nothing is trained.
"""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.shared.arguments import numbers
from benchmarks.shared.provenance import provenance, write_result
from benchmarks.shared.scoring import short
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan, Scores
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import UsageError
from whisperslim.jobs.recipe.recipe import with_values
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.replan import plan_for
from whisperslim.jobs.sizes.tuned import open_tuned
from whisperslim.jobs.stages.compensation import compensate
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.train import calibration
from whisperslim.machine.places import audio_cache
from whisperslim.methods.shared.units import per_weight
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.batching import make_batch
from whisperslim.speech.corpus.dataset import Item, load_items, manifest_hash
from whisperslim.train.forward import decode_targets, encode_batch, targets_of

_RESAMPLES = 10_000


def main() -> None:
    """Measure and store."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    run = RunDir(Path(arguments.run))
    tuned = open_tuned(run)
    # Whatever the run itself did at its cut: it may be older than the fitting.
    asked = {"shrink.compensate": True, "shrink.compensate_clips": arguments.clips}
    context = StageContext(run, with_values(tuned.recipe, asked), lambda event: None)
    loaded = context.load(str(tuned.folder))
    sets = {short(source): load_items(source) for source in arguments.data}
    language, window = tuned.recipe.language, context.window
    dense = {name: losses(loaded, items, language, window) for name, items in sets.items()}
    rows: list[dict[str, Any]] = []
    for target in arguments.targets:
        plan = plan_for(tuned, target, 0.0)
        fitted = compensate(context, "benchmark", loaded, loaded.groups(), plan)
        if not fitted.compensated:
            raise UsageError(
                f"{run.path.name} holds a plan that is fitted already, or cuts nothing"
            )
        models = {"cut": after_cut(loaded, plan), "fitted": after_cut(loaded, fitted)}
        for name, items in sets.items():
            found = {key: losses(each, items, language, window) for key, each in models.items()}
            row = {"target": target, "removed": plan.removed, "set": name}
            rows.append({**row, **_compared(dense[name], found["cut"], found["fitted"])})
            print(rows[-1], flush=True)
    record = {
        "provenance": provenance(arguments.threads),
        "run": run.path.name,
        "method": tuned.recipe.method,
        "weights_sha256": tuned.scores.weights_sha256,
        "clips": fitted.compensated,
        "window": window.describe(),
        "sets": {
            name: {"n": len(items), "manifest_sha256": manifest_hash(items)}
            for name, items in sets.items()
        },
        "rows": rows,
    }
    print(write_result(arguments.out, record))


@torch.no_grad()
def losses(
    speech: SpeechModel, items: Sequence[Item], language: str, window: WindowPolicy
) -> np.ndarray:
    """Loss summed over each clip's target tokens, and their number: `(clips, 2)` float64."""
    cache, rows = AudioCache(audio_cache()), []
    speech.model.eval()
    for item in items:
        audio = cache.load(item)
        batch = make_batch([item], [audio], window, input_spec=speech.input_spec)
        targets = targets_of(speech, batch, language)
        outputs = decode_targets(speech, encode_batch(speech, batch), targets)
        tokens = len(outputs.targets)
        rows.append((float(outputs.cross_entropy) * tokens, tokens))
    return np.array(rows)


def after_cut(speech: SpeechModel, plan: PruningPlan) -> SpeechModel:
    """Another model that is what the plan leaves of this one."""
    model = deepcopy(speech.model)
    cut(model, speech.groups(), plan)
    return replace(speech, model=model)


def unit_scores(context: StageContext, speech: SpeechModel, clips: int) -> Scores:
    """Fisher information per weight of a model's units, as the methods rank them."""
    groups = speech.groups()
    measure = calibration(context, "benchmark", speech)
    return per_weight(measure.information(groups, clips), groups)


def _compared(dense: np.ndarray, plain: np.ndarray, fitted: np.ndarray) -> dict[str, Any]:
    """Losses per token, and fitted minus plain with its 95 % bootstrap interval over clips."""
    return {
        "dense": per_token(dense),
        "cut": per_token(plain),
        "fitted": per_token(fitted),
        **change(plain, fitted),
        "n": len(plain),
    }


def per_token(found: np.ndarray) -> float:
    """Of `losses`: the loss of a token of the transcripts."""
    return float(found[:, 0].sum() / found[:, 1].sum())


def change(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Of `losses` of the same clips: after minus before, per token, with its 95 % interval."""
    tokens, difference = before[:, 1], after[:, 0] - before[:, 0]
    drawn = np.random.default_rng(0).integers(0, len(tokens), (_RESAMPLES, len(tokens)))
    redrawn = difference[drawn].sum(1) / tokens[drawn].sum(1)
    low, high = np.quantile(redrawn, (0.025, 0.975))
    return {
        "difference": float(difference.sum() / tokens.sum()),
        "low": float(low),
        "high": float(high),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--run", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--targets", type=numbers, default=[0.35, 0.5, 0.65])
    parser.add_argument("--clips", type=int, default=64, help="training clips the fit reads")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="compensation")
    return parser.parse_args()


if __name__ == "__main__":
    main()
