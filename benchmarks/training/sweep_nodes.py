"""Seconds of a sweep over a folder of recipes: one run after another, and on two Ray nodes.

    python -m benchmarks.training.sweep_nodes --model openai/whisper-base

The nodes are two of this machine, each with half of its cores; a run that is alone has all of them.
The recipes are alike but for their seeds. Both ways are the whole command, with the start of Ray's
nodes left out, and with the table and the picture at the end.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from benchmarks.shared.provenance import median_and_range, provenance, write_result
from whisperslim.events import Finished, RunStarted
from whisperslim.jobs.run.eventlog import read_events
from whisperslim.jobs.run.folder import RunStatus, list_runs

NODES = 2
STORE_BYTES = 80 * 1024 * 1024
# As `whisperslim --ray` has it for a cluster of one machine.
LOOPBACK = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_worker_niceness": "0"}  # fmt: skip


def main() -> None:
    """Measure and store."""
    arguments = _arguments()
    os.environ.update(LOOPBACK)
    half = max(1, (os.cpu_count() or 1) // NODES)
    seconds: dict[str, list[float]] = {"one_after_another": [], "two_nodes": []}
    worked: dict[str, list[float]] = {name: [] for name in seconds}
    with TemporaryDirectory() as folder, nodes(half) as address:
        recipes = write_recipes(Path(folder), arguments)
        for repeat in range(arguments.repeats):
            for name, more in (
                ("one_after_another", []),
                ("two_nodes", ["--ray", address, "--cpus", str(half)]),
            ):
                runs = Path(folder) / f"{name}-{repeat}"
                seconds[name].append(sweep(recipes, runs, more))
                worked[name].append(at_work(runs, arguments.runs))
                print(f"{name} {seconds[name][-1]:.1f} s, at work {worked[name][-1]:.1f} s")
    pairs = zip(seconds["one_after_another"], seconds["two_nodes"], strict=True)
    record = {
        "what": "seconds of a sweep over recipes that differ in their seeds alone",
        "runs": arguments.runs,
        "steps": arguments.steps,
        "model": Path(arguments.model).name,
        "nodes": NODES,
        "cores_per_node": half,
        "seconds": {name: median_and_range(values) for name, values in seconds.items()},
        "seconds_at_work": {name: median_and_range(values) for name, values in worked.items()},
        "one_over_two": median_and_range([one / two for one, two in pairs]),
        **provenance(os.cpu_count() or 1),
    }
    print(write_result(arguments.out, record))


def write_recipes(folder: Path, arguments: argparse.Namespace) -> Path:
    """The folder of recipes."""
    made = folder / "recipes"
    made.mkdir()
    for seed in range(arguments.runs):
        recipe = {
            "name": f"seed-{seed}",
            "model": arguments.model,
            "target": {"removed": 0.3},
            "data": {"train": [f"{arguments.data}#train"], "test": [f"{arguments.data}#test"]},
            "train": {"steps": arguments.steps, "evaluate_every": 0, "warmup_steps": 0},
            "recover": {"steps": 0},
            "evaluate": {"limit": arguments.clips},
            "runtime": {"device": "cpu", "seed": seed},
        }
        (made / f"seed-{seed}.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    return made


@contextmanager
def nodes(cpus: int) -> Iterator[str]:
    """The address of a cluster of this machine; its head has no processor to work with."""
    from ray.cluster_utils import Cluster

    place: dict[str, Any] = {"node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES}
    head = {"num_cpus": 0, "include_dashboard": False, **place}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(NODES):
            cluster.add_node(num_cpus=cpus, **place)
        yield cluster.address
    finally:
        cluster.shutdown()


def sweep(recipes: Path, runs: Path, more: list[str]) -> float:
    """Seconds that the whole command takes. Raises when it fails."""
    command = [sys.executable, "-m", "whisperslim", "sweep", str(recipes), "--runs", str(runs)]
    began = time.perf_counter()
    subprocess.run([*command, *more], check=True)
    return time.perf_counter() - began


def at_work(runs: Path, count: int) -> float:
    """Seconds from the start of the first run to the end of the last one."""
    found = list_runs(runs)
    assert len(found) == count and all(run.status() == RunStatus.FINISHED for run in found)
    events = [event for run in found for event in read_events(run.events_path)[0]]
    starts = [event.at for event in events if isinstance(event, RunStarted)]
    return max(event.at for event in events if isinstance(event, Finished)) - min(starts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--data", default=str(Path("assets/demo_hi").absolute()))
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--clips", type=int, default=8, help="that each model is scored on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", default="sweep_nodes", help="name of the result")
    return parser.parse_args()


if __name__ == "__main__":
    main()
