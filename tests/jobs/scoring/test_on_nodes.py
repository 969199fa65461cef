"""Shards given to nodes as commands: which are given, and what becomes of those that fail."""

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from whisperslim.errors import RunError
from whisperslim.jobs.grid.mark import may_begin
from whisperslim.jobs.scoring.on_nodes import work_on_shards
from whisperslim.jobs.scoring.shard import Shard


class Stand:
    """Nodes that make the file a command is for, but for the shards that are to fail."""

    def __init__(self, *failing: int) -> None:
        self.failing = failing
        self.given: list[list[str]] = []

    def begin_commands(
        self, commands: Sequence[Sequence[str]], mark: Path
    ) -> "Sequence[Future[str]]":
        assert may_begin(mark)
        ended = []
        for words in map(list, commands):
            self.given.append(words)
            options = dict(zip(words[1::2], words[2::2], strict=True))
            shard = Shard(int(options["--shard"]), int(options["--shards"]))
            future = Future[str]()
            if shard.number in self.failing:
                future.set_result("error: the disk is full")
            else:
                (Path(options["--out"]) / shard.name).touch()
                future.set_result("")
            ended.append(future)
        return ended


def test_only_missing_shards_are_given_and_all_of_them_are_named_that_fail(tmp_path: Path) -> None:
    (tmp_path / Shard(2, 4).name).touch()
    nodes, said = Stand(1, 4), list[str]()
    words = ["evaluate", "--model", "m"]
    with pytest.raises(RunError, match=r"2 of 4 shards could not(.|\n)*shard 1: error: the disk"):
        work_on_shards(words, 4, tmp_path, nodes, said.append)
    assert [given[:3] for given in nodes.given] == [words] * 3
    assert [given[given.index("--shard") + 1] for given in nodes.given] == ["1", "3", "4"]
    assert sorted(said) == [
        "shard 1 of 4: error: the disk is full",
        "shard 3 of 4: made",
        "shard 4 of 4: error: the disk is full",
    ]
    again = Stand()
    work_on_shards(words, 4, tmp_path, again)
    assert [given[given.index("--shard") + 1] for given in again.given] == ["1", "4"]
    work_on_shards(words, 4, tmp_path, Stand(1, 2, 3, 4))  # nothing is left to do
    assert not list(tmp_path.glob(".sweep-*"))
