"""Processes that train together, as torchrun would start them, from a server with torch loaded."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.support.runs.forked import GIVE_UP_SECONDS
from whisperslim.core import ranks


def in_processes(count: int, work: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returns in each of `count` processes that know one another.

    `work` must be a function of a module, and what it returns plain values and tensors.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["whisperslim.train.loop", "tests.support.runs.ranked"])
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    results = [folder / f"{rank}-of-{count}.pt" for rank in range(count)]
    processes = [
        context.Process(target=_begin, args=(rank, count, port, result, work, arguments))
        for rank, result in enumerate(results)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(GIVE_UP_SECONDS)
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(result) for result in results]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def launch_variables(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun sets for a process."""
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip


def _begin(
    rank: int, count: int, port: int, result: Path, work: Callable[..., Any], arguments: Any
) -> None:
    os.environ.update(launch_variables(rank, count, port))
    torch.set_num_threads(1)
    with ranks.joined():
        torch.save(work(*arguments), result)
