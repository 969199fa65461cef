"""What the Trade-off tab can do: plain functions on a context, so that tests need no page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whisperslim.core.disk.weight_files import read_head
from whisperslim.core.plan.arithmetic import rounded_down
from whisperslim.errors import UsageError
from whisperslim.jobs.process import background, queue
from whisperslim.jobs.process.background import Background
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.curve import Sweep, curve_path, read_sweep
from whisperslim.jobs.sizes.derivation import MARKER
from whisperslim.jobs.sizes.planned import is_planned, read_planned
from whisperslim.ui.context.context import AppContext, warn_when_busy
from whisperslim.ui.context.limits import check_commands, check_runs
from whisperslim.ui.sparsity.layers import LayerRow, layer_rows

if TYPE_CHECKING:  # plain values, but their modules load torch
    from whisperslim.jobs.sizes.predict import Prediction
    from whisperslim.jobs.sizes.replan import Replan

PREDICT, SWEEP = "prediction", "sweep"
MOST_TARGETS = 12
_NO_METHOD = "none"
_MOST_STEPS = 1_000_000
_EXAMPLE = "for example 0.2, 0.5"
_FIRST_TARGETS = (0.2, 0.35, 0.5, 0.65)


@dataclass(frozen=True)
class Sizes:
    """Initial values of the controls for one run: its own targets, within its range.

    `counted_in` says what `removed` is a share of.
    """

    low: float
    high: float
    removed: float
    zeroed: float
    recover_steps: int
    targets: str
    counted_in: str


def resizable_names(context: AppContext) -> list[str]:
    """Runs whose score map another size can be planned from, newest first."""
    listed = [run for run, _ in context.watch.listed() if is_planned(run)]
    return [run.name for run in listed if _scored_by(run) != _NO_METHOD]


def first_choice(context: AppContext) -> str | None:
    """The newest run that is not derived from another; a derived one when there is no other."""
    names = resizable_names(context)
    own = [name for name in names if not (context.runs / name / MARKER).is_file()]
    return next(iter([*own, *names]), None)


def swept_names(context: AppContext) -> list[str]:
    """Runs that have a curve, newest first."""
    listed = [run for run, _ in context.watch.listed()]
    return [run.name for run in listed if curve_path(run).is_file()]


def sizes(context: AppContext, name: object) -> Sizes:
    """What the controls show for a run. Raises `RunError`, `UsageError` or `CheckpointError`."""
    run = context.watch.open(name)
    recipe = run.recipe()
    if recipe.method == _NO_METHOD:
        raise UsageError(
            f"{run.name} was tuned by method {_NO_METHOD}, which prunes nothing: its scores are "
            "all alike, and no other size can be planned from them; choose a run of another method"
        )
    low, high = context.resizing.reachable_range(run)
    # Whole hundredths within reach, so that every stop of the slider is allowed.
    low, high = math.ceil(100 * low - 1e-9) / 100, math.floor(100 * high + 1e-9) / 100
    removed = min(max(recipe.target.removed, low), high)
    first = ", ".join(f"{target:g}" for target in _FIRST_TARGETS if low <= target <= high)
    zeroed, steps = recipe.target.zeroed, recipe.recover.steps
    return Sizes(low, high, removed, zeroed, steps, first, recipe.counting.words)


def planned(
    context: AppContext, name: object, removed: object, zeroed: object
) -> "tuple[Replan, tuple[LayerRow, ...]]":
    """A run at another size, and its layers beside those of the run's own plan."""
    run = context.watch.open(name)
    plan = context.resizing.replan(run, *_shares(removed, zeroed))
    return plan, layer_rows(read_planned(run), context.zeroed_in(run), plan.plan)


def predict_arguments(run: RunDir, removed: object, zeroed: object) -> list[str]:
    """The command that predicts the error at a size."""
    gone, zeros = _shares(removed, zeroed)
    sizes = ["--target", f"{gone:g}", "--zeroed", f"{zeros:g}"]
    return ["replan", str(run.path), *sizes, "--predict"]


