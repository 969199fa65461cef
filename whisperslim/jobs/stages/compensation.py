"""What stays is fitted to what the cut takes away, on clean clips of the training data."""

from collections.abc import Sequence
from dataclasses import replace

from whisperslim.core.families import UnitSite
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.compensation import compensated, losing
from whisperslim.events import Notice
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.train import calibration


def compensate(
    context: StageContext,
    stage: str,
    tuned: SpeechModel,
    groups: Sequence[UnitSite],
    plan: PruningPlan,
) -> PruningPlan:
    """`plan` with folds, as the recipe's `shrink` asks; the same when it asks for none.

    One pass of the tuned model over the clips serves every site: errors that the cut makes before a
    site are not seen there, and in turn nothing has to be run again from site to site.
    """
    sites = losing(groups, plan)
    if not (context.recipe.shrink.clips and sites) or plan.compensated:
        return plan
    clips = min(context.recipe.shrink.clips, len(context.chosen("train")))
    found = calibration(context, stage, tuned, "the cut").moments(sites, clips)
    fitted = compensated(tuned.model, groups, plan, found)
    context.emit(
        Notice(
            f"what stays of {len(sites)} sub-layers is fitted to what goes, by least squares on "
            f"{clips} training clips"
        )
    )
    return replace(fitted, compensated=clips)
