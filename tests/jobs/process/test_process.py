"""Workers: in this process with made-up stages, and as processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.runs.light_runs import light_run
from whisperslim import events
from whisperslim.errors import RunError, TrainingError, shortage_of
from whisperslim.events import Event
from whisperslim.jobs.process import child as process
from whisperslim.jobs.process.worker import Sink, Work, run_worker, signals_ask_to_stop
from whisperslim.jobs.recipe.recipe import from_mapping
from whisperslim.jobs.run import environment
from whisperslim.jobs.run.eventlog import EventLog, read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus

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
    print("working", flush=True)
    while not run.stop_requested():
        time.sleep(0.02)
    EventLog(run.events_path).append(Stopped("tune", 3))
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    data = {"train": ["assets/demo_hi#train"], "test": ["assets/demo_hi#test"]}
    return RunDir.create(tmp_path / "runs", from_mapping({"name": "r", "data": data}))


def loading(work: Work) -> Callable[[], tuple[tuple[str, ...], Work]]:
    return lambda: (("one", "two"), work)


def kinds(run: RunDir) -> list[str]:
    return [event.kind for event in read_events(run.events_path)[0]]


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def work_until_stopped(run: RunDir, emit: Sink) -> None:
    emit(events.StageStarted("one"))
    until(run.stop_requested)
    emit(events.Stopped("one", 7))


def test_a_run_that_ends_well(run: RunDir) -> None:
    seen: list[Event] = []

    def work(run: RunDir, emit: Sink) -> None:
        assert run.status() == RunStatus.RUNNING
        emit(events.StageStarted("one"))

    assert run_worker(run, [seen.append], loading(work)) == 0
    assert kinds(run) == ["run_started", "stage_started", "finished"]
    assert seen == read_events(run.events_path)[0]
    assert isinstance(seen[0], events.RunStarted)
    assert (seen[0].pid, seen[0].stages) == (os.getpid(), ("one", "two"))
    assert run.status() == RunStatus.FINISHED


def test_work_that_says_its_own_end_is_not_ended_twice(run: RunDir) -> None:
    assert run_worker(run, (), loading(lambda run, emit: emit(events.Finished(1.0, "s")))) == 0
    assert kinds(run) == ["run_started", "finished"]


def test_a_failure_is_reported_with_its_stage(run: RunDir) -> None:
    def work(run: RunDir, emit: Sink) -> None:
        emit(events.StageStarted("two"))
        raise TrainingError("the loss is not finite")

    assert run_worker(run, (), loading(work)) == 1
    last = read_events(run.events_path)[0][-1]
    assert isinstance(last, events.Failed)
    assert (last.stage, last.error) == ("two", "the loss is not finite")
    assert run.status() == RunStatus.FAILED


def test_a_fault_of_the_program_is_recorded_and_not_swallowed(run: RunDir) -> None:
    def work(run: RunDir, emit: Sink) -> None:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError):
        run_worker(run, (), loading(work))
    last = read_events(run.events_path)[0][-1]
    assert isinstance(last, events.Failed) and "ZeroDivisionError: oops" in last.error


def test_a_run_without_memory_says_so_and_can_go_on(run: RunDir) -> None:
    def work(run: RunDir, emit: Sink) -> None:
        emit(events.StageStarted("tune"))
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 TB")

    assert run_worker(run, load=lambda: (("tune",), work)) == 1
    last = read_events(run.events_path)[0][-1]
    assert isinstance(last, events.Failed) and last.stage == "tune"
    assert last.error.startswith("there is not enough memory") and "batch_size" in last.error
    assert run_worker(run, load=lambda: (("tune",), lambda run, emit: None)) == 0
    assert run.status() == RunStatus.FINISHED


# Native code that finds no memory under `ulimit -v`: no exception of Python's, an abort.
NO_MEMORY = """
import ctypes, resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
ctypes.CDLL("libstdc++.so.6")._Znwm(ctypes.c_size_t(1 << 32))
"""
HOLDING = """
import sys
from pathlib import Path
from whisperslim.events import RunStarted, StageStarted
from whisperslim.jobs.run.eventlog import EventLog
from whisperslim.jobs.run.folder import RunDir
run = RunDir(Path(sys.argv[1]))
log = EventLog(run.events_path)
with run.lock():
    log.append(RunStarted("r", 1, ("tune",)))
    log.append(StageStarted("tune"))
    print("tune ...", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems hold nobody to such a limit")
@pytest.mark.parametrize("started", [True, False])
def test_native_code_that_is_out_of_memory_ends_the_worker_with_a_sentence(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    indented = NO_MEMORY.replace("\n", "\n    ") if started else NO_MEMORY
    code = HOLDING + indented if started else indented
    command = [sys.executable, "-c", code, str(run.path)]
    monkeypatch.setattr(process, "worker_command", lambda run: command)
    said = ""
    try:
        process.start_worker(run)
    except RunError as error:  # it may be over before anybody has seen it hold the run
        said = str(error)
    until(lambda: not process.is_alive(run) and "bad_alloc" in run.log_path.read_text())
    assert "there is not enough memory (terminate called" in process.died_of(run)
    assert "Traceback" not in said and "not enough memory" in (said or process.died_of(run))
    assert run.status() == (RunStatus.DIED if started else RunStatus.QUEUED)


def test_a_shortage_that_was_reported_is_not_why_a_later_worker_died(run: RunDir) -> None:
    reported = shortage_of(MemoryError("out of memory"))
    run.log_path.write_text(f"failed in tune: {reported}\nto continue: whisperslim resume r\n")
    assert process.died_of(run) == ""
    with run.log_path.open("a") as log:
        log.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
    assert process.died_of(run).startswith("there is not enough memory (terminate called")
    with run.log_path.open("a") as log:
        log.write("r: tune\n" * 5)
    assert process.died_of(run) == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_request_to_stop(run: RunDir, number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def work(run: RunDir, emit: Sink) -> None:
        os.kill(os.getpid(), number)
        work_until_stopped(run, emit)

    assert run_worker(run, (), loading(work)) == 0
    assert run.status() == RunStatus.STOPPED
    assert signal.getsignal(number) is before


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    """Python's own handling, also where the shell that started the tests had Ctrl-C ignored.

    Shells do so for what they put in the background, and Python then leaves it ignored.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_second_ctrl_c_interrupts(run: RunDir) -> None:
    def work(run: RunDir, emit: Sink) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        until(run.stop_requested)
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: False)

    with pytest.raises(KeyboardInterrupt):
        run_worker(run, (), loading(work))
    assert run.status() == RunStatus.DIED


@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_signal_within_two_blocks_asks_both_and_a_second_one_interrupts(
    run: RunDir, tmp_path: Path
) -> None:
    inner = light_run(tmp_path / "runs", "inner")
    with pytest.raises(KeyboardInterrupt), signals_ask_to_stop(run):
        with signals_ask_to_stop(inner):
            os.kill(os.getpid(), signal.SIGINT)
            until(lambda: inner.stop_requested() and run.stop_requested())
        os.kill(os.getpid(), signal.SIGINT)
        until(lambda: False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_block_that_ends_without_a_signal_leaves_the_one_around_it_in_place(
    run: RunDir, tmp_path: Path
) -> None:
    inner = light_run(tmp_path / "runs", "inner")
    with signals_ask_to_stop(run):
        with signals_ask_to_stop(inner):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        until(run.stop_requested)
    assert not inner.stop_requested()


def test_the_environment_is_written_down_at_every_start(run: RunDir) -> None:
    for _ in range(2):
        run_worker(run, (), loading(lambda run, emit: None))
    environment.add_facts(run.environment_path, {"weights_sha256": "ab"})
    record = json.loads(run.environment_path.read_text(encoding="utf-8"))
    assert len(record["attempts"]) == 2 and record["weights_sha256"] == "ab"
    assert record["attempts"][0]["python"] == sys.version.split()[0]
    clips = {Path(name).name: fact["clips"] for name, fact in record["data"].items()}
    assert clips == {"demo_hi#train": 48, "demo_hi#test": 12}


def test_a_run_is_not_continued_on_other_data(run: RunDir) -> None:
    run_worker(run, (), loading(lambda run, emit: None))
    record = environment.read(run.environment_path)
    record["data"][next(iter(record["data"]))]["sha256"] = "0" * 64
    environment.add_facts(run.environment_path, record)
    assert run_worker(run, (), loading(lambda run, emit: None)) == 1
    last = read_events(run.events_path)[0][-1]
    assert isinstance(last, events.Failed) and "changed since the run began" in last.error


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(run: RunDir) -> list[str]:
        return [sys.executable, "-c", PATIENT, str(run.path)]

    monkeypatch.setattr(process, "worker_command", command)


def test_a_detached_worker_is_started_once_and_stopped_on_request(
    run: RunDir, patient: None
) -> None:
    pid = process.start_worker(run)
    assert process.is_alive(run) and run.worker_pid() == pid
    assert os.getsid(pid) == pid  # closing the terminal does not reach it
    with pytest.raises(RunError, match="already"):
        process.start_worker(run)
    until(lambda: run.log_path.read_text() == "working\n")
    process.stop(run)
    until(lambda: not process.is_alive(run))
    assert run.status() == RunStatus.STOPPED


def test_a_worker_may_be_begun_by_the_process_that_was_started(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python is by the one in a virtual environment of Windows."""
    code = 'import subprocess, sys; subprocess.run([sys.executable, "-c", *sys.argv[1:]])'
    command = [sys.executable, "-c", code, PATIENT, str(run.path)]
    monkeypatch.setattr(process, "worker_command", lambda run: command)
    assert process.start_worker(run) == run.worker_pid()
    process.stop(run, force=True)


def test_a_killed_worker_is_gone_at_once(run: RunDir, patient: None) -> None:
    process.start_worker(run)
    until(lambda: kinds(run) == ["run_started"])
    process.stop(run, force=True)
    assert run.status() == RunStatus.DIED and not run.stop_requested()
    with pytest.raises(RunError, match="not running; its status is died"):
        process.stop(run)


def test_a_worker_that_cannot_start_says_why(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no such module')"]
    monkeypatch.setattr(process, "worker_command", lambda run: broken)
    with pytest.raises(RunError, match="no such module"):
        process.start_worker(run)
    assert run.status() == RunStatus.QUEUED


def test_a_worker_that_never_takes_the_run_is_ended_and_reported(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(process, "worker_command", lambda run: idle)
    monkeypatch.setattr(process, "_START_SECONDS", 0.2)
    children: list[subprocess.Popen[bytes]] = []
    start = process.detached

    def noted(*given: Any) -> subprocess.Popen[bytes]:
        children.append(start(*given))
        return children[-1]

    monkeypatch.setattr(process, "detached", noted)
    with pytest.raises(RunError, match=r"did not begin within .* resume the run"):
        process.start_worker(run)
    assert children[0].wait(20) == -signal.SIGKILL
    assert not process.is_alive(run)


def test_stopping_what_does_not_run_is_refused(run: RunDir) -> None:
    EventLog(run.events_path).append(events.Finished(1.0, ""))
    with pytest.raises(RunError, match="status is finished"):
        process.stop(run)
    assert not run.stop_requested()


def test_the_worker_is_the_command_a_person_would_type(run: RunDir) -> None:
    assert process.worker_command(run)[1:] == ["-m", "whisperslim", "resume", str(run.path)]
