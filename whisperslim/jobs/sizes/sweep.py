"""The trade-off curve of a run: several sizes cut from one score map, recovered and measured.

`check_sweep` finds what would end a sweep before its first size.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from whisperslim.core.families import family_named
from whisperslim.core.plan.counting import OF_WEIGHTS
from whisperslim.core.plan.files import read_units
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.engines import registry
from whisperslim.errors import PlanError, RecipeError, RunError, UsageError
from whisperslim.events import Event, Notice, Progress
from whisperslim.jobs.grid.mark import marked
from whisperslim.jobs.grid.work import Crew, Follow, require_finished, work_through
from whisperslim.jobs.process.worker import run_worker, signals_ask_to_stop
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.jobs.run.folder import RunDir, list_runs, looks_like_run
from whisperslim.jobs.sizes.curve import Sweep, SweepPoint, read_sweep, write_sweep
from whisperslim.jobs.sizes.derivation import Derivation, read_derivation
from whisperslim.jobs.sizes.derive import derivation_of, derive
from whisperslim.jobs.sizes.measure import (
    conditions,
    data_name,
    latency_clips,
    machine,
    measure,
    point_of,
    same_machine,
    take_time,
)
from whisperslim.jobs.sizes.replan import plan_for
from whisperslim.jobs.sizes.tuned import TunedRun, open_tuned
from whisperslim.jobs.stages.context import StageContext, recipe_threads
from whisperslim.speech.scoring.normalizer import for_language

__all__ = ["DENSE", "Sweep", "SweepPoint", "read_sweep", "sweep"]

DENSE = 0.0  # the target whose point is the uncut tuned model


def sweep(
    run: RunDir,
    targets: Sequence[float],
    recover_steps: int | None = None,
    progress: Callable[[Event], None] = lambda event: None,
) -> Sweep:
    """Derive, cut, recover and measure one model per target, and store the curve as it grows.

    The uncut tuned model, with only the zeros of its training, is always the first point. A point
    measured before is not measured again (except its time on another machine), a half-done derived
    run is continued, and a stop request on `run`, SIGTERM or Ctrl-C ends it cleanly with the points
    so far: after the current training step, or after the current measurement. Points of earlier
    calls stay on the curve as long as recovery and data are the same.

    Args:
        run: Locked until the sweep is over: `whisperslim stop` works on it.
        targets: Shares to remove, counted as the run counts its target.
        recover_steps: Training steps after each cut; None: as in the run's recipe.
        progress: Called with the derived runs' events, and one `Progress` of stage `sweep` per
        point.

    Raises:
        UsageError: no target, or nothing to score on.
        RunError: `run` has no score map or is busy, its disk refuses, or a derived run failed.
        PlanError, RecipeError, CheckpointError: as `replan` does, before anything is derived.
    """
    if not targets:
        raise UsageError("no target; name at least one, for example 0.2")
    with disk_errors(run.path), run.lock(), signals_ask_to_stop(run):
        tuned = open_tuned(run)
        wanted = sorted({DENSE, *(float(target) for target in targets)})
        for target in wanted:
            plan_for(tuned, target, zeroed_at(tuned, target))
        found = _continued(run, _empty(tuned, recover_steps), progress)
        # An existing point is timed here, where no worker has set the threads yet.
        with recipe_threads(tuned.recipe):
            return _grown(tuned, found, wanted, progress)


def make_sizes(
    runs: Sequence[RunDir],
    targets: Sequence[float],
    recover_steps: int | None,
    crew: Crew,
    follow: Follow,
) -> bool:
    """Derive what `sweep` would, of all runs, and have several sizes made at once by `crew`.

    `sweep` then finds them made, and measures. All runs are locked meanwhile, and a stop request on
    any of them, SIGTERM or Ctrl-C stops all sizes. Returns whether every size is made.

    Raises:
        UsageError: the runs are not in one folder.
        RunError: a size could not be made; others are kept. Else as `sweep` does.
    """
    folder = runs[0].path.parent
    if any(run.path.parent != folder for run in runs):
        raise UsageError(
            "runs of several folders were named; name those of one folder, whose sizes can be made "
            "together"
        )
    with disk_errors(folder), ExitStack() as held:
        for run in runs:
            held.enter_context(run.lock())
            held.enter_context(signals_ask_to_stop(run))
        mark = held.enter_context(marked(folder))

        def stop() -> bool:
            return any(run.stop_requested() for run in runs)

        made: list[RunDir] = []
        for run in runs:
            tuned = open_tuned(run)
            found = _continued(run, _empty(tuned, recover_steps), lambda event: None)
            measured = {point.target for point in found.points}
            for target in sorted({DENSE, *map(float, targets)} - measured):
                if stop():
                    return False
                made.append(_derived(tuned, found, target))
        troubles = work_through(made, mark, crew, follow, stop)
        if stop():
            return False
        require_finished(made, troubles)
        return all(run.stage_done("evaluate") for run in made)


def zeroed_at(tuned: TunedRun, target: float) -> float:
    """The share to be zero at a target: the recipe's; 0 at the uncut point."""
    return 0.0 if target == DENSE else tuned.recipe.target.zeroed


