"""Wall time and peak memory of the quick preset, with the model already fetched.

python -m benchmarks.training.quick_preset
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.shared.provenance import provenance, write_result
from whisperslim.core.disk.weight_files import weights_bytes


def main() -> None:
    """Run the preset as a user would, in a child process, and watch it."""
    with TemporaryDirectory() as runs:
        started = time.perf_counter()
        command = [sys.executable, "-m", "whisperslim", "compress", "quick-demo", "--runs", runs]
        child = psutil.Popen(command, stdout=subprocess.DEVNULL)
        peak = _watch(child)
        seconds = time.perf_counter() - started
        if child.returncode != 0:
            raise SystemExit(f"the quick preset failed with exit code {child.returncode}")
        run = next(Path(runs).iterdir())
        parity = json.loads((run / "parity.json").read_text())
        plan = json.loads((run / "plan.json").read_text())
        slim_bytes = weights_bytes(run / "slim")
    record = {
        "what": "quick preset, model already fetched",
        "seconds": seconds,
        "peak_memory_bytes": peak,
        "memory_is": "sum of resident set sizes of the process and its children, every 0.2 s",
        "removed_of_prunable": plan["removed"],
        "slim_weights_bytes": slim_bytes,
        "parity": parity,
        **provenance(threads=0),
    }
    print(write_result("quick_preset", record))


def _watch(child: psutil.Popen) -> int:
    peak = 0
    while child.poll() is None:
        try:
            family = [child, *child.children(recursive=True)]
            peak = max(peak, sum(process.memory_info().rss for process in family))
        except psutil.NoSuchProcess:
            continue
        time.sleep(0.2)
    return peak


if __name__ == "__main__":
    main()
