"""Other architectures cut at random, with random weights: what shapes alone say, and no error rate.

    python -m benchmarks.methods.shapes

Published weights of these sizes are not needed: parameters, bytes and operations follow from the
shapes, and so do times. Each row runs in a process of its own, whose peak of memory is the row's;
rows that the result holds already are not measured again. `--untimed` leaves the times out, on a
machine that does other work.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from benchmarks.shared.provenance import RESULTS, median_and_range, provenance, write_result
from whisperslim.core.cost.flops import WORKLOADS, count_flops
from whisperslim.core.families import family_of
from whisperslim.core.plan.plan import plan_to_budget
from whisperslim.core.store.checkpoint import count_parameters
from whisperslim.core.surgery.shrink import cut, resize

_RESULT = "shapes"
_WORK = WORKLOADS[0]
_FLOAT32 = 4


@dataclass(frozen=True)
class Shape:
    """A published size.

    Attributes:
        config, model: Names of its classes in transformers.
        removed: Share of the prunable weights to cut: what papers report for such models.
        sizes: Of the configuration; what is not said is the class's own.
    """

    config: str
    model: str
    removed: float
    sizes: Mapping[str, Any] = field(default_factory=dict)


ROWS = {
    # The classes' own sizes are those of wav2vec2-base and of parakeet-ctc-0.6b.
    "wav2vec2-base": Shape("Wav2Vec2Config", "Wav2Vec2ForCTC", 0.65),
    "HuBERT-large": Shape(
        "HubertConfig", "HubertForCTC", 0.6,
        {
            "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
            "intermediate_size": 4096, "do_stable_layer_norm": True, "feat_extract_norm": "layer",
            "conv_bias": True,
        },
    ),
    "Parakeet 0.6B": Shape("ParakeetCTCConfig", "ParakeetForCTC", 0.5),
}  # fmt: skip


def main() -> None:
    """Measure the rows that are missing, one process each, and store after each."""
    arguments = _arguments()
    if arguments.row:
        print(json.dumps(measured(arguments.row, arguments.threads, arguments.times)))
        return
    rows = {} if arguments.afresh else _stored()
    for row in ROWS:
        untimed = row in rows and rows[row]["before"]["seconds"] is None
        if row not in rows or (arguments.times and untimed):
            print(f"{row} ...", flush=True)
            rows[row] = _in_a_process(row, arguments)
            print(write_result(_RESULT, _record(rows, arguments)))


def measured(row: str, threads: int, times: int) -> dict[str, Any]:
    """Sizes before and after, seconds of `times` passes each, and this process's peak of memory."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    shape = ROWS[row]
    config = getattr(transformers, shape.config)(**shape.sizes)
    model: PreTrainedModel = getattr(transformers, shape.model)(config).eval()
    family = family_of(model)
    groups = family.unit_groups(model)
    scores = {group.key: torch.rand(group.count) for group in groups}
    plan = plan_to_budget(scores, groups, shape.removed)
    found: dict[str, Any] = {"removed_asked": shape.removed, "removed": plan.removed}
    found["before"] = _sizes(model, {}, times)
    started = time.perf_counter()
    cut(model, groups, plan)
    found["cut_seconds"] = time.perf_counter() - started if times else None
    counts = {group.key: len(plan.keep[group.key]) for group in groups}
    found["after"] = _sizes(model, counts, times)
    # Kilobytes, as Linux counts them.
    found["peak_memory_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found


def _sizes(model: PreTrainedModel, counts: Mapping[str, int], times: int) -> dict[str, Any]:
    family, parameters = family_of(model), count_parameters(model)
    skeleton = family.skeleton_of(model)
    if counts:
        resize(skeleton, counts)
    if count_parameters(skeleton) != parameters:
        raise RuntimeError("what is counted has not the shapes of what is timed")
    return {
        "parameters": parameters,
        "float32_bytes": _FLOAT32 * parameters,
        "flops": count_flops(skeleton, _WORK, {}).total,
        "seconds": median_and_range(_passes(model, times)) if times else None,
    }


@torch.no_grad()
def _passes(model: PreTrainedModel, times: int) -> list[float]:
    family, seconds = family_of(model), []
    for _ in range(times + 1):
        started = time.perf_counter()
        family.pass_in_use(model, _WORK.frames, _WORK.tokens)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]  # the first one makes room


def _in_a_process(row: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.methods.shapes", "--row", row]
    command += ["--threads", str(arguments.threads), "--times", str(arguments.times)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _stored() -> dict[str, Any]:
    file = RESULTS / f"{_RESULT}.json"
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))["rows"] if file.is_file() else {}
    return found


def _record(rows: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "what": "random weights, units cut at random: sizes, operations and seconds; no text",
        "work": _WORK.describe(),
        "timed": arguments.times > 0,
        "memory_is": "largest resident set of the process that built, counted, cut and timed a row",
        "rows": dict(rows),
        **provenance(arguments.threads),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=10, help="passes that are timed")
    parser.add_argument("--untimed", action="store_const", const=0, dest="times")
    parser.add_argument("--afresh", action="store_true", help="measure stored rows again")
    parser.add_argument("--row", choices=tuple(ROWS), help="measure one here and print it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
