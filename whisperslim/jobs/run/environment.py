"""`environment.json`: what a run was done with, so that its figures can be reproduced."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.untrusted import fitting, read_json
from whisperslim.errors import RunError
from whisperslim.jobs.recipe.sections import DataOptions
from whisperslim.machine.places import PACKAGE_PARENT
from whisperslim.version import __version__

# Packages that figures depend on; a missing one is recorded as missing.
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "librosa",
    "soxr",
    "av",
    "jiwer",
    "regex",
    "indic-nlp-library",
)


def record_attempt(path: Path, data: DataOptions) -> None:
    """Add one start of the run to the file, and at the first one the data's hashes.

    Raises `RunError` when the data has changed: the sampler numbers clips, so continuing would
    silently train on other clips. Raises `DataError` for unreadable data.
    """
    record = read(path)
    hashes = data_hashes([*data.train, *data.dev, *data.test])
    _refuse_changes(record.get("data", hashes), hashes)
    record["data"] = hashes
    record["attempts"] = [*record.get("attempts", []), describe()]
    _write(path, record)


def add_facts(path: Path, facts: dict[str, Any]) -> None:
    """Merge plain values found by a stage, such as the weights' hash, into the file."""
    _write(path, {**read(path), **facts})


def read(path: Path) -> dict[str, Any]:
    """The record so far; empty before the first attempt. Raises `RunError` when it is damaged."""
    try:
        record = read_json(path)
        _check(record)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); restore it, or start a new run: it records which "
            "data the run began with"
        ) from error
    return dict(record)


def describe() -> dict[str, Any]:
    """This machine and this program, now. Loads no further modules."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "whisperslim": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": _gpu_name(),
    }


def commit() -> str | None:
    """The checkout's git commit, with `+changes` when files differ from it; None without git."""
    if not (PACKAGE_PARENT / ".git").exists():
        return None
    head = _git("rev-parse", "HEAD")
    return f"{head}+changes" if head and _git("status", "--porcelain") else head


def data_hashes(sources: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Source -> number of clips and the hash of its list."""
    from whisperslim.speech.corpus.dataset import load_items, manifest_hash

    loaded = {source: load_items(source) for source in dict.fromkeys(sources)}
    return {
        source: {"clips": len(items), "sha256": manifest_hash(items)}
        for source, items in loaded.items()
    }


def _refuse_changes(before: dict[str, Any], now: dict[str, Any]) -> None:
    changed = [source for source, fact in now.items() if before.get(source) != fact]
    if changed:
        raise RunError(
            f"{', '.join(changed)} changed since the run began, so it cannot be continued; restore "
            "the old list of clips, or start a new run"
        )


def _check(record: Any) -> None:
    """Raise `ValueError` when the record does not have the expected form."""
    fitting(record, dict[str, Any])
    fitting(record.get("attempts", []), list[dict[str, Any]])
    fitting(record.get("data", {}), dict[str, dict[str, Any]])


def _write(path: Path, record: dict[str, Any]) -> None:
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
    write_text_atomically(path, text + "\n")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PACKAGE_PARENT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _gpu_name() -> str | None:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return str(torch.cuda.get_device_name(0))
