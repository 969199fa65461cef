"""Where in a file a recording is, when the file is more than that one recording."""

from dataclasses import dataclass

from whisperslim.speech.corpus.remote.shard_store import HubShard

MOST_CLIP_BYTES = 1 << 28
"""Of a recording in an archive: 45 minutes of 48 kHz, 16 bits and one channel. Our choice."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of a longer recording, in seconds from its beginning."""

    start: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file that are a recording's, as in a tar."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A recording in a parquet file: its column, its row group and its row in that, from 0.

    `shard` is the file on the hub, which is fetched when the recording is asked for.
    """

    column: str
    group: int
    row: int
    shard: HubShard | None = None


Part = Span | Cell
