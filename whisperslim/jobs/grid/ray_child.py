"""The process that speaks with Ray, started by `ray_crew`.

One line of JSON comes in, with the runs; one goes out when the nodes are ready or refused, and one
for each run that has ended. When the input ends, so does this process, and with it its tasks.
"""

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from whisperslim.errors import RunError
from whisperslim.jobs.grid.mark import unfit
from whisperslim.jobs.grid.work import run_command, work_on

# The least that Ray accepts: tasks exchange paths and words only.
_STORE_BYTES = 80 * 1024 * 1024
_NODE_SECONDS = 120.0
Say = Callable[[Mapping[str, Any]], None]
# How many nodes a run may lose before it counts as what ends them. Our choice.
_LOST_NODES = 10


def main() -> None:
    """Do what the line at the input asks for."""
    say = _answers()
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        _join(asked["address"])
        needs = _needs(asked)
        _check_nodes(asked, needs)
    except SystemExit:  # of Ray, after minutes
        say({"refused": "what answers there is not the head of a Ray of this release"})
        return
    except (RunError, RayError, OSError, RuntimeError, ValueError) as error:
        say({"refused": str(error).strip() or type(error).__name__})
        return
    say({"ready": True})
    _work(asked, needs, say)
    ray.shutdown()


def _join(address: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    if address == "local":
        ray.init(
            address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet
        )
    else:
        ray.init(address=address, **quiet)


def _needs(asked: Mapping[str, Any]) -> list[dict[str, int]]:
    """What each run takes of a node. Raises `RunError` when no node has as much: Ray would wait."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [(int(each.get("CPU", 0)), int(each.get("GPU", 0))) for each in found]
    nodes = [node for node in nodes if node[0]]
    if not nodes:
        raise RunError("no node has a processor to work with; add one with `ray start --address`")
    smallest = min(cpus for cpus, _ in nodes)
    needs = []
    for run in asked["runs"]:
        has_gpu = any(gpus for _, gpus in nodes)
        on_gpu = run["device"] == "cuda" or (run["device"] == "auto" and has_gpu)
        gpus = run["devices"] if on_gpu else 0
        cpus = asked["cpus"] or gpus or smallest
        if not any(cpus <= there[0] and gpus <= there[1] for there in nodes):
            raise RunError(
                f"a task needs a node with {cpus} processors and {gpus} GPUs, and there is none; "
                f"the largest has {max(nodes)[0]} and {max(nodes)[1]}. Change --cpus or "
                "runtime.devices, or add a node"
            )
        needs.append({"num_cpus": cpus, "num_gpus": gpus})
    return needs


def _check_nodes(asked: Mapping[str, Any], needs: Sequence[Mapping[str, int]]) -> None:
    """Raise `RunError` when a node does not share the runs folder or has another version."""
    look = ray.remote(unfit)
    mark, version = Path(asked["mark"]), asked["version"]
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    answers = [
        look.options(
            num_cpus=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
        ).remote(mark, version)
        for node in nodes
    ]
    problems = []
    for node, answer in zip(nodes, answers, strict=True):
        try:
            problem = ray.get(answer, timeout=_NODE_SECONDS)
        except RayError as error:
            problem = (
                f"{node['NodeManagerHostname']} could not run WhisperSlim {version}: "
                f"{_last_line(error)}; install the same on every node"
            )
        problems += [problem] if problem else []
    if problems:
        raise RunError("; ".join(dict.fromkeys(problems)))


def _work(asked: Mapping[str, Any], needs: Sequence[Mapping[str, int]], say: Say) -> None:
    mark = Path(asked["mark"])
    waits = {
        _begun(run, need, mark): number
        for number, (run, need) in enumerate(zip(asked["runs"], needs, strict=True))
    }
    while waits:
        done, _ = ray.wait(list(waits), num_returns=1)
        for each in done:
            try:
                trouble = ray.get(each)
            except RayError as error:
                trouble = f"its node failed: {_last_line(error)}"
            say({"ended": waits.pop(each), "trouble": trouble})


def _begun(run: Mapping[str, Any], need: Mapping[str, int], mark: Path) -> Any:
    """The task of one run, or of one command."""
    own = {**need, "max_retries": _LOST_NODES, "scheduling_strategy": "SPREAD"}
    if "command" in run:
        return ray.remote(run_command).options(**own).remote(run["command"], mark)
    path = Path(run["path"])
    return ray.remote(work_on).options(**own, name=path.name).remote(path, mark)


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _answers() -> Say:
    """The way to answer. What Ray prints, as of a lost node, goes to the log instead."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(said: Mapping[str, Any]) -> None:
        out.write(json.dumps(said) + "\n")
        out.flush()

    return say


def _end_with_input() -> None:
    sys.stdin.read()
    # At once, whatever the other thread is at. Ray ends the tasks of a process that has gone, and
    # its own processes when this one started them.
    os._exit(1)


if __name__ == "__main__":
    main()
