"""Runs worked on by the nodes of a Ray cluster, or by a Ray of this machine alone.

Ray ends every process that loses its head, without a word: so the one that speaks with Ray
(`ray_child`) is another than the command, which then says what happened. Loads no Ray.
"""

import contextlib
import json
import os
import queue
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.process.child import module_command, worker_environment
from whisperslim.jobs.run.folder import RunDir
from whisperslim.machine.extras import need
from whisperslim.version import __version__

LOCAL = "local"
_LOOPBACK = ("127.0.0.1", "localhost")
_CONNECT_SECONDS = 5.0
_READY_SECONDS = 180.0  # until Ray has started and every node has loaded Python and answered
_END_SECONDS = 20.0
_TAIL_BYTES, _WORDS = 4000, 300


class RayCrew:
    """Each run is a task of a Ray cluster; one whose node is lost is given to another node.

    Args:
        address: HOST:PORT of the cluster's head, or `local` for a Ray of this machine alone, which
            is started and ended with the work.
        cpus: Processors that a run takes; 0: one for each of its GPUs, else as many as the smallest
            node has, so that a node works on one run at a time.

    Raises:
        UsageError: Ray is not installed, or the address is malformed.
        RunError: nobody answers at the address.
    """

    def __init__(self, address: str, cpus: int = 0) -> None:
        need("scale", "--ray")
        self._host = _answering(address)
        self._address = address
        self._cpus = cpus
        self._child: subprocess.Popen[str] | None = None
        self._said: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._ended: list[Future[str]] = []
        self._closed = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in `close`

    def begin(self, runs: Sequence[RunDir], mark: Path) -> Sequence["Future[str]"]:
        return self._begin([_needs(run) for run in runs], mark)

    def begin_commands(
        self, commands: Sequence[Sequence[str]], mark: Path
    ) -> Sequence["Future[str]"]:
        """Likewise, command lines of `whisperslim` that work on the processor.

        What comes back of each is why it failed, "" when it did not.
        """
        return self._begin([{"command": list(words), "device": "cpu"} for words in commands], mark)

    def _begin(self, tasks: list[dict[str, Any]], mark: Path) -> Sequence["Future[str]"]:
        self._ended = [Future() for _ in tasks]
        self._child = subprocess.Popen(
            module_command("whisperslim.jobs.grid.ray_child"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,  # Ctrl-C is for the command, which asks the runs to stop
            env=self._environment(),
        )
        assert self._child.stdin
        threading.Thread(target=self._listen, daemon=True).start()
        asked = {
            "address": self._address,
            "cpus": self._cpus,
            "mark": str(mark),
            "version": __version__,
            "runs": tasks,
        }
        with contextlib.suppress(BrokenPipeError):  # it ended: `_listen` finds that
            self._child.stdin.write(json.dumps(asked) + "\n")
            self._child.stdin.flush()
        self._wait_until_ready()
        return self._ended

    def close(self) -> None:
        self._closed = True
        child = self._child
        if child is not None:
            assert child.stdin
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()  # it then ends its tasks, and a Ray that it started
            try:
                child.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._log.close()

    def _wait_until_ready(self) -> None:
        try:
            answer = self._said.get(timeout=_READY_SECONDS)
        except queue.Empty:
            answer = {"refused": f"nothing was heard from it within {_READY_SECONDS:.0f} s"}
        if answer is None:
            answer = {"refused": self._last_words()}
        if "refused" in answer:
            raise RunError(
                f"Ray at {self._address} cannot work on the runs: {answer['refused']}. No run was "
                "begun"
            )

    def _listen(self) -> None:
        """Pass on what the child says: first that it is ready, then the end of each run."""
        assert self._child and self._child.stdout
        for line in self._child.stdout:
            said = json.loads(line)
            if "ended" in said:
                self._ended[said["ended"]].set_result(said["trouble"])
            else:
                self._said.put(said)
        self._said.put(None)
        for future in self._ended:
            if not future.done() and not self._closed:
                future.set_result(
                    f"Ray at {self._address} went away, as when its head ends "
                    f"({self._last_words()})"
                )

    def _last_words(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES))
        lines = text.decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:_WORDS] if lines else "it ended without a word"

    def _environment(self) -> dict[str, str]:
        own = {"RAY_USAGE_STATS_ENABLED": "0"}
        if self._host in _LOOPBACK:
            # Ray's name for "do not replace 127.0.0.1 by the address in the network", where a
            # firewall may keep the parts of one machine from each other.
            own["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        return {**worker_environment(), **own}


def _needs(run: RunDir) -> dict[str, Any]:
    runtime = run.recipe().runtime
    return {"path": str(run.path), "device": runtime.device, "devices": runtime.devices}


def _answering(address: str) -> str:
    """The host of an address at which something answers; Ray itself would ask for minutes."""
    if address == LOCAL:
        return _LOOPBACK[0]
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or "/" in address:
        raise UsageError(
            f"--ray {address!r} is not an address; give {LOCAL} for this machine, or HOST:PORT of "
            "a cluster's head, as `ray start` prints it, on a machine that is one of its nodes"
        )
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise RunError(
            f"nobody answers at {address} ({error}); start the head with `ray start --head`, or "
            f"give the address that it printed, or {LOCAL}. No run was begun"
        ) from error
    return host
