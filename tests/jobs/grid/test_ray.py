"""Runs on a Ray cluster of two nodes of this machine, of which one is lost in mid-run."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.runs.forked import new_run, tiny_values, until
from whisperslim.errors import RunError
from whisperslim.events import RunStarted, StepDone
from whisperslim.jobs.grid.mark import marked
from whisperslim.jobs.grid.ray_crew import RayCrew
from whisperslim.jobs.grid.work import work_through
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunDir, RunStatus

pytest.importorskip("ray", reason="needs pip install 'whisperslim[scale]'")

STORE_BYTES = 80 * 1024 * 1024
# Long enough that a kill after the first checkpoint finds it at work; nothing is scored.
VALUES = {
    "train": {"steps": 150, "batch_size": 2, "evaluate_every": 0, "checkpoint_every": 10,
              "report_every": 1},
    "recover": {"steps": 0},
}  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without processors; nodes are added by the tests, and removed."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # 127.0.0.1 stays 127.0.0.1
        "RAY_worker_niceness": str(os.nice(0)),
        "WHISPERSLIM_CACHE": str(tmp_path_factory.mktemp("cache")),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        usual = signal.getsignal(signal.SIGTERM)  # which the cluster replaces
        made = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, **place()},
        )
        yield made
        made.shutdown()
        signal.signal(signal.SIGTERM, usual)


def place() -> dict[str, Any]:
    return {"node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES}


def begun(run: RunDir) -> int:
    return sum(isinstance(event, RunStarted) for event in read_events(run.events_path)[0])


def test_a_run_whose_node_is_lost_continues_on_the_other_from_its_files(
    cluster: Any, tmp_path: Path
) -> None:
    nodes = [cluster.add_node(num_cpus=1, **place()) for _ in range(2)]
    values = tiny_values(tmp_path, **VALUES)
    runs = [new_run(tmp_path / "runs", {**values, "name": name}) for name in ("one", "two")]
    lost: list[RunDir] = []

    def lose_a_node() -> None:
        """The one whose run has its first checkpoint first."""
        until(lambda: any(list(run.checkpoints("tune").glob("step-*")) for run in runs))
        run = next(run for run in runs if list(run.checkpoints("tune").glob("step-*")))
        pid = run.worker_pid()
        assert pid is not None, "it ended before its node could be killed"
        lost.append(run)
        above = {parent.pid for parent in psutil.Process(pid).parents()}
        (node,) = (each for each in nodes if each.all_processes["raylet"][0].process.pid in above)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=lose_a_node)
    killer.start()
    with closing(RayCrew(cluster.address, 1)) as crew, marked(tmp_path / "runs") as mark:
        troubles = work_through(runs, mark, crew, lambda run, event: None, lambda: False)
    killer.join(10)
    for node in cluster.list_all_nodes()[1:]:
        cluster.remove_node(node)
    assert troubles == {} and {run.status() for run in runs} == {RunStatus.FINISHED}
    (broken,) = lost
    (whole,) = (run for run in runs if run != broken)
    assert (begun(broken), begun(whole)) == (2, 1)
    found = read_events(broken.events_path)[0]
    again = max(place for place, event in enumerate(found) if isinstance(event, RunStarted))
    steps = [event.step for event in found[again:] if isinstance(event, StepDone)]
    assert steps[0] > 1 and steps[-1] == 150  # from a checkpoint, and to the end
    # The same recipe but for the name: the loss of a node changes no weight.
    assert slim(broken) == slim(whole)


def slim(run: RunDir) -> bytes:
    return (run.slim_path / "model.safetensors").read_bytes()


def test_a_cluster_that_cannot_work_on_the_runs_is_refused(cluster: Any, tmp_path: Path) -> None:
    run = new_run(tmp_path / "runs", tiny_values(tmp_path))

    def refusal(cpus: int, folder: Path) -> str:
        with closing(RayCrew(cluster.address, cpus)) as crew, marked(tmp_path / "runs") as mark:
            with pytest.raises(RunError) as raised:
                crew.begin([run], folder / mark.name)
            return str(raised.value)

    runs = tmp_path / "runs"
    assert "no node has a processor" in refusal(0, runs)
    node = cluster.add_node(num_cpus=1, **place())
    assert "needs a node with 7 processors and 0 GPUs, and there is none" in refusal(7, runs)
    assert f"does not see the runs folder {tmp_path}" in refusal(0, tmp_path)
    assert run.status() == RunStatus.QUEUED
    run = new_run(runs, tiny_values(tmp_path, runtime={"device": "cuda", "devices": 2}))
    assert "needs a node with 2 processors and 2 GPUs" in refusal(0, runs)
    cluster.remove_node(node)


def test_commands_are_carried_out_by_nodes_and_say_why_they_fail(
    cluster: Any, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1, **place())
    words = [["presets"], ["evaluate", "--model", "none", "--data", "none", "--shards", "2"]]
    with closing(RayCrew(cluster.address, 1)) as crew, marked(tmp_path / "out") as mark:
        fine, wrong = [future.result(120) for future in crew.begin_commands(words, mark)]
    cluster.remove_node(node)
    assert fine == ""
    assert wrong == "error: --shards N and --out FOLDER are given together"
