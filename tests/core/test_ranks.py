"""Processes that know one another: what the first one does, and what all learn of a failure."""

from pathlib import Path

import pytest
import torch

from tests.support.runs.ranked import in_processes
from whisperslim.core import ranks
from whisperslim.errors import DataError, RankError


def speak() -> dict[str, object]:
    """Every function once, in each of three processes."""
    own = ranks.rank()

    def of_first() -> tuple[int, int]:
        return own, ranks.size()

    return {
        "rank": own,
        "size": ranks.size(),
        "of first": ranks.on_first(of_first),
        "from first": ranks.from_first(f"process {own}"),
        "gathered": ranks.gathered(own * 10),
        "summed": ranks.summed(torch.tensor([own, 1.5])),
        "total": ranks.total(own + 1),
    }


def fail() -> dict[str, str]:
    found = {}

    def break_in_first() -> None:
        raise DataError("a shard is missing")

    def break_in_second() -> int:
        if own == 1:
            raise DataError("this machine has no such folder")
        return own

    own = ranks.rank()
    for name, attempt in (
        ("first", lambda: ranks.on_first(break_in_first)),
        ("second", lambda: ranks.together(break_in_second)),
        ("facts", lambda: ranks.check_alike({"torch": "2.1", "data": "ab"[own == 1]})),
    ):
        try:
            attempt()
        except (DataError, RankError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    found["after"] = str(ranks.gathered(own))
    return found


def lose_one() -> str:
    if ranks.rank() == 1:
        return "gone"  # its connections close
    with pytest.raises(RankError) as caught:
        ranks.total(1)
    return str(caught.value)


def test_what_each_of_three_processes_gets(tmp_path: Path) -> None:
    found = in_processes(3, speak, tmp_path)
    assert [each["rank"] for each in found] == [0, 1, 2]
    for each in found:
        assert each["size"] == 3
        assert each["of first"] == (0, 1), "inside, the first process asks nobody"
        assert each["from first"] == "process 0"
        assert each["gathered"] == [0, 10, 20]
        assert each["summed"].tolist() == [3.0, 4.5]
        assert each["total"] == 6


def test_a_failure_in_one_process_is_a_failure_in_all_with_words(tmp_path: Path) -> None:
    first, second, third = in_processes(3, fail, tmp_path)
    assert first["first"] == "DataError: a shard is missing"
    assert second["first"].startswith("RankError: the first process of this run failed")
    assert second["second"] == "DataError: this machine has no such folder"
    for other in (first, third):
        assert other["second"] == "RankError: process 2 of 3: this machine has no such folder"
    for each in (first, second, third):
        assert "process 2 of 3 has another data than the first: b instead of a" in each["facts"]
        assert each["after"] == "[0, 1, 2]", "and they still understand one another"


def test_a_process_that_is_gone_is_noticed(tmp_path: Path) -> None:
    said = in_processes(2, lose_one, tmp_path)[0]
    assert "another process of this run has ended" in said and "resume the run" in said


def test_without_others_everything_is_what_it_is_given() -> None:
    assert (ranks.rank(), ranks.size(), ranks.is_first()) == (0, 1, True)
    assert ranks.on_first(lambda: 5) == ranks.together(lambda: 5) == ranks.from_first(5) == 5
    assert ranks.gathered(5) == [5] and ranks.total(5) == 5
    with pytest.raises(DataError):
        ranks.on_first(_broken)
    ranks.check_alike({"torch": "2.1"})


def _broken() -> None:
    raise DataError("no")
