"""A run's figures in TensorBoard or Trackio: a sink of the events that its log gets.

Off unless asked for by `--track` or the environment. Where figures are shown is no matter of the
recipe: a run that somebody sent writes into no folder of its own choice.
"""

import math
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from whisperslim import events
from whisperslim.errors import UsageError
from whisperslim.events import Event
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.machine.extras import advice

VARIABLE = "WHISPERSLIM_TRACK"
_ENDS = (events.Stopped, events.Failed, events.Finished)

Sink = Callable[[Event], None]


def tracker(asked: str, run: str) -> Sink:
    """What takes the events of the run named `run` to where `asked` says.

    Args:
        asked: `tensorboard:FOLDER`, where each run gets a folder of its own, or `trackio:PROJECT`.
        run: The run's name.

    Raises:
        UsageError: it is of neither form, or the library is not installed.
        RunError: the folder cannot be written to.
    """
    check_tracking(asked)
    kind, _, place = asked.partition(":")
    return _KINDS[kind](place.strip(), run)


def check_tracking(asked: str) -> None:
    """Raise `UsageError` as `tracker` does, before there is a run."""
    kind, _, place = asked.partition(":")
    if kind not in _KINDS or not place.strip():
        forms = "tensorboard:FOLDER, trackio:PROJECT"
        raise UsageError(f"--track {asked!r} is of none of these forms: {forms}")
    _library(kind)


def figures(event: Event) -> tuple[int, dict[str, float]]:
    """The step that an event speaks of, and its figures by name; none for what has no figures.

    Names begin with the stage. What is not finite is left out: curves have no place for it.
    """
    step, found = 0, dict[str, float | None]()
    if isinstance(event, events.StepDone):
        step = event.step
        found = {f"{event.stage}/loss/{name}": value for name, value in event.losses.items()}
        for name in ("learning_rate", "grad_norm", "seconds_per_step", "peak_memory_bytes"):
            found[f"{event.stage}/{name}"] = getattr(event, name)
    elif isinstance(event, events.SparsityMeasured):
        step = event.step
        groups = {"dead_units": event.dead_units, "zero_elements": event.zero_elements}
        for name, values in {**groups, **event.gauges}.items():
            found |= {f"{event.stage}/{name}/{key}": value for key, value in values.items()}
    elif isinstance(event, events.Evaluated):
        step = event.step
        # A set may be named by its path, which is nobody's business.
        about = f"{event.stage}/{event.label}/{Path(event.data).name}"
        found = {f"{about}/{name}": getattr(event, name) for name in ("loss", "wer", "cer")}
    elif isinstance(event, events.Planned):
        found = {"plan/removed": event.removed, "plan/zeroed": event.zeroed}
    kept = {name: v for name, v in found.items() if v is not None and math.isfinite(v)}
    return step, kept


def _tensorboard(place: str, run: str) -> Sink:
    writing: Any = import_module("torch.utils.tensorboard")
    folder = Path(place).expanduser().absolute() / run
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        writer = writing.SummaryWriter(str(folder))

    def take(event: Event) -> None:
        step, found = figures(event)
        for name, value in found.items():
            writer.add_scalar(name, value, step, walltime=event.at)
        if isinstance(event, _ENDS):
            writer.close()
        elif isinstance(event, events.Evaluated):
            writer.flush()

    return take


def _trackio(place: str, run: str) -> Sink:
    library = _library("trackio")
    # No figures of the machine: only what the run itself says.
    quiet = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
    library.init(project=place, name=run, resume="allow", **quiet)

    def take(event: Event) -> None:
        step, found = figures(event)
        if found:
            library.log(found, step=step)
        if isinstance(event, _ENDS):
            library.finish()

    return take


def _library(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        known = advice(error.name or "")
        if known is None:
            raise
        raise UsageError(f"--track: {known}") from error


_KINDS: Mapping[str, Callable[[str, str], Sink]] = {
    "tensorboard": _tensorboard, "trackio": _trackio,
}  # fmt: skip
