"""Commands beside a run: processes that are seen at work until they end."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.runs.light_runs import light_run, until
from whisperslim.errors import RunError
from whisperslim.jobs.process import background
from whisperslim.jobs.process.background import Background
from whisperslim.jobs.run.folder import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return light_run(tmp_path / "runs", "run")


@pytest.fixture
def patient(run: RunDir) -> Iterator[list[str]]:
    """The arguments of a command without end: it keeps a queue in which a run waits for another."""
    runs = run.path.parents[1] / "a b"
    light_run(runs, "second")
    (runs / ".queue").mkdir()
    (runs / ".queue" / "order.json").write_text(json.dumps(["second"]))
    with light_run(runs, "first").lock():
        yield ["queue", "--keep", "--runs", str(runs)]


def test_a_command_is_seen_at_work_until_it_ends(run: RunDir, patient: list[str]) -> None:
    assert background.look(run, "nap") == Background()
    pid = background.start(run, "nap", patient)
    try:
        seen = background.look(run, "nap")
        assert seen == Background(tuple(patient), running=True)
        assert seen.value_of("--runs") == patient[-1] and seen.value_of("--other") == ""
        assert psutil.Process(pid).cmdline()[-4:] == patient and os.getsid(pid) == pid
        with pytest.raises(RunError, match="already running"):
            background.start(run, "nap", ["runs"])
        assert background.look(run, "nap") == seen, "the log is that of the one at work"
        other = background.start(run, "other", ["runs", "--runs", str(run.path.parent)])
        until(lambda: not background.look(run, "other").running)
        assert other != pid and "run" in background.look(run, "other").said
    finally:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not background.look(run, "nap").running)


def test_the_next_command_has_a_log_of_its_own(run: RunDir) -> None:
    for arguments, said in ((["runs", "--nonsense"], "--nonsense"), (["presets"], "sgl-paper")):
        background.start(run, "list", arguments)
        until(lambda: not background.look(run, "list").running)
        seen = background.look(run, "list")
        assert seen.arguments == tuple(arguments) and said in seen.said
    assert "nonsense" not in seen.said


def test_a_command_that_never_takes_its_lock_is_ended(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_command", lambda *_: ["sleep", "600"])
    monkeypatch.setattr(background, "_START_SECONDS", 0.2)
    with pytest.raises(RunError, match=r"did not begin within .* try again"):
        background.start(run, "nap", ["nap"])
    seen = background.look(run, "nap")
    assert seen == Background(("nap",))


def test_two_that_start_at_once_are_one_and_a_refusal(
    run: RunDir, patient: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the first has begun its process and that has no lock yet."""
    refused: list[str] = []
    detached = background.detached

    def meanwhile(*given: object) -> object:
        monkeypatch.setattr(background, "detached", detached)
        monkeypatch.setattr(background, "_START_SECONDS", 0.1)
        with pytest.raises(RunError, match="already running") as raised:
            background.start(run, "nap", ["other"])
        refused.append(str(raised.value))
        monkeypatch.setattr(background, "_START_SECONDS", 60.0)
        return detached(*given)

    monkeypatch.setattr(background, "detached", meanwhile)
    pid = background.start(run, "nap", patient)
    try:
        assert len(refused) == 1 and background.look(run, "nap").arguments == tuple(patient)
    finally:
        os.kill(pid, signal.SIGKILL)
