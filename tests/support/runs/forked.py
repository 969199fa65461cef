"""Workers as processes that need not load torch again: forked from a server that has it loaded."""

import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim import events
from whisperslim.events import Event
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir

GIVE_UP_SECONDS = 900.0
FILLER = "filler"


def tiny_values(folder: Path, **changes: Any) -> dict[str, Any]:
    """A recipe with a checkpoint every five steps, in which the stages after training are short."""
    return {
        "name": "faults",
        "model": str(tiny_model_folder(folder / "model")),
        "method": {"name": "sgl"},
        "target": {"removed": 0.4, "zeroed": 0.1},
        "data": {
            "train": [f"{tiny_corpus(folder / 'corpus', clips=8)}#train"],
            "dev_fraction": 0.2,
            "hold_out_by": "key",
        },
        "train": {"steps": 30, "batch_size": 2, "evaluate_every": 0, "checkpoint_every": 5,
                  "report_every": 1},
        "recover": {"steps": 10, "batch_size": 2, "evaluate_every": 0, "checkpoint_every": 5,
                    "report_every": 1},
        "runtime": {"device": "cpu", "threads": 1},
        **changes,
    }  # fmt: skip


def new_run(runs: Path, values: dict[str, Any]) -> RunDir:
    return RunDir.create(runs, from_mapping(values))


def fork_worker(run: RunDir, cache: Path, trouble: str = "") -> BaseProcess:
    """A worker at work on the run. `trouble` names what befalls it: a function of this module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whisperslim.jobs.stages.order", "tests.support.runs.forked"])
    worker = context.Process(target=_work, args=(str(run.path), str(cache), trouble))
    worker.start()
    return worker


def work_to_end(run: RunDir, cache: Path, trouble: str = "") -> int:
    """The exit code of a worker that is waited for."""
    worker = fork_worker(run, cache, trouble)
    worker.join(GIVE_UP_SECONDS)
    assert worker.exitcode is not None, "the worker does not end"
    return worker.exitcode


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def found_events(run: RunDir) -> list[Event]:
    return read_events(run.events_path)[0]


def slim_bytes(run: RunDir) -> bytes:
    return (run.slim_path / "model.safetensors").read_bytes()


def _work(path: str, cache: str, trouble: str) -> None:
    os.environ["WHISPERSLIM_CACHE"] = cache
    run = RunDir(Path(path))
    befalls = {"": lambda event: None, "low": _low(run), "full": _full(run),
               "small files": _small_files(run), "clock": _clock(),
               "no memory": _no_memory()}  # fmt: skip
    raise SystemExit(run_worker(run, [befalls[trouble]]))


def _low(run: RunDir) -> Callable[[Event], None]:
    """After the second checkpoint, someone else leaves two megabytes of the disk."""

    def befall(event: Event) -> None:
        if isinstance(event, events.CheckpointSaved) and event.step == 10:
            _fill(run, leave=2_000_000)

    return befall


def _full(run: RunDir) -> Callable[[Event], None]:
    """After step 8 there is no byte left."""

    def befall(event: Event) -> None:
        if isinstance(event, events.StepDone) and event.step == 8:
            _fill(run, leave=0)

    return befall


def _small_files(run: RunDir) -> Callable[[Event], None]:
    """After step 8 no file may grow beyond what the log needs: checkpoints cannot be written."""

    def befall(event: Event) -> None:
        if isinstance(event, events.StepDone) and event.step == 8:
            most = run.events_path.stat().st_size + 20_000
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return befall


def _no_memory() -> Callable[[Event], None]:
    """At step 8 torch asks for more than any machine has, and is refused."""

    def befall(event: Event) -> None:
        if isinstance(event, events.StepDone) and event.step == 8:
            torch.empty(1 << 50)

    return befall


def _clock() -> Callable[[Event], None]:
    """At step 8 the wall clock is set back by a day."""
    real = time.time

    def befall(event: Event) -> None:
        if isinstance(event, events.StepDone) and event.step == 8:
            time.time = lambda: real() - 86_400

    return befall


def _fill(run: RunDir, leave: int) -> None:
    free = os.statvfs(run.path)
    size = free.f_bavail * free.f_frsize - leave
    with (run.path.parent / FILLER).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
