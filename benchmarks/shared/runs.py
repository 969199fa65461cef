"""Runs of a benchmark by their names: made once, continued when broken off."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from whisperslim.events import StageFinished
from whisperslim.jobs.recipe.recipe import dotted_values
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs

# From the loaded dense model to the tuned slim model; preparing data and scoring are no part of it.
_COMPRESSION = ("tune", "plan", "shrink", "recover")


def run_name(row: str) -> str:
    """The name of a row's run."""
    return "".join(c if c.isalnum() else "-" for c in row.replace("%", "pc")).lower()


def make(row: str, recipe: str, runs: Path) -> None:
    """Do or continue a run in a process of its own, so that none profits from another's caches.

    Args:
        row: What is printed; its `run_name` is the recipe's name.
        recipe: YAML.
        runs: Folder of the runs.
    """
    runs.mkdir(parents=True, exist_ok=True)
    name = run_name(row)
    run = run_of(name, runs)
    if run is not None and run.status() is RunStatus.FINISHED:
        return
    print(f"{row} ...", flush=True)
    command = [sys.executable, "-m", "whisperslim"]
    if run is not None:
        command += ["resume", str(run.path)]
    else:
        file = runs / f"{name}.yaml"
        file.write_text(recipe, "utf-8")
        command += ["compress", str(file), "--runs", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{row} failed:\n{(done.stdout + done.stderr)[-2000:]}", flush=True)


def run_of(name: str, runs: Path) -> RunDir | None:
    """The run of that name, in whatever state."""
    found = [run for run in list_runs(runs) if run.name.endswith(f"-{name}")]
    return found[0] if found else None


def finished(name: str, runs: Path) -> RunDir | None:
    """The run of that name once it is done."""
    run = run_of(name, runs)
    return run if run is not None and run.status() is RunStatus.FINISHED else None


def compression_seconds(run: RunDir) -> float:
    """Seconds of the stages that compress."""
    events, _ = read_events(run.events_path)
    ended = [event for event in events if isinstance(event, StageFinished)]
    return sum(e.seconds for e in ended if e.stage in _COMPRESSION and not e.skipped)


def own_values(run: RunDir, teacher: str) -> dict[str, Any]:
    """The method's part of the recipe, the part that differs between rows."""
    values = dotted_values(run.recipe())
    kept = ("method.", "target.", "distill.", "train.steps", "recover.steps", "train.learning_rate")
    chosen = {key: value for key, value in values.items() if key.startswith(kept)}
    chosen["distill.teacher"] = teacher if chosen["distill.teacher"] else ""
    found: dict[str, Any] = json.loads(json.dumps(chosen))
    return found
