"""Run folders and workers that load neither torch nor a model."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from whisperslim.jobs.run.folder import RunDir

# A worker that takes the run, says so, and works until it is asked to stop.
PATIENT = """
import sys, time
from pathlib import Path
from whisperslim.events import RunStarted, Stopped
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir
run = RunDir(Path(sys.argv[1]))
with run.lock():
    EventLog(run.events_path).append(RunStarted("r", 1, ("tune",)))
    while not run.stop_requested():
        time.sleep(0.02)
    EventLog(run.events_path).append(Stopped("tune", 3))
"""


def light_run(runs: Path, name: str, recipe: str = "runtime: {device: cpu}\n") -> RunDir:
    (runs / name).mkdir(parents=True)
    (runs / name / "recipe.yaml").write_text(recipe, "utf-8")
    return RunDir(runs / name)


def patient_command(run: RunDir) -> list[str]:
    return [sys.executable, "-c", PATIENT, str(run.path)]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def move_elsewhere(run: RunDir) -> None:
    """What is seen of a run that a worker on another computer, called elsewhere, holds."""
    lock = run.path / "worker.lock"
    lock.write_bytes(lock.read_bytes()[:11] + b"elsewhere".ljust(64))
