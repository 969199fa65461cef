"""A worker that is killed, or finds no room, at one of its calls to the file system.

Its own calls are counted, in its run folder.
"""

import errno
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.runs.forked import GIVE_UP_SECONDS
from whisperslim.engines.export import parity, parity_child
from whisperslim.errors import RunError
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.run.folder import RunDir

# What Python announces before it does it. `os.rename` is os.replace, too.
_CALLS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate")
_FREEING = ("os.remove", "os.rmdir")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
Count = Callable[[str], None]


def calls_of(run: RunDir, cache: Path, list_in: Path) -> list[str]:
    """The calls of a worker that nothing befalls, in order, as `name path`."""
    assert _ended(run, cache, "list", 0, list_in) == 0
    return list_in.read_text("utf-8").splitlines()


def kill_at(run: RunDir, cache: Path, number: int) -> int:
    """The exit code of a worker killed before its call of that number, counted from 1."""
    return _ended(run, cache, "kill", number, None)


def fill_at(run: RunDir, cache: Path, number: int, said_in: Path) -> int:
    """The exit code of a worker that finds no room from its call of that number on.

    What is said of a run that took nothing at all is written to `said_in`.
    """
    return _ended(run, cache, "fill", number, said_in)


def go_on(run: RunDir, cache: Path) -> int:
    """The exit code of a worker that nothing befalls."""
    return _ended(run, cache, "list", 0, None)


def figures(path: Path) -> Any:
    """The record of an evaluation without what a clock said, which no two runs have alike."""
    return _without_seconds(json.loads(path.read_text("utf-8")))


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_seconds(each) for k, each in value.items() if k not in _OF_A_RUN}
    return [_without_seconds(each) for each in value] if isinstance(value, list) else value


_OF_A_RUN = {"seconds", "model"}  # the model is named by its folder


def _ended(run: RunDir, cache: Path, what: str, number: int, out: Path | None) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["whisperslim.jobs.stages.order", "tests.support.runs.kill_calls"]
    )
    worker = context.Process(target=_work, args=(str(run.path), str(cache), what, number, out))
    worker.start()
    worker.join(GIVE_UP_SECONDS)
    assert worker.exitcode is not None, "the worker does not end"
    return worker.exitcode


def _work(path: str, cache: str, what: str, number: int, out: Path | None) -> None:
    os.environ["WHISPERSLIM_CACHE"] = cache
    # In this process: another one would load all libraries again, at every export.
    parity.run_child = lambda place, timeout: parity_child.main(place)  # type: ignore[assignment]
    seen: list[str] = []
    watch(path, {"list": seen.append, "kill": killing(number), "fill": filling(number)}[what])
    said = ""
    try:
        code = run_worker(RunDir(Path(path)))
    except RunError as error:  # the disk took nothing at all
        code, said = error.exit_code, str(error)
    if out is not None:
        out.write_text("\n".join(seen) or said, "utf-8")
    os._exit(code)


def killing(number: int) -> Count:
    """Ends this process at the call of that number."""
    left = [number]

    def count(call: str) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def filling(number: int) -> Count:
    """Refuses that call and all after it for want of room; in the end there is some for the log."""
    left, room = [number], [False]

    def count(call: str) -> None:
        left[0] -= 1
        if left[0] <= 0 and call.startswith(_FREEING):
            room[0] = room[0] or call.endswith(".room-for-last-words")
        elif left[0] <= 0 and not (room[0] and call.endswith(("events.jsonl", "os.fsync"))):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), call)

    return count


def watch(folder: str, count: Count) -> None:
    """Have `count` called before each call that changes something in `folder`, and each flush."""
    flush = os.fsync

    def counted_flush(descriptor: Any) -> None:
        count("os.fsync")
        flush(descriptor)

    def announced(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open":
            path, mode, flags = arguments
            # `open` says a mode, `os.open` flags alone.
            changes = (mode is not None and set(mode) & set("wax+")) or flags & _WRITES
        else:
            changes, path = name in _CALLS, arguments[0] if arguments else None
        if changes and isinstance(path, (str, os.PathLike)) and _below(os.fspath(path), folder):
            count(f"{name} {os.path.relpath(os.fspath(path), folder)}")

    os.fsync = counted_flush  # it is not announced
    sys.addaudithook(announced)


def _below(path: str | bytes, folder: str) -> bool:
    return isinstance(path, str) and path.startswith(folder + os.sep)
