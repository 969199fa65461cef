"""Whatever befalls a run, it goes on or says why; and its model is that of a run left in peace."""

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.runs.forked import (
    FILLER,
    fork_worker,
    found_events,
    new_run,
    slim_bytes,
    tiny_values,
    until,
    work_to_end,
)
from whisperslim import events
from whisperslim.errors import RunError
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process import queue
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.run.view import RunView, fold

# Moments at which a run is killed; `WHISPERSLIM_KILLS` for more or fewer of them.
KILLS = int(os.environ.get("WHISPERSLIM_KILLS", "20"))


@dataclass(frozen=True)
class Ground:
    """A recipe, the cache of its clips, and what a run of it that nothing befell has made."""

    folder: Path
    values: dict[str, Any]
    slim: bytes
    lines: int

    @property
    def cache(self) -> Path:
        return self.folder / "cache"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("ground")
    values = tiny_values(folder)
    whole = new_run(folder / "runs", values)
    assert work_to_end(whole, folder / "cache") == 0
    assert whole.status() == RunStatus.FINISHED
    return Ground(folder, values, slim_bytes(whole), len(found_events(whole)))


def assert_goes_on_to_the_same_end(run: RunDir, ground: Ground) -> None:
    assert work_to_end(run, ground.cache) == 0
    assert run.status() == RunStatus.FINISHED
    assert slim_bytes(run) == ground.slim


def lines(run: RunDir) -> int:
    return run.events_path.read_bytes().count(b"\n") if run.events_path.is_file() else 0


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_any_moment(ground: Ground, tmp_path: Path, seed: int) -> None:
    # Moments are counted in events, so that a slow machine is hit all over the run, too.
    moment = random.Random(seed).randrange(1, ground.lines)
    run = new_run(tmp_path, ground.values)
    worker = fork_worker(run, ground.cache)
    until(lambda: lines(run) >= moment or not worker.is_alive())
    worker.kill()
    worker.join()
    assert run.status() in (RunStatus.DIED, RunStatus.FINISHED)
    assert_goes_on_to_the_same_end(run, ground)


@pytest.mark.parametrize("file", ["student.safetensors", "state.pt", "crc32.json"])
def test_a_damaged_newest_checkpoint_is_passed_over(
    ground: Ground, tmp_path: Path, file: str
) -> None:
    run = new_run(tmp_path, ground.values)
    worker = fork_worker(run, ground.cache)
    until(lambda: sum(isinstance(e, events.CheckpointSaved) for e in found_events(run)) >= 2)
    worker.kill()
    worker.join()
    newest = max(run.checkpoints("tune").glob("step-*"))
    spoil(newest / file)
    assert_goes_on_to_the_same_end(run, ground)
    said = [event.message for event in found_events(run) if isinstance(event, events.Notice)]
    (reported,) = [message for message in said if "damaged" in message]
    assert str(newest) in reported and f"damaged-{newest.name}" in reported


def spoil(file: Path) -> None:
    """A stretch in the middle becomes zeros, as after a power cut; the length stays."""
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(len(data[middle : middle + 64]))
    file.write_bytes(bytes(data))


# With no byte left it may be the log or the next checkpoint that finds out.
@pytest.mark.parametrize(
    ("trouble", "reported"), [("low", r"2 MB free\. Make room"), ("full", r"(?i)make room")]
)
def test_a_full_disk_is_reported_and_room_lets_it_go_on(
    ground: Ground, tmp_path: Path, trouble: str, reported: str
) -> None:
    with small_disk(tmp_path / "disk"):
        run = new_run(tmp_path / "disk", ground.values)
        assert work_to_end(run, ground.cache, trouble) == 1
        last = found_events(run)[-1]
        assert isinstance(last, events.Failed) and re.search(reported, last.error)
        (tmp_path / "disk" / FILLER).unlink()
        assert_goes_on_to_the_same_end(run, ground)


def test_files_that_may_not_grow_are_reported(ground: Ground, tmp_path: Path) -> None:
    run = new_run(tmp_path, ground.values)
    assert work_to_end(run, ground.cache, "small files") == 1
    last = found_events(run)[-1]
    assert isinstance(last, events.Failed) and "could not be written" in last.error
    assert_goes_on_to_the_same_end(run, ground)


def test_no_memory_in_training_is_reported_and_goes_on_later(
    ground: Ground, tmp_path: Path
) -> None:
    run = new_run(tmp_path, ground.values)
    assert work_to_end(run, ground.cache, "no memory") == 1
    last = found_events(run)[-1]
    assert isinstance(last, events.Failed) and last.stage == "tune"
    assert "there is not enough memory" in last.error and "batch_size" in last.error
    assert_goes_on_to_the_same_end(run, ground)


def test_a_disk_too_small_for_the_run_is_reported_before_it_begins(
    ground: Ground, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", megabytes=10):
        run = new_run(tmp_path / "disk", ground.values)
        with pytest.raises(RunError, match="10 MB free and the run may need"):
            queue.start_or_wait(run)
        assert run.status() == RunStatus.QUEUED


def test_a_folder_that_cannot_be_written_to_is_reported(ground: Ground, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk"):
        run = new_run(tmp_path / "disk", ground.values)
        mount("-o", "remount,ro", str(tmp_path / "disk"))
        for act in (
            lambda: new_run(tmp_path / "disk", ground.values),
            lambda: process.start_worker(run),
            lambda: queue.start_or_wait(run),
        ):
            with pytest.raises(RunError, match="no permission to write; make the folder writable"):
                act()
        assert run.status() == RunStatus.QUEUED


def test_a_clock_that_jumps_changes_nothing(ground: Ground, tmp_path: Path) -> None:
    run = new_run(tmp_path, ground.values)
    assert work_to_end(run, ground.cache, "clock") == 0
    assert slim_bytes(run) == ground.slim
    ended = [e for e in found_events(run) if isinstance(e, (events.StageFinished, events.Finished))]
    assert all(event.seconds >= 0 for event in ended)


def test_no_time_left_is_foretold_from_a_clock_set_back() -> None:
    reported = [events.Progress("data", "clips", done, 10, at=100.0 - done) for done in (1, 2)]
    assert fold(RunView(), reported).eta_seconds is None


# A worker whose child has lost its own parent: no descendant any more, but still at work.
PARENT = """
import subprocess, sys, time
from pathlib import Path
from whisperslim.jobs.run.folder import RunDir
run = RunDir(Path(sys.argv[1]))
sleeper = "import subprocess, sys;" \\
    "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']," \\
    "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); print(p.pid)"
with run.lock():
    printed = subprocess.run([sys.executable, "-c", sleeper], capture_output=True, text=True).stdout
    (run.path / "child").write_text(printed)
    time.sleep(600)
"""


def test_children_are_gone_after_a_forced_stop(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path, ground.values)
    command = [sys.executable, "-c", PARENT, str(run.path)]
    monkeypatch.setattr(process, "worker_command", lambda run: command)
    pid = process.start_worker(run)
    child = run.path / "child"
    until(lambda: child.is_file() and child.read_text().strip().isdigit())
    process.stop(run, force=True)
    until(lambda: not any(working(number) for number in (pid, int(child.read_text()))))


def working(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def small_disk(folder: Path, megabytes: int = 90) -> Iterator[None]:
    """A disk in memory. Skips the test where none may be mounted."""
    folder.mkdir()
    if mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)) != 0:
        pytest.skip("no disk may be mounted here; that takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(*arguments: str) -> int:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True).returncode
    except FileNotFoundError:
        return 1
