"""Where in a file a recording is, when the file is more than that one recording."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch of a longer recording, in seconds from its beginning."""

    start: float
    seconds: float
