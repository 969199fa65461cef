"""What stays is adapted to make up for the cut, on clean clips of the training data."""

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
    """`plan` with folds as the recipe's `shrink` says; unchanged if it says none.

    One pass of the tuned model over the clips serves every site: errors of the cut at earlier sites
    are not seen, but nothing has to be run again for each site.
    """
    sites = losing(groups, plan)
    if not (context.recipe.shrink.clips and sites) or plan.compensated:
        return plan
    clips = min(context.recipe.shrink.clips, len(context.chosen("train")))
    found = calibration(context, stage, tuned, "the cut").moments(sites, clips)
    fitted = compensated(tuned.model, groups, plan, found)
    context.emit(
        Notice(
            f"{len(sites)} sub-layers are adapted to make up for the cut, by least squares on "
            f"{clips} training clips"
        )
    )
    return replace(fitted, compensated=clips)
