"""What would end a sweep before its first size, found out without beginning one."""

from collections.abc import Sequence

from whisperslim.errors import RecipeError, UsageError
from whisperslim.jobs.curve import read_sweep
from whisperslim.jobs.measure import data_name, latency_clips
from whisperslim.jobs.replan import plan_for
from whisperslim.jobs.rundir import RunDir
from whisperslim.jobs.stage_context import StageContext
from whisperslim.jobs.sweep import DENSE, zeroed_at
from whisperslim.jobs.tuned import TunedRun, open_tuned


def check_sweep(run: RunDir, targets: Sequence[float], recover_steps: int | None = None) -> None:
    """Raise what `sweep` would raise before it derives anything.

    For the time before other runs are swept: their sizes take hours. That the run is busy is not
    looked at, for it may be free by then.

    Raises:
        UsageError: no recipe of the run may ask for a target or the recovery, or there is nothing
            to score on.
        RunError, PlanError, CheckpointError, DataError: as `sweep` does.
    """
    tuned = open_tuned(run)
    for target in (DENSE, *targets):
        _check_size(tuned, target, recover_steps)
    context = StageContext(run, tuned.recipe, lambda event: None)
    data_name(context)
    latency_clips(context)
    read_sweep(run)


def _check_size(tuned: TunedRun, target: float, recover_steps: int | None) -> None:
    zeroed = zeroed_at(tuned, target)
    try:
        plan_for(tuned, target, zeroed)
        tuned.recipe_for(target, zeroed, recover_steps)
    except RecipeError as error:
        problems = "; ".join(f"{name}: {problem}" for name, problem in error.problems.items())
        raise UsageError(
            f"{tuned.run.name} cannot be swept at {target:g}: {problems}. Leave the run out, or "
            "ask for what its recipe may say"
        ) from error
