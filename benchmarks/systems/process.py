"""A system in a child process that is kept alive and gets each recording's path by pipe.

One JSON object a line, both ways. The recordings are `.npy` files that the parent decoded, so every
system gets the same samples, and reading them is not timed.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from benchmarks.systems.opening import Heard, System, open_system


class SystemFailedError(Exception):
    """A system could not be opened, or its process ended; says why."""


class SystemProcess:
    """The parent's side. `opened` is what the child said of itself once it was ready."""

    def __init__(self, system: System, language: str, threads: int, log: Path) -> None:
        # Every runtime has its own variable, or OpenMP's; torch and others are set by a call, too.
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, str(threads))}
        self._log = log
        with log.open("w") as errors:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.systems.process"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env={**environment, "HF_HUB_OFFLINE": "1"}, cwd=Path(__file__).parents[2],
            )  # fmt: skip
        self.opened = self.ask({**asdict(system), "language": language, "threads": threads})

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer. Raises `SystemFailedError`."""
        to, answers = _pipe(self._child.stdin), _pipe(self._child.stdout)
        try:
            to.write(json.dumps(request) + "\n")
            to.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemFailedError(self._reason())
        return dict(json.loads(line))

    def close(self) -> None:
        """End the child: it stops when nothing more can be asked."""
        _pipe(self._child.stdin).close()
        self._child.wait(timeout=60)

    def _reason(self) -> str:
        code = self._child.wait(timeout=60)
        lines = [line for line in self._log.read_text("utf-8").splitlines() if line.strip()]
        return f"exit status {code}: {lines[-1].strip() if lines else 'no message'}"


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise SystemFailedError("the process was started without pipes")
    return pipe


def serve() -> None:
    """The child's side: open what the first line says, then transcribe until the pipe closes."""
    # Libraries print to standard output; answers go to another descriptor.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.loads(sys.stdin.readline())
    language, threads = request.pop("language"), request.pop("threads")
    started = time.perf_counter()
    opened = open_system(System(**request), language, threads)
    _answer(
        answers,
        seconds=time.perf_counter() - started,
        describe=opened.describe,
        bytes_on_disk=opened.bytes_on_disk,
        **memory(),
    )
    import numpy as np

    for line in sys.stdin:
        audio = np.load(json.loads(line)["audio"])
        started = time.perf_counter()
        heard: Heard = opened.listen(audio)
        seconds = time.perf_counter() - started
        _answer(answers, seconds=seconds, **asdict(heard), **memory())


def memory() -> dict[str, int]:
    """Resident bytes of this process, now and at most since it began (Linux: VmRSS, VmHWM)."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    kilobytes = {name: int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM")}
    return {"resident": kilobytes["VmRSS"] * 1024, "peak": kilobytes["VmHWM"] * 1024}


def _answer(pipe: IO[str], **values: Any) -> None:
    pipe.write(json.dumps(values, ensure_ascii=False) + "\n")
    pipe.flush()


if __name__ == "__main__":
    serve()
