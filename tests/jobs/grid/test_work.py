"""Many runs worked through: in order, stopped in order, and nothing done twice."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.runs.light_runs import light_run, patient_command, until
from whisperslim.errors import RunError
from whisperslim.events import Event, Failed, Finished, RunStarted
from whisperslim.jobs.grid import work as work_module
from whisperslim.jobs.grid.mark import marked
from whisperslim.jobs.grid.work import (
    OneByOne,
    Wish,
    require_finished,
    work_on,
    work_through,
)
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process.worker import signals_ask_to_stop
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir, RunStatus

# A worker that takes the run, notes its name, and ends as the second argument says.
QUICK = """
import sys
from pathlib import Path
from whisperslim.events import parse
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir
run, ending = RunDir(Path(sys.argv[1])), sys.argv[2]
with run.lock():
    with (run.path.parent / "order.txt").open("a") as order:
        order.write(run.name + "\\n")
    if ending:
        EventLog(run.events_path).append(parse(ending))
"""
FINISHED = Finished(1.0, "").to_json()


def quick_command(ending: str) -> Callable[[RunDir], list[str]]:
    return lambda run: [sys.executable, "-c", QUICK, str(run.path), ending]


def begun(runs: Path) -> list[str]:
    path = runs / "order.txt"
    return path.read_text().split() if path.is_file() else []


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "runs"
    monkeypatch.setattr(work_module, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(process, "worker_command", quick_command(FINISHED))
    yield folder
    for path in folder.iterdir():
        run = RunDir(path) if path.is_dir() else None
        if run and process.is_alive(run):
            process.stop(run, force=True)


def through(
    found: Sequence[RunDir],
    follow: Callable[[RunDir, Event], None] = lambda run, event: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[RunDir, str]:
    with closing(OneByOne()) as crew, marked(found[0].path.parent) as mark:
        return work_through(found, mark, crew, follow, stop)


def test_runs_are_worked_on_one_after_another_and_finished_ones_left_alone(runs: Path) -> None:
    found = [light_run(runs, name) for name in ("c", "a", "b")]
    EventLog(found[1].events_path).append(Finished(1.0, ""))
    seen: list[tuple[str, str]] = []
    assert through(found, lambda run, event: seen.append((run.name, event.kind))) == {}
    assert begun(runs) == ["c", "b"]
    assert seen == [("c", "finished"), ("b", "finished")]  # and none from before
    assert {run.status() for run in found} == {RunStatus.FINISHED}
    through(found)
    assert begun(runs) == ["c", "b"]


def test_a_run_that_fails_or_cannot_begin_stops_no_other(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [light_run(runs, name) for name in ("fails", "cannot", "good")]
    commands = {
        "fails": quick_command(Failed("tune", "no data").to_json()),
        "cannot": lambda run: [sys.executable, "-c", "raise SystemExit('no such module')"],
        "good": quick_command(FINISHED),
    }
    monkeypatch.setattr(process, "worker_command", lambda run: commands[run.name](run))
    troubles = through(found)
    assert list(troubles) == [found[1]] and "no such module" in troubles[found[1]]
    assert [run.status() for run in found] == ["failed", "queued", "finished"]
    with pytest.raises(RunError) as raised:
        require_finished(found, troubles)
    said = str(raised.value)
    assert "2 of 3 runs did not end well, and none is lost" in said
    assert f"fails: failed, as {found[0].events_path} says" in said
    assert "no such module" in said and "good" not in said


def test_a_stop_ends_the_one_at_work_in_order_and_begins_no_other(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "worker_command", patient_command)
    found = [light_run(runs, name) for name in ("first", "second")]
    wish = Wish()

    def follow(run: RunDir, event: Event) -> None:
        if isinstance(event, RunStarted):
            signal.raise_signal(signal.SIGINT)

    with signals_ask_to_stop(wish):
        assert through(found, follow, lambda: wish.stop) == {}
    assert [run.status() for run in found] == [RunStatus.STOPPED, RunStatus.QUEUED]
    require_finished(found, {})  # nothing is wrong with a stopped run
    monkeypatch.setattr(process, "worker_command", quick_command(FINISHED))
    through(found)
    assert begun(runs) == ["first", "second"]


@pytest.mark.usefixtures("usual")
def test_a_second_ctrl_c_kills_the_one_at_work(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "worker_command", patient_command)
    monkeypatch.setattr(RunDir, "request_stop", lambda run: None)  # a step that takes long
    found = [light_run(runs, "first")]
    wish = Wish()

    def follow(run: RunDir, event: Event) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), signals_ask_to_stop(wish):
        through(found, follow, lambda: wish.stop)
    assert found[0].status() == RunStatus.DIED


@pytest.fixture
def usual() -> Iterator[None]:
    """Ctrl-C interrupts, even where whoever started the tests ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_one_that_is_stopped_by_itself_stops_no_other(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [light_run(runs, name) for name in ("first", "second")]
    monkeypatch.setattr(
        process,
        "worker_command",
        lambda run: (patient_command if run.name == "first" else quick_command(FINISHED))(run),
    )
    through(found, lambda run, event: run.request_stop() if run.name == "first" else None)
    assert [run.status() for run in found] == [RunStatus.STOPPED, RunStatus.FINISHED]


def test_a_worker_that_outlived_its_node_is_waited_for(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = light_run(runs, "first")
    monkeypatch.setattr(process, "worker_command", patient_command)
    process.start_worker(run)
    monkeypatch.setattr(process, "worker_command", quick_command(FINISHED))
    with marked(runs) as mark:
        again = threading.Thread(target=work_on, args=(run.path, mark))
        again.start()
        assert run.status() == RunStatus.RUNNING and begun(runs) == []
        process.stop(run, force=True)
        again.join(60)
        assert begun(runs) == ["first"]  # once: it was continued when it had died
        assert run.status() == RunStatus.FINISHED


def test_a_worker_that_outlived_its_node_and_was_stopped_is_not_begun_again(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = light_run(runs, "first")
    monkeypatch.setattr(process, "worker_command", patient_command)
    process.start_worker(run)
    until(lambda: run.events_path.exists())
    monkeypatch.setattr(process, "worker_command", quick_command(FINISHED))
    with marked(runs) as mark:
        again = threading.Thread(target=work_on, args=(run.path, mark))
        again.start()
        run.request_stop()
        again.join(60)
    assert begun(runs) == [] and run.status() == RunStatus.STOPPED


class Nobody:
    """A cluster whose nodes are all gone."""

    def begin(self, runs: Sequence[RunDir], mark: Path) -> Sequence["Future[str]"]:
        return [Future() for _ in runs]

    def close(self) -> None:
        pass


def test_a_stop_does_not_wait_for_nodes_that_do_not_come(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_module, "_QUIET_SECONDS", 0.05)
    run = light_run(runs, "first")
    with marked(runs) as mark:
        assert work_through([run], mark, Nobody(), lambda run, event: None, lambda: True) == {}
        assert not mark.exists()
    assert run.status() == RunStatus.QUEUED


def test_runs_with_one_cause_are_named_together(runs: Path) -> None:
    found = [light_run(runs, name) for name in ("a", "b")]
    with pytest.raises(RunError, match=r"a, b: Ray went away$"):
        require_finished(found, dict.fromkeys(found, "Ray went away"))
