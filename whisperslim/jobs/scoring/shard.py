"""Which part of many recordings a shard has. Loads nothing."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import UsageError

MOST_SHARDS = 500
"""Our choice: merging opens the files of all at once, and systems allow a process 1,024."""


@dataclass(frozen=True)
class Shard:
    """Shard `number`, from 1, of `of`. Raises `UsageError` for one that there cannot be."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.of <= MOST_SHARDS:
            raise UsageError(f"{self.of} shards: 1 to {MOST_SHARDS} are accepted")
        if not 1 <= self.number <= self.of:
            raise UsageError(f"there is no shard {self.number} of {self.of}; they count from 1")

    @property
    def name(self) -> str:
        """Of its file."""
        return f"shard-{self.number:03d}-of-{self.of:03d}.jsonl"

    def holds(self, key: str) -> bool:
        """Whether the clip of this key belongs to it."""
        return shard_number(key, self.of) == self.number


def shard_number(key: str, of: int) -> int:
    """Number, from 1, of the shard that a clip belongs to: by SHA-256 of its key."""
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") % of + 1


def missing(shards: int, folder: Path) -> list[Shard]:
    """The shards that are not in the folder yet."""
    wanted = [Shard(number, shards) for number in range(1, shards + 1)]
    return [shard for shard in wanted if not (folder / shard.name).exists()]
