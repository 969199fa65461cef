"""Which clips a shard has, and which shards are missing."""

from pathlib import Path

import numpy as np
import pytest

from whisperslim.errors import UsageError
from whisperslim.jobs.scoring.shard import MOST_SHARDS, Shard, missing


def test_every_clip_is_in_one_shard_and_shards_are_about_equal() -> None:
    keys = [f"audio/clip_{number}.wav" for number in range(3000)]
    held = [[shard.holds(key) for key in keys] for shard in map(Shard, (1, 2, 3), (3, 3, 3))]
    assert np.array(held).sum(axis=0).tolist() == [1] * 3000
    # A thousand each, give or take five standard deviations of a binomial.
    assert all(abs(sum(each) - 1000) < 130 for each in held)


@pytest.mark.parametrize(("number", "of"), [(0, 3), (4, 3), (1, 0), (1, MOST_SHARDS + 1)])
def test_a_shard_that_there_cannot_be_is_refused(number: int, of: int) -> None:
    with pytest.raises(UsageError, match="shard"):
        Shard(number, of)


def test_missing_shards_are_those_without_a_file(tmp_path: Path) -> None:
    (tmp_path / Shard(2, 3).name).touch()
    (tmp_path / Shard(1, 2).name).touch()  # of another number of shards
    assert missing(3, tmp_path) == [Shard(1, 3), Shard(3, 3)]
