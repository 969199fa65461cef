"""The command's side of Ray, with a stand-in for the process that speaks with Ray."""

import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.runs.light_runs import light_run
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.grid import ray_crew
from whisperslim.jobs.grid.mark import marked
from whisperslim.jobs.grid.ray_crew import RayCrew
from whisperslim.jobs.grid.work import work_through
from whisperslim.machine import extras

# Reads what is asked, and stores it; then does what the test says.
CHILD = """
import json, os, sys
from pathlib import Path
asked = json.loads(sys.stdin.readline())
asked["environment"] = {name: value for name, value in os.environ.items() if name[:4] == "RAY_"}
Path(sys.argv[1]).write_text(json.dumps(asked))
def say(**said):
    print(json.dumps(said), flush=True)
"""
RECIPE = "data: {train: [anywhere]}\nruntime: {device: cpu}\n"
Stand = Callable[[str], None]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray counts as installed, which it need not be here."""
    monkeypatch.setitem(extras.EXTRAS, "scale", ("json",))


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    def stand_in(code: str) -> None:
        command = [sys.executable, "-c", CHILD + code, str(tmp_path / "asked.json")]
        monkeypatch.setattr(ray_crew, "module_command", lambda module: command)

    return stand_in


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def through(runs: Path, address: str = "local", cpus: int = 0) -> dict[str, str]:
    found = [light_run(runs, name, RECIPE) for name in ("a", "b")]
    with closing(RayCrew(address, cpus)) as crew, marked(runs) as mark:
        troubles = work_through(found, mark, crew, lambda run, event: None, lambda: False)
    return {run.name: trouble for run, trouble in troubles.items()}


def test_runs_mark_and_needs_are_passed_on(tmp_path: Path, child: Stand, listening: str) -> None:
    child('say(ready=True); say(ended=1, trouble="its node failed"); say(ended=0, trouble="")')
    assert through(tmp_path / "runs", listening, 2) == {"b": "its node failed"}
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked["address"] == listening and asked["cpus"] == 2
    runs = tmp_path / "runs"
    assert asked["runs"] == [
        {"path": str(runs / name), "device": "cpu", "devices": 1} for name in ("a", "b")
    ]
    assert Path(asked["mark"]).parent == tmp_path / "runs"


def test_commands_are_passed_on_as_words(tmp_path: Path, child: Stand) -> None:
    child('say(ready=True); say(ended=0, trouble=""); say(ended=1, trouble="exit code 2")')
    words = [["presets"], ["evaluate", "--shard", "2"]]
    with closing(RayCrew("local")) as crew, marked(tmp_path / "out") as mark:
        ended = [future.result(60) for future in crew.begin_commands(words, mark)]
    assert ended == ["", "exit code 2"]
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert [task["command"] for task in asked["runs"]] == words
    assert {task["device"] for task in asked["runs"]} == {"cpu"}


def test_ray_sends_no_statistics_and_stays_on_this_machine(
    tmp_path: Path, child: Stand, listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def environment(address: str, runs: str) -> dict[str, str]:
        through(tmp_path / runs, address)
        found: dict[str, str] = json.loads((tmp_path / "asked.json").read_text())["environment"]
        return found

    child('say(ready=True); say(ended=0, trouble=""); say(ended=1, trouble="")')
    alone = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    assert alone.items() <= environment("local", "a").items()
    assert alone.items() <= environment(listening, "b").items()
    monkeypatch.setattr(ray_crew, "_answering", lambda address: "head")
    there = environment("head:6379", "c")
    assert there["RAY_USAGE_STATS_ENABLED"] == "0"
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in there


def test_a_refusal_is_raised_in_its_own_words(tmp_path: Path, child: Stand) -> None:
    child('say(refused="node-3 does not see the runs folder")')
    with pytest.raises(RunError, match=r"node-3 does not see the runs folder\. No run was begun"):
        through(tmp_path / "runs")


def test_a_head_that_dies_is_the_trouble_of_every_run_that_has_not_ended(
    tmp_path: Path, child: Stand
) -> None:
    child('say(ready=True); say(ended=0, trouble=""); sys.exit("Failed to connect to GCS")')
    (left,) = through(tmp_path / "runs").items()
    assert left[0] == "b"
    assert "Ray at local went away, as when its head ends (Failed to connect to GCS)" in left[1]


def test_one_that_ends_before_it_is_ready_says_its_last_words(tmp_path: Path, child: Stand) -> None:
    child('sys.exit("no room for sockets")')
    with pytest.raises(RunError, match="no room for sockets"):
        through(tmp_path / "runs")


def test_one_that_is_never_ready_is_not_waited_for(
    tmp_path: Path, child: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_crew, "_READY_SECONDS", 0.1)
    child("sys.stdin.read()")
    with pytest.raises(RunError, match="nothing was heard from it"):
        through(tmp_path / "runs")


def test_an_address_where_nobody_answers_is_refused_at_once(listening: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(RunError, match=rf"nobody answers at {free}.*No run was begun"):
        RayCrew(free)
    RayCrew(listening).close()


@pytest.mark.parametrize("address", ["", "head", "ray://head:10001", ":6379", "head:x", "auto"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not an address; give local for this machine"):
        RayCrew(address)


def test_a_port_that_there_cannot_be_is_refused() -> None:
    with pytest.raises(RunError, match=r"nobody answers at 127\.0\.0\.1:99999"):
        RayCrew("127.0.0.1:99999")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "scale", ("no_such_ray",))
    with pytest.raises(UsageError, match=r"pip install 'whisperslim\[scale\]'"):
        RayCrew("local")