def start_prediction(context: AppContext, name: object, removed: object, zeroed: object) -> None:
    """Predict in the background. Raises `PlanError` or `UsageError` before anything starts."""
    run = context.watch.open(name)
    context.resizing.replan(run, *_shares(removed, zeroed))
    check_commands(context, PREDICT, SWEEP)
    context.command(run, PREDICT, predict_arguments(run, removed, zeroed))


def prediction(
    context: AppContext, name: object, removed: object, zeroed: object
) -> "tuple[Prediction | None, Background, list[str]]":
    """The stored prediction for a size, the latest prediction's process, and the command for this
    one.
    """
    run = context.watch.open(name)
    found = context.resizing.prediction(run, *_shares(removed, zeroed))
    return found, background.look(run, PREDICT), predict_arguments(run, removed, zeroed)


def apply(
    context: AppContext, name: object, removed: object, zeroed: object, steps: object
) -> RunDir:
    """Make the run of another size and start it: cut, recover, evaluate."""
    run = context.watch.open(name)
    check_runs(context)
    derived = context.resizing.derive(run, *_shares(removed, zeroed), _steps(steps))
    warn_when_busy(context)
    context.start(derived)
    return derived


def start_sweep(context: AppContext, name: object, targets: object, steps: object) -> None:
    """Measure a curve in the background. Raises `UsageError` when that is not possible."""
    run = context.watch.open(name)
    if run.worker_pid() is not None:
        raise UsageError(f"{run.name} is running; wait until it has ended, or stop it")
    busy = queue.at_work_on_its_device(run)
    if busy is not None:
        raise UsageError(
            f"{busy.name} is running on the same device, which would distort the measured times; "
            "wait until it has ended, or stop it"
        )
    low, high = context.resizing.reachable_range(run)
    wanted = ",".join(f"{target:g}" for target in parse_targets(targets, low, high))
    arguments = ["sweep", str(run.path), "--targets", wanted, "--recover", str(_steps(steps))]
    check_commands(context, PREDICT, SWEEP)
    context.command(run, SWEEP, arguments)


def sweep_state(context: AppContext, name: object) -> tuple[Sweep | None, Background]:
    """The curve of a run as far as it is measured, and the process that measures it."""
    run = context.watch.open(name)
    return read_sweep(run), background.look(run, SWEEP)


def sweeps(context: AppContext, names: Sequence[object]) -> dict[str, Sweep]:
    """Curves by run name, of those runs that have one."""
    found = {str(name): read_sweep(context.watch.open(name)) for name in names}
    return {name: sweep for name, sweep in found.items() if sweep is not None}


def parse_targets(typed: object, low: float, high: float) -> list[float]:
    """Targets from text such as `0.2, 0.35`, ascending. Raises `UsageError` that says what is
    accepted.
    """
    parts = str(typed or "").replace(",", " ").split()
    try:
        found = sorted({float(part) for part in parts})
    except ValueError as error:
        raise UsageError(f"{typed!r} is not a list of numbers; write {_EXAMPLE}") from error
    if not 1 <= len(found) <= MOST_TARGETS:
        raise UsageError(f"{len(found)} targets; give 1 to {MOST_TARGETS} of them, {_EXAMPLE}")
    # Not `or`: a comparison with what is not a number is false, and must not pass.
    wrong = [f"{target:g}" for target in found if not low <= target <= high]
    if wrong:
        allowed = f"{low:g} to {rounded_down(high):g}"
        raise UsageError(f"{', '.join(wrong)} cannot be met; this run allows {allowed}")
    return found


def _scored_by(run: RunDir) -> str:
    """The method whose scores a run has; "" if its score map does not say or cannot be read."""
    try:
        return read_head(run.scores_path).metadata.get("method", "")
    except (OSError, ValueError):  # reported when the run is chosen
        return ""


def _shares(removed: object, zeroed: object) -> tuple[float, float]:
    return _number("removed", removed), _number("zeroed", zeroed)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{value!r} is not a share for {name}; use a number from 0 to 1")
    return float(value)


def _steps(value: Any) -> int:
    if not isinstance(value, (int, float)) or not 0 <= value <= _MOST_STEPS or value != int(value):
        raise UsageError(f"{value!r} is not a number of recovery steps; use 0 to {_MOST_STEPS}")
    return int(value)
