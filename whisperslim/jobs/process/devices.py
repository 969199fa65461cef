"""A run whose training is done by several processes of this machine, started by torchrun."""

import os
import subprocess
import sys

from whisperslim.jobs.process.child import worker_environment
from whisperslim.jobs.process.worker import signals_ask_to_stop
from whisperslim.jobs.run.folder import RunDir


def run_on_devices(run: RunDir) -> int:
    """Do the rest of a run in as many processes as its recipe says. Returns the exit code.

    Ctrl-C and SIGTERM ask the run to stop after its current step; a second one ends the processes,
    and work since the last checkpoint is lost.
    """
    runtime = run.recipe().runtime
    environment = worker_environment()
    if not runtime.threads:
        # What all of them may use: the cores, or what a cluster gave to this task.
        given = int(environment.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        environment["OMP_NUM_THREADS"] = str(max(1, given // runtime.devices))
    with signals_ask_to_stop(run):
        # In a session of its own: a terminal's Ctrl-C would reach torchrun, too, which gives its
        # processes thirty seconds to end.
        launcher = subprocess.Popen(
            _command(run, runtime.devices), env=environment, start_new_session=True
        )
        try:
            return launcher.wait()
        except KeyboardInterrupt:
            launcher.terminate()
            launcher.wait()
            raise


def _command(run: RunDir, processes: int) -> list[str]:
    # Not `--standalone`: it advertises the machine's name, which other processes may not find.
    return [
        sys.executable, "-m", "whisperslim.jobs.process.torchrun",
        "--nnodes", "1", "--nproc-per-node", str(processes),
        "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1",
        "-m", "whisperslim", "resume", str(run.path),
    ]  # fmt: skip
