"""What a run reports while it works: frozen records of plain values. Leaf module.

One event is one line of `events.jsonl`. Readers skip kinds they do not know, so that an older app
can follow a newer run.
"""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

from whisperslim.fields import spelled_now


@dataclass(frozen=True)
class Event:
    """Base record. `at` is Unix time in seconds."""

    kind: ClassVar[str] = "event"
    at: float = field(default_factory=time.time, kw_only=True)

    def to_json(self) -> str:
        """One line of JSON, without the newline. Not-a-number values are refused."""
        record = {"kind": self.kind, **dataclasses.asdict(self)}
        return json.dumps(record, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class RunStarted(Event):
    """The worker process has started. `stages` lists every stage in order, done ones included."""

    kind: ClassVar[str] = "run_started"
    name: str
    pid: int
    stages: tuple[str, ...]


@dataclass(frozen=True)
class StageStarted(Event):
    kind: ClassVar[str] = "stage_started"
    stage: str


@dataclass(frozen=True)
class StageFinished(Event):
    """`skipped` is true when an earlier attempt had already done the stage."""

    kind: ClassVar[str] = "stage_finished"
    stage: str
    seconds: float
    skipped: bool = False


@dataclass(frozen=True)
class Progress(Event):
    """Work inside a stage that is not a training step: `done` of `total` units of `what`."""

    kind: ClassVar[str] = "progress"
    stage: str
    what: str
    done: int
    total: int


@dataclass(frozen=True)
class StepDone(Event):
    """One reported training step. `losses` are named as the loss terms are; nothing renamed."""

    kind: ClassVar[str] = "step"
    stage: str
    step: int
    total: int
    losses: dict[str, float]
    learning_rate: float
    grad_norm: float
    seconds_per_step: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class SparsityMeasured(Event):
    """Per unit group: the fraction of units that are exactly zero, and of zero elements.

    `gauges` are the method's own: quantity -> group key -> value (thresholds, densities).
    """

    kind: ClassVar[str] = "sparsity"
    stage: str
    step: int
    dead_units: dict[str, float]
    zero_elements: dict[str, float]
    gauges: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated(Event):
    """A score on a named set; `label` says of which model (dense, masked, slim, recovered)."""

    kind: ClassVar[str] = "evaluated"
    stage: str
    label: str
    data: str
    step: int
    n: int
    loss: float | None
    wer: float | None
    cer: float | None
    normalizer: str
    window: str


@dataclass(frozen=True)
class CheckpointSaved(Event):
    kind: ClassVar[str] = "checkpoint"
    stage: str
    step: int
    path: str


@dataclass(frozen=True)
class Planned(Event):
    """Shares of the tuned model's prunable weights; `target_removed` of what `target_of` says."""

    kind: ClassVar[str] = "planned"
    removed: float
    zeroed: float
    target_removed: float
    target_zeroed: float
    target_of: str = "the prunable weights"


@dataclass(frozen=True)
class Notice(Event):
    """Something the user should know that does not stop the run."""

    kind: ClassVar[str] = "notice"
    message: str


@dataclass(frozen=True)
class Stopped(Event):
    """An orderly stop on request; running again continues from `step`."""

    kind: ClassVar[str] = "stopped"
    stage: str
    step: int


@dataclass(frozen=True)
class Failed(Event):
    kind: ClassVar[str] = "failed"
    stage: str
    error: str


@dataclass(frozen=True)
class Finished(Event):
    kind: ClassVar[str] = "finished"
    seconds: float
    slim: str


def _all_kinds() -> dict[str, type[Event]]:
    return {cls.kind: cls for cls in Event.__subclasses__()}


def parse(line: str) -> Event | None:
    """The event in one line of JSON, or None for a kind this version does not know.

    Raises `ValueError` when the line is not a JSON object with a `kind`.
    """
    record: Any = json.loads(line)
    if not isinstance(record, dict) or "kind" not in record:
        raise ValueError(f"not an event: {line[:80]!r}")
    cls = _all_kinds().get(record.pop("kind"))
    if cls is None:
        return None
    names = {f.name for f in dataclasses.fields(cls)}
    values = {name: value for name, value in spelled_now(record).items() if name in names}
    plain: Any = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return cls(**plain)
