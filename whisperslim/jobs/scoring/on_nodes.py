"""Shards worked on by the nodes of a Ray cluster, each by a command of its own."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Protocol

from whisperslim.errors import RunError
from whisperslim.jobs.grid.mark import marked
from whisperslim.jobs.scoring.shard import missing


class Nodes(Protocol):
    """Who carries commands out; `RayCrew` is one."""

    def begin_commands(
        self, commands: Sequence[Sequence[str]], mark: Path
    ) -> "Sequence[Future[str]]":
        """Begin them; each future is why one failed, or ""."""


def work_on_shards(
    words: Sequence[str],
    shards: int,
    folder: Path,
    nodes: Nodes,
    announce: Callable[[str], None] = lambda message: None,
) -> None:
    """Have all shards made that are not in `folder` yet.

    Args:
        words: Of the command that works in shards, as for one machine, without `--shards`,
            `--shard` and `--out`. Its paths are the same on every node.
        shards: How many.
        folder: Of the shards, absolute and shared by all nodes.
        nodes: Who works.
        announce: Called with each shard that has ended.

    Raises `RunError` when nobody can work, and in the end for shards that could not be made, with
    what their commands said; the others are kept.
    """
    absent = missing(shards, folder)
    if not absent:
        return
    own = ["--shards", str(shards), "--out", str(folder)]
    commands = [[*words, *own, "--shard", str(shard.number)] for shard in absent]
    troubles = {}
    with marked(folder) as mark:
        futures = nodes.begin_commands(commands, mark)
        of = dict(zip(futures, absent, strict=True))
        for future in as_completed(of):
            number = of[future].number
            troubles[number] = future.result()
            announce(f"shard {number} of {shards}: {troubles[number] or 'made'}")
    failed = {number: why for number, why in sorted(troubles.items()) if why}
    if failed:
        lines = "\n  ".join(f"shard {number}: {why}" for number, why in failed.items())
        raise RunError(
            f"{len(failed)} of {shards} shards could not be made; the others are kept. Remove "
            f"the cause and give the same command again:\n  {lines}"
        )
