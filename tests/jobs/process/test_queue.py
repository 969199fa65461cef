"""One worker per device; who comes second waits, in an order that is on disk."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.test_cli import Done, cli  # noqa: F401
from tests.support.runs.light_runs import light_run, move_elsewhere, patient_command, until
from whisperslim import events
from whisperslim.core.disk.locks import Lock
from whisperslim.errors import RunError
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process import queue
from whisperslim.jobs.run.eventlog import EventLog, last_event
from whisperslim.jobs.run.folder import RunDir, RunStatus

GPU = "runtime: {device: cuda}\n"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of runs whose workers only wait, and whose keeper is started by the test."""
    folder = tmp_path / "runs"
    monkeypatch.setattr(process, "worker_command", patient_command)
    monkeypatch.setattr(queue, "see_to", lambda runs: None)
    yield folder
    for path in folder.iterdir():
        run = RunDir(path) if not path.name.startswith(".") else None
        if run and process.is_alive(run):
            process.stop(run, force=True)


def at_work(run: RunDir) -> bool:
    return run.status() == RunStatus.RUNNING and last_event(run.events_path) is not None


def test_the_second_waits_and_begins_when_the_first_ends(runs: Path) -> None:
    first, second = light_run(runs, "first"), light_run(runs, "second")
    assert queue.start_or_wait(first) == first.worker_pid() != 0
    assert queue.start_or_wait(second) == 0
    assert queue.turn(second) == queue.Turn(1, "first") and queue.turn(first) == queue.Turn()
    keeper = threading.Thread(target=queue.keep, args=(runs,))
    keeper.start()
    assert queue.waiting(runs) == ("second",)
    until(lambda: at_work(first))
    queue.stop_or_leave(first)
    until(lambda: at_work(second))
    keeper.join(60)
    assert not keeper.is_alive() and queue.waiting(runs) == ()
    assert first.status() == RunStatus.STOPPED


def test_another_device_is_no_reason_to_wait(runs: Path) -> None:
    assert queue.start_or_wait(light_run(runs, "first")) != 0
    assert queue.start_or_wait(light_run(runs, "gpu", GPU)) != 0


def test_a_run_at_work_on_another_computer_takes_no_device_of_this_one(runs: Path) -> None:
    first, second = light_run(runs, "first"), light_run(runs, "second")
    assert queue.start_or_wait(first) != 0
    move_elsewhere(first)
    assert first.status() == RunStatus.RUNNING and first.working_elsewhere() == "elsewhere"
    assert queue.start_or_wait(second) != 0
    first.request_stop()  # it cannot be killed
    until(lambda: first.status() == RunStatus.STOPPED)


def test_a_run_at_work_on_another_computer_is_asked_and_never_killed(runs: Path) -> None:
    run = light_run(runs, "first")
    pid = queue.start_or_wait(run)
    until(lambda: at_work(run))
    move_elsewhere(run)
    with pytest.raises(RunError, match="at work on elsewhere, and only a program there can kill"):
        queue.stop_or_leave(run, force=True)
    assert run.worker_pid() == pid and not run.stop_requested()
    assert queue.stop_or_leave(run) is queue.Stopping.ASKED
    until(lambda: run.status() == RunStatus.STOPPED)


def test_places_are_those_of_the_device(runs: Path) -> None:
    first, second, third = (light_run(runs, name) for name in ("a", "b", "c"))
    gpu, later = light_run(runs, "g", GPU), light_run(runs, "h", GPU)
    for run in (first, gpu, second, later, third):
        queue.start_or_wait(run)
    assert [queue.place(run) for run in (first, second, third)] == [0, 1, 2]
    assert [queue.place(run) for run in (gpu, later)] == [0, 1]
    queue.stop_or_leave(second)
    assert queue.place(second) == 0 and queue.place(third) == 1
    assert second.status() == RunStatus.QUEUED
    with pytest.raises(RunError, match="is already waiting, at place 1"):
        queue.start_or_wait(third)
    with pytest.raises(RunError, match="being worked on already"):
        queue.start_or_wait(first)


