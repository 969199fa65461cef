"""How long optimizer steps take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pace:
    """Mean seconds per step since the last report; evaluations and checkpoints left out."""

    def __init__(self) -> None:
        self._seconds: list[float] = []

    @contextmanager
    def step(self) -> Iterator[None]:
        """To be open during one step."""
        started = time.perf_counter()
        yield
        self._seconds.append(time.perf_counter() - started)

    def mean(self) -> float:
        """Seconds per step, and a new start; 0 when there was no step."""
        mean = sum(self._seconds) / max(1, len(self._seconds))
        self._seconds = []
        return mean
