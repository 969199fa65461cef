"""Run folders: made whole, read by anyone, held by one."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.holding import held
from whisperslim import events
from whisperslim.errors import RecipeError, RunError
from whisperslim.events import Event
from whisperslim.jobs.recipe.recipe import Recipe, from_mapping
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir, RunStatus, find_run, list_runs

STARTED = events.RunStarted("r", 1, ("tune",))


@pytest.fixture
def recipe() -> Recipe:
    return from_mapping({"name": "r", "data": {"train": ["assets/demo_hi#train"]}})


@pytest.fixture
def run(tmp_path: Path, recipe: Recipe) -> RunDir:
    return RunDir.create(tmp_path / "runs", recipe)


@pytest.fixture
def holder(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run until it is killed."""
    code = (
        "from pathlib import Path; from whisperslim.jobs.run.folder import RunDir\n"
        "with RunDir(Path(sys.argv[1])).lock(): hold()\n"
    )
    with held(code, run.path) as child:
        yield child


def test_a_new_run_is_named_by_time_and_recipe_and_gives_the_recipe_back(run: RunDir) -> None:
    assert re.fullmatch(r"\d{8}-\d{6}-r", run.name)
    demo = Path(__file__).parents[3] / "assets" / "demo_hi"
    assert run.recipe().data.train == (f"{demo}#train",)
    assert run.status() == RunStatus.QUEUED


def test_two_runs_in_one_second_are_two_folders(tmp_path: Path, recipe: Recipe) -> None:
    made = {RunDir.create(tmp_path, recipe).path for _ in range(3)}
    assert len(made) == 3


def test_no_folder_is_left_when_the_data_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        RunDir.create(tmp_path / "runs", from_mapping({"data": {"train": ["nowhere"]}}))
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        RunDir(tmp_path)


def test_stage_markers(run: RunDir) -> None:
    assert not run.stage_done("tune")
    run.mark_done("tune")
    assert run.stage_done("tune") and not run.stage_done("plan")
    assert [path.name for path in (run.path / "stages").iterdir()] == ["tune.done"]


def test_stop_requests(run: RunDir) -> None:
    run.request_stop()
    run.request_stop()
    assert run.stop_requested()
    run.clear_stop()
    run.clear_stop()
    assert not run.stop_requested()


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (events.Stopped("tune", 3), RunStatus.STOPPED),
        (events.Failed("tune", "x"), RunStatus.FAILED),
        (events.Finished(1.0, "slim"), RunStatus.FINISHED),
        (events.Notice("still at it"), RunStatus.DIED),
        (STARTED, RunStatus.DIED),
    ],
)
def test_status_without_a_worker_follows_the_last_event(
    run: RunDir, last: Event, status: RunStatus
) -> None:
    log = EventLog(run.events_path)
    for event in (STARTED, events.Stopped("tune", 1), STARTED, last):
        log.append(event)
    assert run.status() == status


def test_a_held_run_is_running_and_refuses_a_second_worker(
    run: RunDir, holder: subprocess.Popen[str]
) -> None:
    assert run.status() == RunStatus.RUNNING
    assert run.worker_pid() == holder.pid
    with pytest.raises(RunError, match="busy"), run.lock():
        pass


def test_a_killed_worker_leaves_a_run_that_died_and_can_be_taken(
    run: RunDir, holder: subprocess.Popen[str]
) -> None:
    EventLog(run.events_path).append(STARTED)
    holder.kill()
    holder.wait()
    assert run.status() == RunStatus.DIED
    with run.lock():
        assert run.status() == RunStatus.RUNNING
    assert run.status() == RunStatus.DIED


def test_taking_a_run_drops_requests_meant_for_an_earlier_worker(run: RunDir) -> None:
    run.request_stop()
    with run.lock():
        assert not run.stop_requested()


def test_runs_are_listed_newest_first_and_damaged_ones_too(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "none") == []
    for name in ("20260101-000000-a", "20260103-000000-c", "20260102-000000-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text("name: x\n", encoding="utf-8")
    (tmp_path / "20260103-000000-c" / "recipe.yaml").write_bytes(b"\xff{")
    broken = tmp_path / "20260104-000000-d"
    broken.mkdir()
    (broken / "events.jsonl").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "file.txt").touch()
    listed = list_runs(tmp_path)
    assert [run.name[-1] for run in listed] == ["d", "c", "b", "a"]
    expected = [RunStatus.DAMAGED, RunStatus.DAMAGED, RunStatus.QUEUED, RunStatus.QUEUED]
    assert [run.status() for run in listed] == expected
    with pytest.raises(RunError, match="damaged"):
        listed[0].recipe()


def test_a_run_is_found_by_path_or_name(run: RunDir) -> None:
    runs = run.path.parent
    assert find_run(str(run.path), Path("elsewhere")).path == run.path
    assert find_run(run.name, runs).path == run.path
    assert find_run("latest", runs).path == run.path
    with pytest.raises(RunError, match=run.name):
        find_run("nothing", runs)
