"""Minutes of compression by each method at equal updates, from interleaved single updates.

    python -m benchmarks.methods.step --model RUN --data PATH/hi_prompts#train

Every arm trains in turn on the same real clips, round after round, so that a drift of the machine's
speed affects all alike, and ratios are taken within a round. Options, teacher and hidden loss are
those of `method_table`. A method's minutes are its updates, half of them as they are after its
decision, and its plan and cut: from the loaded dense model to the final slim one, writing files
left out. Recovery trains a model cut to half by Fisher information, for Sparse Group LASSO and L0
alike.
"""

import argparse
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.method_table import DENSE, ENTRIES
from benchmarks.shared.provenance import median_and_range, provenance, timed, write_result
from whisperslim import methods
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.surgery.shrink import cut
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.train.batches import BatchSource
from whisperslim.train.distill import Guidance, NoTeacher, Teacher
from whisperslim.train.loop import Job, fit
from whisperslim.train.options import DistillOptions, TrainOptions

_TARGET = Target(0.5, 0.0)
_LONG_STAGE, _BRIEF = 10_000, 10
PLAIN, SETTLED, RECOVER, RECOVER_HIDDEN = (
    "plain", "gates, settled", "recovery", "recovery, hidden loss",
)  # fmt: skip
SGL, GATES, L0, IMP = "SGL", "gates, units", "L0 + distillation", "IMP"


@dataclass(frozen=True)
class Arm:
    """One variant of training whose updates are timed.

    Attributes:
        entry: The row of `method_table` with its method; empty: plain tuning.
        changes: What makes its first updates be of the phase that is meant.
        steps: Length of the stage that it is given.
        updates: Updates timed together: two, where importance is measured at every second one.
        weight: Of distillation; 0 is no teacher.
        hidden: Weight of the hidden loss.
        small: Whether it trains the cut model.
    """

    entry: str = ""
    changes: Mapping[str, Any] | None = None
    steps: int = _LONG_STAGE
    updates: int = 1
    weight: float = 1.0
    hidden: float = 0.0
    small: bool = False


ARMS = {
    PLAIN: Arm(weight=0.0),
    SGL: Arm(SGL, updates=2),
    GATES: Arm(GATES, {"begin": 0.0}, updates=2),
    # Settled after a tenth of ten updates, the first.
    SETTLED: Arm(GATES, {"begin": 0.0, "ramp": 0.0, "settle": 0.9}, steps=_BRIEF),
    L0: Arm(L0, hidden=1.0),
    # Every round at the first update: masks fixed from then on.
    IMP: Arm(IMP, {"settle": 0.0}, updates=2),
    RECOVER: Arm(small=True),
    RECOVER_HIDDEN: Arm(small=True, hidden=1.0),
}


@dataclass(frozen=True)
class Running:
    """An arm that is set up: `step` does its updates once."""

    arm: Arm
    model: SpeechModel
    method: CompressionMethod
    step: Callable[[], None]

    def seconds(self) -> float:
        """Of one update."""
        return timed(self.step) / self.arm.updates


