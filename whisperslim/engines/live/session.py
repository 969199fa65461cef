"""A live preview that never blocks whoever feeds it: models work in one lane, in turn."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from concurrent.futures import wait as wait_for

import numpy as np

from whisperslim.engines.live.text import LiveText, Partial


class LiveSession:
    """One recording's preview. Passes run in `lane`, at most one at a time of this session.

    A lane with a single thread, shared by all sessions, keeps previews from slowing one another
    down: a busy lane means fewer passes, never a growing backlog.
    """

    def __init__(self, live: LiveText, prepare: Callable[[], None], lane: Executor) -> None:
        """`prepare` runs in the lane before the first pass: load the model, warm it up."""
        self._live, self._lane = live, lane
        self._job = lane.submit(prepare)
        self._ready = self._closed = False
        self._pass_seconds = 0.0

    @property
    def ready(self) -> bool:
        """Whether the model was loaded."""
        return self._ready

    @property
    def pass_seconds(self) -> float:
        """What the longest pass so far took; the lane is busy that long."""
        return self._pass_seconds

    def feed(self, audio: np.ndarray, wait: float = 0.0) -> Partial:
        """Take sound as `LiveText.feed` does; returns what is known by now.

        Waits up to `wait` seconds for a running pass, whose text is then in the answer. Raises
        `AudioError`, or what an earlier pass or the loading of the model raised.
        """
        if not self._closed:
            self._live.feed(audio)
            self._proceed()
            if wait > 0:
                wait_for([self._job], timeout=wait)
        return self._live.partial()

    def close(self) -> Partial:
        """End the recording: no pass begins any more. Waits for a running one; returns what is
        known."""
        self._closed = True
        if not self._job.cancel() and self._ready:
            self._job.result()
        return self._live.partial()

    def _proceed(self) -> None:
        if not self._job.done():
            return
        self._job.result()
        self._ready = True
        if self._live.is_due():
            self._job = self._lane.submit(self._work_off)

    def _work_off(self) -> None:
        at_work = True
        while at_work and not self._closed:
            begun = time.perf_counter()
            at_work = self._live.work()
            self._pass_seconds = max(self._pass_seconds, time.perf_counter() - begun)