def _empty(tuned: TunedRun, recover_steps: int | None) -> Sweep:
    """The curve before its first point: what all points have in common."""
    recipe = tuned.recipe
    context = StageContext(tuned.run, recipe, lambda event: None)
    # Named only where it is not the default, so that curves of older versions continue.
    named = {"runs in": recipe.export.engine, "counted in": recipe.counting.words}
    named["clips fitted on at the cut"] = str(recipe.shrink.clips)
    usual = {"runs in": registry.OWN, "counted in": OF_WEIGHTS, "clips fitted on at the cut": "0"}
    facts = {
        **dict(named.items() - usual.items()),
        "weights_sha256": tuned.scores.weights_sha256,
        "zeroed_target": recipe.target.zeroed,
        **conditions(context, family_named(tuned.facts.model_type)),
        "flops": tuned.facts.workload,
    }
    return Sweep(
        run=tuned.run.name,
        method=tuned.scores.method,
        points=(),
        data=data_name(context),
        normalizer=for_language(recipe.language).name,
        window=context.window.describe(),
        recover_steps=recipe.recover.steps if recover_steps is None else recover_steps,
        provenance=facts,
    )


def _continued(run: RunDir, empty: Sweep, progress: Callable[[Event], None]) -> Sweep:
    """The stored curve if it was measured in the same way, else the empty one."""
    stored = read_sweep(run)
    if stored is None:
        return empty
    if replace(stored, points=()) == empty:
        return stored
    progress(Notice(message="the stored curve was measured in another way; a new one replaces it"))
    return empty


def _grown(
    tuned: TunedRun, found: Sweep, wanted: Sequence[float], progress: Callable[[Event], None]
) -> Sweep:
    for number, target in enumerate(wanted):
        progress(Progress(stage="sweep", what="sizes measured", done=number, total=len(wanted)))
        before = next((point for point in found.points if point.target == target), None)
        point = _point(tuned, found, target, before, progress)
        if point is None:
            return found
        others = [other for other in found.points if other.target != target]
        points = tuple(sorted([*others, point], key=lambda each: each.target))
        found = replace(found, points=points)
        write_sweep(tuned.run, found)
    progress(Progress(stage="sweep", what="sizes measured", done=len(wanted), total=len(wanted)))
    return found


def _point(
    tuned: TunedRun,
    found: Sweep,
    target: float,
    before: SweepPoint | None,
    progress: Callable[[Event], None],
) -> SweepPoint | None:
    """One size, measured; None when the sweep was asked to stop before that."""
    if tuned.run.stop_requested():
        return None
    if before is not None:
        return _timed_here(tuned, before, progress)
    derived = _derived(tuned, found, target)
    # A worker ignores requests from before its start, so they are checked here.
    if tuned.run.stop_requested() or not _worked(tuned.run, derived, progress):
        return None
    if tuned.run.stop_requested():
        return None
    context = StageContext(derived, derived.recipe(), progress)
    return point_of(derived, target, measure(context))


def _timed_here(
    tuned: TunedRun, point: SweepPoint, progress: Callable[[Event], None]
) -> SweepPoint:
    """The point, with its time measured again when the stored one is from another machine."""
    folder = tuned.run.path.parent / point.run
    context = StageContext(tuned.run, tuned.recipe, progress)
    here = machine(context.device)
    if same_machine(point.machine, here) or not looks_like_run(folder):
        return point
    derived = RunDir(folder)
    latency = take_time(StageContext(derived, derived.recipe(), progress))
    place = {**here, "passes": list(latency.passes)}
    return replace(point, latency_seconds=latency.seconds, machine=place)


def _derived(tuned: TunedRun, found: Sweep, target: float) -> RunDir:
    """The run derived for this size: an existing one, else a new one.

    The recipe alone is not enough: a run may have been derived in another currency than the
    method's own.
    """
    zeroed = zeroed_at(tuned, target)
    plan = plan_for(tuned, target, zeroed)
    wanted = derivation_of(tuned, tuned.recipe_for(target, zeroed, found.recover_steps))
    for other in list_runs(tuned.run.path.parent):
        if _is_derived(other, wanted) and _has_plan(other, plan):
            return other
    return derive(tuned.run, target, zeroed, found.recover_steps)


def _has_plan(run: RunDir, plan: PruningPlan) -> bool:
    """Whether the same units stay in the run; False when that cannot be read."""
    try:
        return read_units(run.plan_path).keep == plan.keep
    except PlanError:
        return False


def _is_derived(run: RunDir, wanted: Derivation) -> bool:
    """Whether a run was derived as `wanted` says; False when that cannot be read."""
    try:
        return read_derivation(run) == wanted
    except RunError:
        return False


def _worked(run: RunDir, derived: RunDir, progress: Callable[[Event], None]) -> bool:
    """Do the rest of a derived run; False when it stopped on request."""
    if derived.stage_done("evaluate"):
        return True

    def follow(event: Event) -> None:
        if run.stop_requested():
            derived.request_stop()
        progress(event)

    if run_worker(derived, [follow]):
        raise RunError(
            f"the size could not be made: {derived.name} failed, as {derived.events_path} says; "
            "fix the cause and sweep again: finished sizes are kept"
        )
    return derived.stage_done("evaluate")


def check_sweep(run: RunDir, targets: Sequence[float], recover_steps: int | None = None) -> None:
    """Raise what `sweep` would raise before it derives anything.

    For use before other runs are swept, which takes hours. Whether the run is busy is not checked,
    since it may be free by then.

    Raises:
        UsageError: no recipe of the run may have a target or the recovery, or there is nothing to
            score on.
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
            "choose allowed values"
        ) from error
