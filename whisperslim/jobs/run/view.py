"""The current state of a run, folded from its events. Shown by app and terminal."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

from whisperslim import events
from whisperslim.events import Event

MOST_POINTS = 1000  # per series: more than a chart has pixels for
MOST_NOTICES = 200
MOST_GAUGE_POINTS = 150  # per group: a big model has hundreds of groups, each with its own curve
# More than any run has: further names in a foreign event file are skipped.
_MOST_STAGES, _MOST_SERIES, _MOST_GROUPS = 50, 100, 2000


@dataclass(frozen=True)
class StageView:
    """`status` is waiting, running, done, skipped, stopped or failed; `seconds` once it is over.

    Attempts that were broken off count: `spent` has their seconds, and `began` is the start of the
    current one, in seconds since 1970.
    """

    name: str
    status: str = "waiting"
    seconds: float | None = None
    began: float | None = None
    spent: float = 0.0


@dataclass(frozen=True)
class Series:
    """A curve of at most `limit` points. `stride`: one of this many reports is kept."""

    steps: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    stride: int = 1
    skipped: int = 0
    limit: int = MOST_POINTS

    def with_point(self, step: int, value: float) -> "Series":
        """With one more point. Points from `step` on are dropped: a resumed run repeats them."""
        if self.steps and step <= self.steps[-1]:
            keep = bisect_left(self.steps, step)
            steps, values = (*self.steps[:keep], step), (*self.values[:keep], value)
            return replace(self, steps=steps, values=values, skipped=0)
        if self.steps and self.skipped + 1 < self.stride:
            return replace(self, skipped=self.skipped + 1)
        steps, values = (*self.steps, step), (*self.values, value)
        if len(steps) <= self.limit:
            return replace(self, steps=steps, values=values, skipped=0)
        return Series(steps[::2], values[::2], self.stride * 2, limit=self.limit)


@dataclass(frozen=True)
class GaugeView:
    """One quantity of the method, by unit group: its last value and its curve."""

    stage: str
    quantity: str
    step: int
    latest: Mapping[str, float]
    curves: Mapping[str, Series]


@dataclass(frozen=True)
class RunView:
    """The state of a run according to its events.

    Attributes:
        state: queued, running, stopped, failed or finished. A killed worker leaves no event: see
            also `RunDir.status`.
        stages: In order, as the latest attempt listed them.
        losses: "stage/term" -> curve.
        evaluations: Every score, by "stage/label/data", in order; a repeated step replaces the
        earlier one.
        gauges: "stage/quantity" -> the method's internal values, by unit group.
        eta_seconds: Estimate for the current stage, not for the run; None when unknown.
        updated_at: Unix time of the latest event, seconds.
    """

    state: str = "queued"
    name: str = ""
    pid: int | None = None
    stages: tuple[StageView, ...] = ()
    progress: events.Progress | None = None
    progress_began: events.Progress | None = None
    step: events.StepDone | None = None
    losses: Mapping[str, Series] = field(default_factory=dict)
    evaluations: Mapping[str, tuple[events.Evaluated, ...]] = field(default_factory=dict)
    sparsity: events.SparsityMeasured | None = None
    gauges: Mapping[str, GaugeView] = field(default_factory=dict)
    plan: events.Planned | None = None
    checkpoint: events.CheckpointSaved | None = None
    notices: tuple[str, ...] = ()
    error: str | None = None
    slim: str = ""
    seconds: float | None = None
    eta_seconds: float | None = None
    updated_at: float | None = None

    @property
    def stage(self) -> str:
        """The stage being worked on, "" between stages."""
        return next((stage.name for stage in self.stages if stage.status == "running"), "")

    def latest(self, label: str) -> events.Evaluated | None:
        """The latest score of one model (dense, masked, slim, recovered)."""
        found = [scores[-1] for scores in self.evaluations.values() if scores[-1].label == label]
        return max(found, key=lambda score: score.at, default=None)


def fold(view: RunView, new: Iterable[Event]) -> RunView:
    """`view` with further events taken in, in order."""
    for event in new:
        view = replace(_apply(event, view), updated_at=event.at)
    return view


@singledispatch
def _apply(event: Event, view: RunView) -> RunView:
    return view  # a kind that does not change the view


@_apply.register
def _(event: events.RunStarted, view: RunView) -> RunView:
    # A stage still running here was killed some time after its last event.
    known = {stage.name: stage for stage in _running_becomes(view, "waiting", view.updated_at)}
    names = event.stages[:_MOST_STAGES]
    stages = tuple(_begun_again(known.get(name, StageView(name))) for name in names)
    return replace(
        _idle(view), state="running", name=event.name, pid=event.pid, stages=stages, error=None
    )


@_apply.register
def _(event: events.StageStarted, view: RunView) -> RunView:
    stages = _stage(view, event.stage, status="running", seconds=None, began=event.at)
    return replace(_idle(view), stages=stages, step=None)


@_apply.register
def _(event: events.StageFinished, view: RunView) -> RunView:
    if event.skipped:  # its seconds are from when it was done
        return replace(_idle(view), stages=_stage(view, event.stage, status="skipped"))
    spent = sum(stage.spent for stage in view.stages if stage.name == event.stage)
    stages = _stage(view, event.stage, status="done", seconds=spent + event.seconds, began=None)
    return replace(_idle(view), stages=stages)


@_apply.register
def _(event: events.Progress, view: RunView) -> RunView:
    began = view.progress_began
    if began is None or not _continues(began, event):
        return replace(view, progress=event, progress_began=event, eta_seconds=None)
    return replace(view, progress=event, eta_seconds=_time_left(began, event))


@_apply.register
def _(event: events.StepDone, view: RunView) -> RunView:
    losses = dict(view.losses)
    for term, value in event.losses.items():
        name = f"{event.stage}/{term}"
        if name in losses or len(losses) < _MOST_SERIES:
            losses[name] = losses.get(name, Series()).with_point(event.step, value)
    left = (event.total - event.step) * event.seconds_per_step
    return replace(view, step=event, losses=losses, progress=None, eta_seconds=left)


@_apply.register
def _(event: events.SparsityMeasured, view: RunView) -> RunView:
    gauges = dict(view.gauges)
    for quantity in event.gauges:
        name = f"{event.stage}/{quantity}"
        if name in gauges or len(gauges) < _MOST_SERIES:
            gauges[name] = _moved(gauges.get(name), quantity, event)
    return replace(view, sparsity=event, gauges=gauges)


@_apply.register
def _(event: events.Evaluated, view: RunView) -> RunView:
    name = f"{event.stage}/{event.label}/{event.data}"
    if name not in view.evaluations and len(view.evaluations) >= _MOST_SERIES:
        return view
    before = [score for score in view.evaluations.get(name, ()) if score.step < event.step]
    kept = (*before, event)[-MOST_POINTS:]
    return replace(view, evaluations={**view.evaluations, name: kept})


@_apply.register
def _(event: events.CheckpointSaved, view: RunView) -> RunView:
    return replace(view, checkpoint=event)


@_apply.register
def _(event: events.Planned, view: RunView) -> RunView:
    return replace(view, plan=event)


@_apply.register
def _(event: events.Notice, view: RunView) -> RunView:
    return replace(view, notices=(*view.notices, event.message)[-MOST_NOTICES:])


@_apply.register
def _(event: events.Stopped, view: RunView) -> RunView:
    return replace(_idle(view), state="stopped", stages=_running_becomes(view, "stopped", event.at))


@_apply.register
def _(event: events.Failed, view: RunView) -> RunView:
    stages = _running_becomes(view, "failed", event.at)
    return replace(_idle(view), state="failed", error=event.error, stages=stages)


@_apply.register
def _(event: events.Finished, view: RunView) -> RunView:
    # The event only knows its own process.
    known = sum(stage.seconds or 0.0 for stage in view.stages)
    return replace(
        _idle(view), state="finished", seconds=max(known, event.seconds), slim=event.slim
    )


def _moved(before: GaugeView | None, quantity: str, event: events.SparsityMeasured) -> GaugeView:
    latest = event.gauges[quantity]
    curves = dict(before.curves) if before else {}
    for key, value in latest.items():
        if key in curves or len(curves) < _MOST_GROUPS:
            curve = curves.get(key, Series(limit=MOST_GAUGE_POINTS))
            curves[key] = curve.with_point(event.step, value)
    return GaugeView(event.stage, quantity, event.step, latest, curves)


def _idle(view: RunView) -> RunView:
    return replace(view, progress=None, progress_began=None, eta_seconds=None)


def _stage(view: RunView, name: str, **changes: Any) -> tuple[StageView, ...]:
    if name not in [stage.name for stage in view.stages]:
        return (*view.stages, StageView(name, **changes))[:_MOST_STAGES]
    return tuple(
        replace(stage, **changes) if stage.name == name else stage for stage in view.stages
    )


def _running_becomes(view: RunView, status: str, at: float | None) -> tuple[StageView, ...]:
    return tuple(
        _broken_off(stage, status, at) if stage.status == "running" else stage
        for stage in view.stages
    )


def _begun_again(stage: StageView) -> StageView:
    over = stage.status in ("done", "skipped")
    return stage if over else StageView(stage.name, spent=stage.spent)


def _broken_off(stage: StageView, status: str, at: float | None) -> StageView:
    lasted = 0.0 if stage.began is None or at is None else max(0.0, at - stage.began)
    return replace(stage, status=status, began=None, spent=stage.spent + lasted)


def _continues(began: events.Progress, now: events.Progress) -> bool:
    same = (began.stage, began.what, began.total) == (now.stage, now.what, now.total)
    return same and now.done >= began.done


def _time_left(began: events.Progress, now: events.Progress) -> float | None:
    done, seconds = now.done - began.done, now.at - began.at
    return (now.total - now.done) * seconds / done if done > 0 and seconds > 0 else None
