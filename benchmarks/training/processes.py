"""Training by two processes with a thread each, against one process with two threads.

    python -m benchmarks.training.processes --model openai/whisper-base

The same batches of eight clips of about five seconds, the same precision. Every arm is started and
ended in turn, round after round; a step's time is the median of those after the first ten. What is
added by other processes is measured apart: the sum of gradients of the model's size over both.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.shared.provenance import median_and_range, provenance, write_result
from benchmarks.training.step import clips_of_five_seconds, events_of_training
from whisperslim.core import ranks
from whisperslim.core.loading import load_model
from whisperslim.events import StepDone
from whisperslim.methods.base import Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.train.gradients import sum_gradients
from whisperslim.train.loop import make_optimizer
from whisperslim.train.options import TrainOptions
from whisperslim.train.precision import choose_precision

WARM_UP = 10
SUMS = 20  # times that the gradients are summed
ARMS = {"1 process": 1, "2 processes": 2}


def main() -> None:
    """Measure every arm in turn, and store."""
    arguments = _arguments()
    if arguments.child:
        _train(arguments)
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
    for repeat in range(arguments.repeats):
        for name, count in ARMS.items():
            found[name].append(_arm(arguments, count))
            print(f"round {repeat} {name}: {found[name][-1]}", flush=True)
    step = {name: median_and_range([own["step"] for own in runs]) for name, runs in found.items()}
    summing = [own["sum"] for own in found["2 processes"]]
    record = {
        "what": "seconds per training step of 8 clips, by one process and by two",
        "precision": choose_precision("auto", "cpu").name,
        "seconds": step,
        "speed_of_two": step["1 process"]["median"] / step["2 processes"]["median"],
        "sum_seconds": median_and_range(summing),
        "sum_bytes": found["2 processes"][0]["bytes"],
        "steps": arguments.steps,
        **provenance(2),
    }
    print(write_result("training_processes", record))


def _arm(arguments: argparse.Namespace, count: int) -> dict[str, float]:
    """One training by `count` processes that share two threads."""
    with TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        launcher = "whisperslim.jobs.process.torchrun"
        many = [
            "-m", launcher, "--nnodes", "1", "--nproc-per-node", str(count), "--rdzv-backend",
            "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1",
        ]  # fmt: skip
        own = ["-m", "benchmarks.training.processes", "--child", str(result)]
        own += ["--model", arguments.model, "--data", arguments.data]
        own += ["--steps", str(arguments.steps), "--threads", str(2 // count)]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(2 // count),
            "THP_MEM_ALLOC_ENABLE": "1",
        }
        command = [sys.executable, *(many if count > 1 else []), *own]
        subprocess.run(command, check=True, env=environment)
        found: dict[str, float] = json.loads(result.read_text("utf-8"))
        return found


def _train(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    with ranks.joined(), TemporaryDirectory() as folder:
        speech = load_model(arguments.model)
        method = Plain(PlainOptions(), Target(0.0, 0.0))
        items = clips_of_five_seconds(arguments.data)
        events = events_of_training(
            speech, method, items, Path(folder), choose_precision("auto", "cpu")
        )
        seconds: list[float] = []
        while len(seconds) < arguments.steps:
            event = next(events)
            if isinstance(event, StepDone):
                seconds.append(event.seconds_per_step)
        found: dict[str, Any] = {"step": statistics.median(seconds[WARM_UP:])}
        optimizer = make_optimizer(speech.model, method, TrainOptions())
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        for each in parameters:
            each.grad = torch.ones_like(each)
        started = time.perf_counter()
        for _ in range(SUMS):
            sum_gradients(optimizer, {"cross_entropy": torch.zeros(())})
        found["sum"] = (time.perf_counter() - started) / SUMS
        found["bytes"] = sum(each.nbytes for each in parameters)
        if ranks.is_first():
            Path(arguments.child).write_text(json.dumps(found), "utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="openai/whisper-base")
    parser.add_argument("--data", default="assets/demo_hi", help="clips of about 5 s are chosen")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--threads", type=int, default=2, help=argparse.SUPPRESS)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
