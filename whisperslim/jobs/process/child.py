"""Workers as separate processes: closing the app or the terminal does not end a run."""

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import BinaryIO

import psutil

from whisperslim.core.disk.locks import is_locked_for_child, lock_for_child
from whisperslim.core.disk.untrusted import open_plain
from whisperslim.errors import RunError, shortage_in, signal_in_words
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.jobs.run.folder import RunDir
from whisperslim.machine.places import PACKAGE_PARENT

# A worker takes the lock before it loads torch, so this is long even on a busy machine.
_START_SECONDS = 60.0
_KILL_SECONDS = 10.0
_LOG_TAIL_BYTES = 2000
_LAST_LINES = 5  # of a log: what native code writes when it gives up, and no more
# Training allocates the same big blocks at every step. By default glibc returns them to the kernel
# and takes them again, page by page: measured on two cores, the kernel used 29 % of the CPU time;
# with these settings 15 %, and an update is 18 % faster. Results are the same; memory once taken is
# kept until the worker ends.
_GLIBC_TUNABLES = (
    "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=100000000000:glibc.malloc.mmap_max=0"
)


def start_worker(run: RunDir) -> int:
    """Start or continue a run in a detached process, whose output goes to `log.txt`. Returns its
    id.

    Returns once the worker holds the run. Raises `RunError` when the run is busy, its folder cannot
    be written to, or the process ends or a minute passes before it holds the run.
    """
    if is_alive(run):
        raise RunError(f"the run {run.name} is being worked on already")
    run.check_links()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    with disk_errors(run.path), open_plain(run.log_path, flags) as log:
        # Who starts it may be killed before it holds the run, and another one would start it again.
        if not lock_for_child(log):
            raise RunError(f"the run {run.name} is being begun already")
        child = detached(worker_command(run), log)
    collect(child)
    return _worker(run, child)


def detached(command: Sequence[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    """A process that outlives this one, with its output in `log`. `collect` it at the end."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=worker_environment(),
    )


def collect(child: subprocess.Popen[bytes]) -> None:
    """Wait for the exit code; otherwise the ended process stays in the process table."""
    threading.Thread(target=child.wait, daemon=True).start()


def is_alive(run: RunDir) -> bool:
    """Whether a process is working on the run."""
    return run.worker_pid() is not None


def is_begun(run: RunDir) -> bool:
    """Whether a worker was started that has not ended, even if it does not hold the run yet."""
    return is_locked_for_child(run.log_path)


def stop(run: RunDir, force: bool = False) -> None:
    """Ask the worker to stop after its current step, or with `force` kill it at once.

    A killed run continues from its last checkpoint. Raises `RunError` when nothing runs, and with
    `force` when it runs on another computer.
    """
    pid = run.worker_pid()
    if pid is None:
        raise RunError(f"the run {run.name} is not running; its status is {run.status()}")
    if not force:
        run.request_stop()
        return
    if there := run.working_elsewhere():
        raise RunError(
            f"the run {run.name} is at work on {there}, and only a program there can kill it: it "
            f"stops after its current step once asked; or run `whisperslim stop {run.path} "
            "--force` there"
        )
    # No request first: a quick worker would stop cleanly before the kill.
    _kill(pid)
    _wait_until_free(run)
    run.clear_stop()


def died_of(run: RunDir) -> str:
    """Why a worker ended that recorded no end itself, as far as its log says; else ""."""
    lines = _log_tail(run).splitlines()[-_LAST_LINES:]
    # Words of ours are of a shortage that was reported, of an earlier worker perhaps.
    written = "\n".join(line for line in lines if "there is not enough memory" not in line)
    shortage = shortage_in(written)
    return str(shortage) if shortage else ""


def worker_command(run: RunDir) -> list[str]:
    """The worker's command, the same that a person would type."""
    return own_command("resume", str(run.path))


def own_command(*arguments: str) -> list[str]:
    """`whisperslim ARGUMENTS` by this interpreter."""
    return module_command("whisperslim", *arguments)


def module_command(module: str, *arguments: str) -> list[str]:
    """A module of the package as a program, by this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def worker_environment() -> dict[str, str]:
    """What a process that does a run's work, or starts such processes, finds around it."""
    # The package may be used from a checkout without being installed.
    path = [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
    own = {"PYTHONPATH": os.pathsep.join(part for part in path if part)}
    if platform.libc_ver()[0] == "glibc":
        own["GLIBC_TUNABLES"] = os.environ.get("GLIBC_TUNABLES", _GLIBC_TUNABLES)
    return {**os.environ, **own}


def _worker(run: RunDir, child: subprocess.Popen[bytes]) -> int:
    """Id of the worker, which is `child` or was started by it, once it holds the run."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        pid = run.worker_pid()
        if pid is not None and _is_of(child, pid):
            return pid
        if child.poll() is None:
            time.sleep(0.05)
        elif child.returncode == 0:
            return child.pid
        else:
            raise RunError(f"the worker of {run.name} did not start{_last_words(run, child)}")
    child.kill()
    raise RunError(
        f"the worker of {run.name} did not begin within {_START_SECONDS:.0f} s. The machine may be "
        "too busy: resume the run later"
    )


def _is_of(child: subprocess.Popen[bytes], pid: int) -> bool:
    """Whether a process is `child` or its descendant: what a virtual environment's Python starts on
    Windows, or the first of several that torchrun starts.
    """
    try:
        return pid == child.pid or child.pid in (own.pid for own in psutil.Process(pid).parents())
    except psutil.Error:
        return False


def _last_words(run: RunDir, child: subprocess.Popen[bytes]) -> str:
    """What is known of the end of a worker that never held the run."""
    if shortage := died_of(run):
        return f": {shortage}"
    ended = f"; {signal_in_words(-child.returncode)} ended it" if child.returncode < 0 else ""
    return f"{ended}:\n{_log_tail(run)}"


def _log_tail(run: RunDir) -> str:
    try:
        with open_plain(run.log_path) as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _LOG_TAIL_BYTES))
            return log.read(_LOG_TAIL_BYTES).decode(errors="replace").strip()
    except (OSError, ValueError):
        return ""


def _kill(pid: int) -> None:
    try:
        worker = psutil.Process(pid)
        family = [*worker.children(recursive=True), worker]
    except psutil.NoSuchProcess:
        return
    _kill_session(pid)
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=_KILL_SECONDS)


def _kill_session(pid: int) -> None:
    # A child whose parent has ended is no longer a descendant, but still in the worker's group.
    # Only a worker that leads its session has its own group; a terminal's may hold others.
    if not hasattr(os, "killpg"):  # Windows has no sessions: descendants are all that is found
        return
    try:
        if os.getsid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _wait_until_free(run: RunDir) -> None:
    deadline = time.monotonic() + _KILL_SECONDS
    while is_alive(run):
        if time.monotonic() > deadline:
            raise RunError(f"the worker of {run.name} was killed, but something still holds it")
        time.sleep(0.05)
