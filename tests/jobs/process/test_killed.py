"""A run killed without warning, through the real command line, loses nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.support.runs.forked import tiny_values
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs

GIVE_UP_SECONDS = 120.0


def recipe_file(folder: Path) -> Path:
    """Enough steps that a kill after the second checkpoint finds the run at work."""
    values = tiny_values(
        folder,
        name="killed",
        augment={"spec_augment": True, "speed": True},
        train={"steps": 80, "batch_size": 2, "evaluate_every": 0, "checkpoint_every": 10},
        recover={"steps": 5, "batch_size": 2, "evaluate_every": 0},
    )
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, allow_unicode=True), "utf-8")
    return path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "whisperslim", *arguments]


def wait_for_checkpoint(runs: Path) -> RunDir:
    """The run, once two checkpoints have been written."""
    until = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < until:
        for run in list_runs(runs):
            if len(list(run.checkpoints("tune").glob("step-*"))) >= 2:
                return run
        time.sleep(0.02)
    raise AssertionError("no checkpoint was ever written")


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    recipe = str(recipe_file(tmp_path))
    environment = {**os.environ, "WHISPERSLIM_CACHE": str(tmp_path / "cache")}
    options = {"env": environment, "stdout": subprocess.DEVNULL}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command("compress", recipe, "--runs", str(whole)), check=True, **options)

    worker = subprocess.Popen(command("compress", recipe, "--runs", str(broken)), **options)
    run = wait_for_checkpoint(broken)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert run.status() == RunStatus.DIED
    assert not run.stage_done("tune")
    subprocess.run(command("resume", str(run.path)), check=True, **options)

    assert run.status() == RunStatus.FINISHED
    expected = list_runs(whole)[0].slim_path / "model.safetensors"
    assert (run.slim_path / "model.safetensors").read_bytes() == expected.read_bytes()


def test_sigterm_ends_a_run_in_good_order(tmp_path: Path) -> None:
    environment = {**os.environ, "WHISPERSLIM_CACHE": str(tmp_path / "cache")}
    runs = tmp_path / "runs"
    worker = subprocess.Popen(
        command("compress", str(recipe_file(tmp_path)), "--runs", str(runs)),
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    run = wait_for_checkpoint(runs)
    worker.terminate()
    assert worker.wait(timeout=GIVE_UP_SECONDS) == 0
    assert run.status() == RunStatus.STOPPED