def main() -> None:
    """Measure and store."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    items = _clips(arguments.data, arguments.batch_size)
    with TemporaryDirectory() as folder:
        running = _started(arguments, items, Path(folder))
        seconds = _rounds(running, arguments.repeats)
        ends = {label: _plan_and_cut(running[label]) for label in (SGL, GATES, L0, IMP)}
    minutes = _minutes(seconds, ends, arguments.updates)
    record = {
        "what": "seconds per update, and minutes of compression at equal updates",
        "updates": arguments.updates,
        "batch_size": arguments.batch_size,
        "clips_seconds": [round(item.duration or 0.0, 2) for item in items],
        "seconds": {name: median_and_range(values) for name, values in seconds.items()},
        "plan_and_cut_seconds": {name: median_and_range(values) for name, values in ends.items()},
        "minutes": {name: median_and_range(values) for name, values in minutes.items()},
        "ratios": {
            f"{GATES} / {other}": median_and_range(_ratios(minutes[GATES], minutes[other]))
            for other in (IMP, L0, SGL, DENSE)
        },
        **provenance(arguments.threads),
    }
    print(write_result("method_step", record))


def _clips(data: str, count: int) -> list[Item]:
    """A batch's worth of clips of the middle length."""
    items = sorted((i for i in load_items(data) if i.duration), key=lambda i: i.duration or 0.0)
    first = max(0, len(items) // 2 - count // 2)
    return items[first : first + count]


def _started(arguments: argparse.Namespace, items: list[Item], folder: Path) -> dict[str, Running]:
    running = {
        name: _start(name, arm, load_model(arguments.model), arguments, items, folder)
        for name, arm in ARMS.items()
        if not arm.small
    }
    running[SGL].step()  # measures what the cut model is cut by
    small = load_model(arguments.model)
    cut(small.model, small.groups(), running[SGL].method.plan(None))
    for name, arm in ARMS.items():
        if arm.small:
            own = replace(small, model=deepcopy(small.model))
            running[name] = _start(name, arm, own, arguments, items, folder)
    return running


def _start(
    name: str, arm: Arm, speech: SpeechModel, arguments: argparse.Namespace, items: list[Item],
    folder: Path,
) -> Running:  # fmt: skip
    speech.family.freeze(speech.model, encoder=False, embeddings=True)
    method = _method(arm)
    options = TrainOptions(
        steps=arm.steps,
        warmup_steps=0,
        evaluate_every=0,
        checkpoint_every=_LONG_STAGE,
        report_every=1,
    )
    source = BatchSource(
        items, folder / "audio", WindowPolicy(), batch_size=len(items), augment=AugmentOptions(),
        seed=0, input_spec=speech.input_spec,
    )  # fmt: skip
    job = Job(
        name, speech, method, source, options, folder / name, "hi",
        teacher=_teacher(arm, speech, arguments.model),
    )  # fmt: skip
    events = fit(job)

    def step() -> None:
        for _ in range(arm.updates):
            while next(events).kind != "step":
                pass

    return Running(arm, speech, method, step)


def _method(arm: Arm) -> CompressionMethod:
    if not arm.entry:
        return Plain(PlainOptions(), Target(0.0, 0.0))
    values = ENTRIES[arm.entry].values
    entry = methods.get(values["method.name"])
    own = {
        key.removeprefix("method."): value
        for key, value in values.items()
        if key.startswith("method.") and key != "method.name"
    }
    return entry.build(entry.options(**{**own, **(arm.changes or {})}), _TARGET)


def _teacher(arm: Arm, student: SpeechModel, model: str) -> Guidance:
    if not arm.weight:
        return NoTeacher()
    options = DistillOptions(teacher="dense", weight=arm.weight, hidden_weight=arm.hidden)
    return Teacher(load_model(model), student, options)


def _rounds(running: Mapping[str, Running], repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in running}
    for repeat in range(repeats + 1):
        for name, own in running.items():
            seconds = own.seconds()
            if repeat:  # The first round warms caches and allocators, and begins the masks.
                times[name].append(seconds)
            print(f"round {repeat} {name:22s} {seconds:6.2f} s", flush=True)
    return times


def _plan_and_cut(own: Running, repeats: int = 3) -> list[float]:
    def end() -> None:
        cut(deepcopy(own.model.model), own.model.groups(), own.method.plan(None))

    return [timed(end) for _ in range(repeats)]


def _minutes(
    seconds: Mapping[str, list[float]], ends: Mapping[str, list[float]], updates: int
) -> dict[str, list[float]]:
    """Row of `method_table` -> minutes of compression by each round's times."""
    halves = {
        DENSE: (PLAIN, PLAIN),
        SGL: (SGL, RECOVER),
        GATES: (GATES, SETTLED),
        L0: (L0, RECOVER_HIDDEN),
        IMP: (IMP, IMP),
    }
    found = {}
    for label, (first, second) in halves.items():
        end = median_and_range(ends[label])["median"] if label in ends else 0.0
        pairs = zip(seconds[first], seconds[second], strict=True)
        found[label] = [(updates / 2 * (one + two) + end) / 60 for one, two in pairs]
    return found


def _ratios(own: list[float], others: list[float]) -> list[float]:
    return [one / other for one, other in zip(own, others, strict=True)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="run or folder of the tuned dense model")
    parser.add_argument("--data", required=True, help="clips of the middle length are chosen")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--updates", type=int, default=100, help="of a whole compression")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--repeats", type=int, default=5, choices=range(1, _BRIEF - 1), help="counted rounds"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
