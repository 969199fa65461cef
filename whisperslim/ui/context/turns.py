"""Whose turn it is with the models: comparisons in the order they came, other work in between."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from whisperslim.engines.comparison import Comparison
    from whisperslim.ui.context.side_choice import SideChoice


@dataclass(eq=False)
class Asked:
    """A comparison that waits for its turn.

    Attributes:
        recording: Path of the file.
        sides: Two, or three.
        audio: Mono float32 at 16 kHz.
        language: Code.
        reference: What is said, or None.
        alone: Whether it must not be heard together with others.
        result: Set when its turn is over, to what makes the comparison of what was heard.
    """

    recording: str
    sides: "tuple[SideChoice, ...]"
    audio: "np.ndarray"
    language: str
    reference: str | None
    alone: bool = False
    result: "Future[Callable[[], Comparison]]" = field(default_factory=Future)

    def is_like(self, other: "Asked") -> bool:
        """Whether one pass of the models can serve both."""
        same = (self.sides, self.language) == (other.sides, other.language)
        return same and not self.alone and not other.alone


@dataclass
class Turns:
    """What waits for the models: comparisons, and what is done only while none of these waits."""

    _asked: deque[Asked] = field(default_factory=deque)
    _spare: deque[Callable[[], None]] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, asked: Asked) -> None:
        """Put a comparison at the end."""
        with self._lock:
            self._asked.append(asked)

    def later(self, work: Callable[[], None]) -> None:
        """Put in work that waits for all comparisons, also for those asked for after it."""
        with self._lock:
            self._spare.append(work)

    def first(self) -> Asked | None:
        """Take the comparison that has waited longest, if one waits."""
        with self._lock:
            return self._asked.popleft() if self._asked else None

    def like(self, first: Asked, most: int) -> list[Asked]:
        """Take up to `most` more that one pass can serve with `first`, in their order.

        Those passed over keep their places, and the longest of them waits for this pass alone.
        """
        with self._lock:
            found = [each for each in self._asked if each.is_like(first)][:most]
            for each in found:
                self._asked.remove(each)
            return found

    def spare(self) -> Callable[[], None] | None:
        """Take work that waits for all comparisons, if there is some and none of those waits."""
        with self._lock:
            return self._spare.popleft() if self._spare and not self._asked else None
