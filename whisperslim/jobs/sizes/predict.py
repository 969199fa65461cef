"""A first estimate of the error rate at another size: cut, not recovered, on a few dev clips."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from whisperslim.core.disk.untrusted import read_json, record_of
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.run.disk import write_text_checked
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.scoring.evaluation import choose
from whisperslim.jobs.sizes.derive import zeros_for
from whisperslim.jobs.sizes.replan import plan_for
from whisperslim.jobs.sizes.tuned import TunedRun, open_tuned
from whisperslim.jobs.stages.compensation import compensate
from whisperslim.jobs.stages.context import StageContext
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.scoring.significance import wer_interval


@dataclass(frozen=True)
class Prediction:
    """Word error rate right after the cut; recovery training would lower it.

    Attributes:
        removed, zeroed: Targets, shares of the tuned model's prunable weights.
        wer, cer: On the clips, fractions of 1.
        low, high: 95 % bootstrap interval of `wer`.
        n: Clips scored.
        data: Which clips, as text.
        normalizer, window, language, decoding: What the figures depend on.
        weights_sha256: Of the tuned weights that were cut.
        compensated: Clips for the fit at the cut; 0: no fit.
        seconds: Wall time, loading included.
    """

    removed: float
    zeroed: float
    wer: float
    cer: float
    low: float
    high: float
    n: int
    data: str
    normalizer: str
    window: str
    language: str
    decoding: str
    weights_sha256: str
    seconds: float
    compensated: int = 0


def predict(
    run: RunDir, removed: float, zeroed: float | None = None, clips: int = 16
) -> Prediction:
    """Cut the tuned model in memory and score `clips` dev clips. `store_prediction` keeps it.

    Raises:
        UsageError: the run has no dev set, or `clips` is not positive.
        RunError, PlanError, RecipeError, CheckpointError: as `replan` does.
    """
    if clips < 1:
        raise UsageError(f"{clips} clips: at least one is needed for a prediction")
    started = time.perf_counter()
    tuned = open_tuned(run)
    recipe = tuned.recipe_for(removed, zeroed)
    plan = plan_for(tuned, removed, zeroed)
    context = StageContext(run, recipe, lambda event: None)
    items = _clips(context, clips)
    result = context.evaluate("prediction", "cut", _cut(context, tuned, plan), items, "dev")
    score = result.headline
    interval = wer_interval(score)
    return Prediction(
        removed=recipe.target.removed,
        zeroed=recipe.target.zeroed,
        wer=score.wer,
        cer=score.cer,
        low=interval.low,
        high=interval.high,
        n=result.n,
        data=f"{result.n} clips of the dev set, drawn with seed {recipe.runtime.seed}",
        normalizer=score.normalizer,
        window=result.window,
        language=result.language,
        decoding=result.decoding,
        weights_sha256=tuned.scores.weights_sha256,
        seconds=time.perf_counter() - started,
        compensated=recipe.shrink.clips,
    )


def store_prediction(run: RunDir, found: Prediction) -> None:
    """Store the result of `predict` for `stored_prediction`. Raises `RunError` as the disk
    refuses.
    """
    text = json.dumps(asdict(found), ensure_ascii=False, indent=1, allow_nan=False)
    write_text_checked(_path(run, found.removed, found.zeroed), text)


def stored_prediction(
    run: RunDir, removed: float, zeroed: float | None = None
) -> Prediction | None:
    """The stored prediction for these targets; None without one, for other tuned weights, or with
    another `shrink`.

    Raises `RunError` when the file is damaged, and as `open_tuned` does.
    """
    tuned = open_tuned(run)
    recipe = tuned.recipe_for(removed, zeroed)
    path = _path(run, recipe.target.removed, recipe.target.zeroed)
    if not path.is_file():
        return None
    try:
        found: Prediction = record_of(Prediction, read_json(path, run.path))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); delete it and predict again") from error
    same = found.weights_sha256 == tuned.scores.weights_sha256
    return found if same and found.compensated == recipe.shrink.clips else None


def _path(run: RunDir, removed: float, zeroed: float) -> Path:
    return run.path / "predictions" / f"{removed:.4f}-{zeroed:.4f}.json"


def _clips(context: StageContext, limit: int) -> list[Item]:
    items = choose(context.chosen("dev"), limit, context.recipe.runtime.seed)
    if not items:
        raise UsageError(
            f"the run {context.run.name} has no dev set, and test data must not steer the choice "
            "of a size; set data.dev or data.dev_fraction in a new run"
        )
    return items


def _cut(context: StageContext, tuned: TunedRun, plan: PruningPlan) -> SpeechModel:
    loaded = context.load(str(tuned.folder))
    tuned.scores.check_scored(loaded.info.weights_sha256)
    groups = loaded.groups()
    plan = zeros_for(tuned, plan, context.recipe.target.zeroed, loaded)
    plan = compensate(context, "prediction", loaded, groups, plan)
    cut(loaded.model, groups, plan)
    return loaded
