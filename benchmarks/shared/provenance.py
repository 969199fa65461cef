"""What must be recorded with a figure so that it can be checked and repeated."""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from whisperslim.core.disk.files import write_text_atomically

RESULTS = Path(__file__).parents[1] / "results"
_PACKAGES = ("torch", "transformers", "ctranslate2", "numpy", "gradio", "jiwer")


def provenance(threads: int) -> dict[str, Any]:
    """Versions, machine and commit. No path and no host name."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "device": "cpu",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "torch_threads": torch.get_num_threads(),
        "command": f"python -m {_module()} {shlex.join(map(_bare, sys.argv[1:]))}".strip(),
    }


def write_result(name: str, record: dict[str, Any]) -> Path:
    """Store one benchmark's record under `benchmarks/results`."""
    path = RESULTS / f"{name}.json"
    write_text_atomically(path, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    return path


def median_and_range(values: list[float]) -> dict[str, float]:
    """Median, least and most of repeated measurements."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    median = ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return {"median": median, "min": ordered[0], "max": ordered[-1], "runs": len(ordered)}


def timed(work: Any) -> float:
    """Seconds one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _module() -> str:
    """The module that was run, as it is named on the command line."""
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else Path(sys.argv[0]).name


def _bare(argument: str) -> str:
    """An argument without the folders of this machine."""
    name, equals, value = argument.partition("=")
    if equals:
        return f"{name}={_bare(value)}"
    return Path(argument).name if argument.startswith(os.sep) else argument


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines()
             if line.startswith("model name")]  # fmt: skip
    return names[0] if names else platform.processor()