def test_a_second_stop_is_a_kill(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = light_run(runs, "first")
    queue.start_or_wait(run)
    asked: list[bool] = []
    monkeypatch.setattr(process, "stop", lambda run, force=False: asked.append(force))
    assert queue.stop_or_leave(run) is queue.Stopping.ASKED
    run.request_stop()
    queue.stop_or_leave(run)
    assert asked[0] is False and asked[1:] in ([True], [False])  # it may have ended by then
    assert queue.stop_or_leave(run, force=True) is queue.Stopping.KILLED and asked[2]


def test_a_run_that_cannot_begin_says_so_and_the_next_one_begins(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = light_run(runs, "broken"), light_run(runs, "good")
    order(runs, ["broken", "good"])
    dead = ["false"]
    monkeypatch.setattr(
        process, "worker_command", lambda run: dead if run == broken else patient_command(run)
    )
    queue.keep(runs)
    last = last_event(broken.events_path)
    assert isinstance(last, events.Failed) and "it could not start" in last.error
    assert process.is_alive(good) and queue.waiting(runs) == ()


@pytest.mark.parametrize(
    "written", ["", "{", '{"a": 1}', '["../out", "/etc", ".queue", 3, null, "gone"]']
)
def test_what_is_no_list_of_runs_makes_nobody_wait(runs: Path, written: str) -> None:
    light_run(runs, "one")
    light_run(runs.parent, "out")
    order(runs, [])
    (runs / ".queue" / "order.json").write_text(written)
    assert queue.waiting(runs) == ()


def test_runs_that_ended_meanwhile_are_not_begun_again(runs: Path) -> None:
    run = light_run(runs, "done")
    EventLog(run.events_path).append(events.Finished(1.0, ""))
    order(runs, ["done"])
    queue.keep(runs)
    assert queue.waiting(runs) == () and run.status() == RunStatus.FINISHED


def test_a_keeper_that_begins_is_not_kept_off_by_a_look(tmp_path: Path) -> None:
    run = light_run(tmp_path, "done")
    EventLog(run.events_path).append(events.Finished(1.0, ""))
    order(tmp_path, ["done"])
    with Lock(tmp_path / ".queue" / "keeper.lock") as look:
        assert look.take(0)
        threading.Timer(0.1, look.close).start()
        queue.keep(tmp_path)
    assert queue.waiting(tmp_path) == ()


def test_the_keeper_is_a_process_of_its_own(tmp_path: Path) -> None:
    run = light_run(tmp_path, "done")
    EventLog(run.events_path).append(events.Finished(1.0, ""))
    order(tmp_path, ["done"])
    queue.see_to(tmp_path)
    until(lambda: queue.waiting(tmp_path) == ())


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_waiting_run_leaves_the_queue_from_the_terminal(
    cli: Callable[..., Done],  # noqa: F811
    tmp_path: Path,
    force: tuple[str, ...],
) -> None:
    run = light_run(tmp_path / "runs", "mine")
    order(tmp_path / "runs", ["mine"])
    assert "waiting, place 1" in cli("runs").out
    done = cli("stop", "mine", *force)
    assert done.code == 0 and "mine left the queue" in done.err
    assert queue.waiting(tmp_path / "runs") == () and "waits" not in cli("runs").out
    assert run.status() == RunStatus.QUEUED and not run.stop_requested()
    assert cli("stop", "mine", *force).code == RunError.exit_code


def test_stop_in_the_terminal_says_what_it_came_to(
    cli: Callable[..., Done],  # noqa: F811
    runs: Path,
) -> None:
    first, second = light_run(runs, "first"), light_run(runs, "second")
    pids = [process.start_worker(run) for run in (first, second)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)  # it takes no notice of a request
    assert "first will stop after its current step" in cli("stop", "first").err
    assert process.is_alive(first)
    assert "first killed, since it had been asked to stop before" in cli("stop", "first").err
    assert "second killed; to continue" in cli("stop", "second", "--force").err
    assert not process.is_alive(first) and not process.is_alive(second)


def order(runs: Path, names: list[str]) -> None:
    (runs / ".queue").mkdir(parents=True, exist_ok=True)
    (runs / ".queue" / "order.json").write_text(json.dumps(names))


def test_places_of_many_take_each_recipe_once_until_it_changes(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page asks for all of them every two seconds."""
    read: list[Path] = []
    read_yaml = queue.read_yaml
    monkeypatch.setattr(queue, "read_yaml", lambda path: read.append(path) or read_yaml(path))
    waiting = [light_run(runs, name) for name in "abcd"]
    (runs / ".queue").mkdir()
    (runs / ".queue" / "order.json").write_text(json.dumps([run.name for run in waiting]))
    for _ in range(3):
        assert [queue.place(run) for run in waiting] == [1, 2, 3, 4]
    assert sorted(read) == [run.path / "recipe.yaml" for run in waiting]
    (waiting[0].path / "recipe.yaml").write_text(GPU)
    assert [queue.place(run) for run in waiting] == [1, 1, 2, 3]
