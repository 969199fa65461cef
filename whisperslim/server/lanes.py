"""One model and the requests that wait for it: in each turn, one part of every active recording.

A recording is heard part by part, as the engine cuts it, so that one of an hour delays nobody:
others are heard between its parts. Parts of one turn are given to the engine together where it
hears several at once faster than one after the other.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from whisperslim.engines.base import Transcript
from whisperslim.engines.together import Hearing, hear_turn, tried
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.errors import UsageError

MOST_AT_ONCE = 8  # recordings in work; our choice: more would not make batches much faster
_TAKEN_SECONDS = 60.0  # of sound, decoded between two turns, for those in work wait meanwhile


class FullError(Exception):
    """The queue is full. `retry_after` is in seconds: about when a place will be free."""

    def __init__(self, waiting: int, retry_after: int) -> None:
        super().__init__(f"{waiting} requests wait already")
        self.waiting, self.retry_after = waiting, retry_after


class ClosedError(Exception):
    """The server is ending."""


class UntimedError(UsageError):
    """The model cannot say when words were said. An engine's own words name its files."""

    def __init__(self) -> None:
        super().__init__("this model cannot say when words were said; ask for json or text")


@dataclass(eq=False)
class Job:
    """One recording to be heard.

    The functions are called in the lane's thread. Nothing more is said to a job that is cancelled.

    Attributes:
        sound: Gives the recording, mono float32 at 16 kHz; raises `AudioError`.
        language: Whisper's code.
        words: Whether to say when words were said.
        on_part: Called with the text of each part.
        on_end: Called once, with the transcript or the error.
    """

    sound: Callable[[], np.ndarray]
    language: str
    words: bool
    on_part: Callable[[str], None]
    on_end: Callable[[Transcript | Exception], None]
    cancelled: bool = False


@dataclass(eq=False, kw_only=True)
class _Active(Hearing):
    """A job in work."""

    job: Job

    def add(self, heard: Heard) -> None:
        super().add(heard)
        if heard.text and not self.job.cancelled:
            spoken = sum(bool(part.text) for part in self.parts)
            self.job.on_part(heard.text if spoken == 1 else f" {heard.text}")


class Lane:
    """One model, its queue, and the thread that works through it."""

    def __init__(
        self, name: str, engine: WindowedTranscriber, most_waiting: int, most_seconds: float
    ) -> None:
        """`most_seconds` of sound are in work at once, and one recording more at most."""
        self.name, self.engine = name, engine
        self._most_waiting, self._most_seconds = most_waiting, most_seconds
        self._waiting: deque[Job] = deque()
        self._active: list[_Active] = []
        self._beginning = 0
        self._changed = threading.Condition()
        self._closed = False
        self._telling: WindowedTranscriber | None = None
        self._mean = 1.0  # seconds that a recording takes, by the latest
        self._thread = threading.Thread(target=self._run, name=f"lane {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Active jobs, one that is being decoded among them."""
        return len(self._active) + self._beginning

    @property
    def is_full(self) -> bool:
        """Whether the queue is full."""
        return self.waiting >= self._most_waiting

    def full(self) -> FullError:
        """The error when it is full."""
        return FullError(self.waiting, max(1, round(self._mean)))

    def submit(self, job: Job) -> None:
        """Put a job into the queue. Raises `FullError` or `ClosedError`."""
        with self._changed:
            if self._closed:
                raise ClosedError
            if self.is_full:
                raise self.full()
            self._waiting.append(job)
            self._changed.notify()

    def cancel(self, job: Job) -> bool:
        """Cancel a job that nobody waits for any more. Returns whether it had not begun.

        One in work is left after the part that is being heard.
        """
        job.cancelled = True
        with self._changed:
            waited = job in self._waiting
            if waited:
                self._waiting.remove(job)
        return waited

    @property
    def is_alive(self) -> bool:
        """Whether it hears."""
        return self._thread.is_alive() and not self._closed

    def close(self, patience: float = 10.0) -> None:
        """Accept no more jobs; those left end with `ClosedError`, after the part being heard.

        Waits for that part, `patience` seconds at most.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)

    def _run(self) -> None:
        while self._admitted():
            self._turn()
        left = [*(each.job for each in self._active), *self._waiting]
        self._active, self._waiting = [], deque()
        for job in left:
            _end(job, ClosedError())

    def _admitted(self) -> bool:
        """Take jobs into work while there is room, waiting for one. False: the lane is closed."""
        taken = 0.0
        while True:
            with self._changed:
                while not self._closed and not self._waiting and not self._active:
                    self._changed.wait()
                if self._closed:
                    return False
                held = sum(each.features.audio_seconds for each in self._active)
                full = len(self._active) >= MOST_AT_ONCE or held >= self._most_seconds
                enough = full or taken >= _TAKEN_SECONDS
                if not self._waiting or (self._active and enough):
                    return True
                job = self._waiting.popleft()
                self._beginning = 1
            begun = tried(lambda job=job: self._begun(job))  # type: ignore[misc]
            if isinstance(begun, Exception):
                _end(job, begun)
            else:
                self._active.append(begun)
                taken += begun.features.audio_seconds
            self._beginning = 0

    def _begun(self, job: Job) -> _Active:
        engine = self._telling_words() if job.words else self.engine
        engine.check_language(job.language)
        features = engine.features_for(job.sound())
        return _Active(engine, features, job.language, job=job)

    def _telling_words(self) -> WindowedTranscriber:
        """One and the same for all jobs: those of one engine are heard together."""
        if self._telling is None:
            try:
                self._telling = self.engine.telling_words()
            except UsageError as error:
                raise UntimedError from error
        return self._telling

    def _turn(self) -> None:
        """One part of every job in work."""
        self._active = [each for each in self._active if not each.job.cancelled]
        failed = {id(each): error for each, error in hear_turn(self._active)}
        for each in tuple(self._active):
            error = failed.get(id(each))
            if error is None and not each.is_done:
                continue
            self._active.remove(each)
            if error is None:
                self._mean += 0.2 * (each.seconds - self._mean)
                _end(each.job, each.transcript())
            else:
                # The language is known: an export from elsewhere says only now that it has no
                # word times.
                _end(each.job, UntimedError() if isinstance(error, UsageError) else error)


def _end(job: Job, how: Transcript | Exception) -> None:
    if not job.cancelled:
        job.on_end(how)
