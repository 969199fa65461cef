"""Counts for Prometheus, in its text form (version 0.0.4)."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from whisperslim.engines.base import Transcript
from whisperslim.server.lanes import Lane

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds


class Metrics:
    """What has happened since the server began. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[int] = Counter()
        self._within: Counter[float] = Counter()
        self._waited = 0.0
        self._heard: defaultdict[str, float] = defaultdict(float)
        self._audio: defaultdict[str, float] = defaultdict(float)
        self._busy: defaultdict[str, float] = defaultdict(float)

    def answered(self, status: int, seconds: float) -> None:
        """Count an answered request for a transcript, which took so many seconds."""
        with self._lock:
            self._answers[status] += 1
            self._waited += seconds
            for bound in _BOUNDS:
                self._within[bound] += seconds <= bound

    def heard(self, model: str, transcript: Transcript) -> None:
        """Count a recording that was transcribed."""
        with self._lock:
            self._heard[model] += 1
            self._audio[model] += transcript.audio_seconds
            self._busy[model] += transcript.seconds

    def text(self, lanes: Iterable[Lane]) -> str:
        """All counts, and how full the lanes are."""
        lanes = list(lanes)
        with self._lock:
            total = sum(self._answers.values())
            lines = [
                *_family("answers_total", "counter", "Answers to transcription requests.",
                         {f'status="{status}"': n for status, n in self._answers.items()}),
                *_family("recordings_total", "counter", "Recordings transcribed.",
                         _by_model(self._heard)),
                *_family("audio_seconds_total", "counter", "Their length.",
                         _by_model(self._audio)),
                *_family("hearing_seconds_total", "counter", "What the work on them took.",
                         _by_model(self._busy)),
                *_family("waiting", "gauge", "Requests that have not begun.",
                         _by_model({lane.name: lane.waiting for lane in lanes})),
                *_family("running", "gauge", "Requests in work.",
                         _by_model({lane.name: lane.running for lane in lanes})),
                "# HELP whisperslim_request_seconds From the head to the answer's beginning.",
                "# TYPE whisperslim_request_seconds histogram",
                *(f'whisperslim_request_seconds_bucket{{le="{bound:g}"}} {self._within[bound]}'
                  for bound in _BOUNDS),
                f'whisperslim_request_seconds_bucket{{le="+Inf"}} {total}',
                f"whisperslim_request_seconds_sum {self._waited:.6f}",
                f"whisperslim_request_seconds_count {total}",
            ]  # fmt: skip
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, about: str, values: Mapping[str, float]) -> list[str]:
    rows = [f"whisperslim_{name}{{{label}}} {value:.10g}" for label, value in values.items()]
    return [f"# HELP whisperslim_{name} {about}", f"# TYPE whisperslim_{name} {kind}", *rows]


def _by_model(values: Mapping[str, float]) -> dict[str, float]:
    escaped = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
    return {f'model="{name.translate(escaped)}"': value for name, value in values.items()}
