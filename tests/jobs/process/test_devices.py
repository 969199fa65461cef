"""A run by two processes, through the real command line: killed, resumed, and refused to one."""

import subprocess
from pathlib import Path

import psutil
import pytest

from tests.jobs.process.test_killed import command, recipe_file, wait_for_checkpoint
from tests.support.runs.forked import slim_bytes
from tests.support.runs.ranked import in_processes
from whisperslim.errors import RunError
from whisperslim.events import Failed
from whisperslim.jobs.process.devices import run_on_devices
from whisperslim.jobs.recipe.recipe import load_recipe
from whisperslim.jobs.run.eventlog import last_event
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.stages.order import work

ENDED_BY = 30.0  # seconds in which the other processes notice


def work_quietly(folder: Path) -> None:
    work(RunDir(folder), lambda event: None)


def new_run(folder: Path, runs: str) -> RunDir:
    recipe = load_recipe(str(recipe_file(folder)), ["runtime.devices=2"])
    return RunDir.create(folder / runs, recipe)


def others_of(run: RunDir) -> list[psutil.Process]:
    """The processes that train along with the one that holds the run."""
    holder = psutil.Process(run.worker_pid())
    siblings = holder.parent().children()
    return [each for each in siblings if each.pid != holder.pid]


def test_a_killed_process_ends_all_and_the_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    recipe = str(recipe_file(tmp_path))
    starting = command("compress", recipe, "--devices", "2", "--runs", str(tmp_path / "broken"))
    launcher = subprocess.Popen(starting, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    run = wait_for_checkpoint(tmp_path / "broken")
    (other,) = others_of(run)
    other.kill()
    _, said = launcher.communicate(timeout=ENDED_BY)
    assert launcher.returncode == 1
    assert b"Traceback" not in said
    last = last_event(run.events_path)
    assert isinstance(last, Failed) and "another process of this run has ended" in last.error
    assert run.status() == RunStatus.FAILED and not run.stage_done("tune")
    assert run_on_devices(run) == 0
    whole = new_run(tmp_path, "whole")
    in_processes(2, work_quietly, tmp_path / "results", whole.path)
    assert slim_bytes(run) == slim_bytes(whole)


def test_ctrl_c_stops_all_after_a_step_and_one_process_alone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHISPERSLIM_CACHE", str(tmp_path / "cache"))
    run = new_run(tmp_path, "runs")
    launcher = subprocess.Popen(command("resume", str(run.path)), stdout=subprocess.DEVNULL)
    wait_for_checkpoint(tmp_path / "runs")
    launcher.send_signal(2)
    assert launcher.wait(timeout=ENDED_BY) == 0
    assert run.status() == RunStatus.STOPPED
    with pytest.raises(RunError, match=r"is for 2 processes .* and one was started"):
        work(run, lambda event: None)
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(run.path) in str(p.info)]
