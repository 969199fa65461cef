"""SIGTERM or Ctrl-C ends a sweep in good order, whatever it is at."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_cli import Done, cli  # noqa: F401
from tests.jobs.process.test_process import usual_ctrl_c  # noqa: F401
from tests.support.tiny_run import copy_of, shared_run
from whisperslim.events import Event, StageStarted
from whisperslim.jobs.run.folder import RunDir, list_runs
from whisperslim.jobs.sizes import sweep as sweep_module
from whisperslim.jobs.sizes.curve import read_sweep
from whisperslim.jobs.sizes.derive import read_derivation
from whisperslim.jobs.sizes.sweep import sweep

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    folder = tmp_path_factory.mktemp("sweep")
    with shared_run(folder) as made:
        yield made


@pytest.fixture
def run(tuned: RunDir, tmp_path: Path) -> RunDir:
    return copy_of(tuned, tmp_path)


@pytest.fixture
def signalled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sends this process a signal, once, when the sweep has done what is named."""

    def after(name: str, number: signal.Signals) -> None:
        real = getattr(sweep_module, name)

        def act(*arguments: Any) -> Any:
            done = real(*arguments)
            monkeypatch.setattr(sweep_module, name, real)
            os.kill(os.getpid(), number)
            return done

        monkeypatch.setattr(sweep_module, name, act)

    return after


def derived(run: RunDir) -> list[RunDir]:
    return [other for other in list_runs(run.path.parent) if read_derivation(other)]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_it_measures_keeps_the_point_and_draws_it(
    cli: Callable[..., Done],  # noqa: F811
    run: RunDir,
    signalled: Callable[..., None],
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    signalled("measure", number)
    done = cli("sweep", str(run.path), "--targets", "0.3", "--recover", "0", "--json")
    assert done.code == 0 and "stopped; the same command continues from here" in done.err
    (curve,) = json.loads(done.out)
    assert [point["target"] for point in curve["points"]] == [0.0]
    assert (run.path / "sweep.html").is_file() and len(derived(run)) == 1
    assert signal.getsignal(number) is before and run.worker_pid() is None
    after = sweep(run, [0.3], 0)
    assert [point.target for point in after.points] == [0.0, 0.3]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_it_derives_begins_no_work(
    run: RunDir, signalled: Callable[..., None], number: signal.Signals
) -> None:
    signalled("derive", number)
    assert sweep(run, [0.3], 0).points == ()
    (made,) = derived(run)
    assert not made.stage_done("shrink") and not made.events_path.exists()


def test_a_signal_while_it_looks_at_the_run_is_not_lost(
    run: RunDir, signalled: Callable[..., None]
) -> None:
    signalled("open_tuned", signal.SIGTERM)
    assert sweep(run, [0.3], 0).points == () and not derived(run)


def test_a_signal_while_it_takes_a_time_anew_keeps_the_time(
    run: RunDir, signalled: Callable[..., None]
) -> None:
    sweep(run, [0.3], 0)
    record = json.loads((run.path / "sweep.json").read_text("utf-8"))
    for point in record["points"]:
        point["machine"]["cpu"], point["latency_seconds"] = "another", 1e9
    (run.path / "sweep.json").write_text(json.dumps(record), "utf-8")
    signalled("take_time", signal.SIGTERM)
    sweep(run, [0.3], 0)
    after = read_sweep(run)
    assert after is not None and [point.latency_seconds < 1e9 for point in after.points] == [
        True,
        False,
    ]


@pytest.mark.usefixtures("usual_ctrl_c")
def test_a_second_ctrl_c_interrupts_also_within_a_size(run: RunDir) -> None:
    reported: list[bool] = []

    def twice(event: Event) -> None:
        if isinstance(event, StageStarted) and event.stage == "shrink":
            os.kill(os.getpid(), signal.SIGINT)
            reported.append(run.stop_requested())
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        sweep(run, [0.3], 0, twice)
    assert reported == [True] and run.worker_pid() is None
