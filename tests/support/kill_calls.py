"""A worker that is killed at one of its own calls to the file system, counted in its run folder."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.support.forked import GIVE_UP_SECONDS
from whisperslim.jobs.process.worker import run_worker
from whisperslim.jobs.run.folder import RunDir

# What Python announces before it does it. `os.rename` is os.replace, too.
_CALLS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def calls_of(run: RunDir, cache: Path, list_in: Path) -> list[str]:
    """The calls of a worker that nothing befalls, in order, as `name path`."""
    assert _ended(_started(run, cache, 0, list_in)) == 0
    return list_in.read_text("utf-8").splitlines()


def kill_at(run: RunDir, cache: Path, number: int) -> int:
    """The exit code of a worker killed before its call of that number, counted from 1."""
    return _ended(_started(run, cache, number, None))


def figures(path: Path) -> Any:
    """The record of an evaluation without what a clock said, which no two runs have alike."""
    return _without_seconds(json.loads(path.read_text("utf-8")))


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_seconds(each) for k, each in value.items() if k not in _OF_A_RUN}
    return [_without_seconds(each) for each in value] if isinstance(value, list) else value


_OF_A_RUN = {"seconds", "model"}  # the model is named by its folder


def _started(run: RunDir, cache: Path, number: int, list_in: Path | None) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whisperslim.jobs.stages.order", "tests.support.kill_calls"])
    worker = context.Process(target=_work, args=(str(run.path), str(cache), number, list_in))
    worker.start()
    return worker


def _ended(worker: BaseProcess) -> int:
    worker.join(GIVE_UP_SECONDS)
    assert worker.exitcode is not None, "the worker does not end"
    return worker.exitcode


def _work(path: str, cache: str, number: int, list_in: Path | None) -> None:
    os.environ["WHISPERSLIM_CACHE"] = cache
    seen: list[str] = []

    def count(call: str) -> None:
        seen.append(call)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(path, count)
    code = run_worker(RunDir(Path(path)))
    if list_in is not None:
        list_in.write_text("\n".join(seen), "utf-8")
    os._exit(code)


def _watch(folder: str, count: Callable[[str], None]) -> None:
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
