"""An engine that writes what a test says, and waits when a test says so; and a server over it."""

import threading
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Self

import numpy as np

from whisperslim.engines.base import EngineSize
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.errors import ExportError, UsageError
from whisperslim.exported.ctc import Word
from whisperslim.inputs import InputSpec
from whisperslim.server.app import Bounds, Service
from whisperslim.server.serve import Place, Server, service_of
from whisperslim.speech.audio.window import WindowPolicy

RATE = 16_000
PART = 4.0  # seconds that the engine hears at once; it is given up to 2 s less of them
PATIENCE = 120.0


@dataclass(frozen=True)
class Scripted(WindowedTranscriber):
    """Writes `<seconds>` for each part, in whole tenths; in the language `xx`, fails over it.

    Attributes:
        heard: Seconds of each part, in the order they were given; parts given together as one.
        gate: A part is heard when this is set.
        together: Whether it takes several parts at once.
    """

    window: WindowPolicy = field(default_factory=WindowPolicy)
    heard: list[tuple[float, ...]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    together: bool = False
    timed: bool = False

    @property
    def name(self) -> str:
        return "scripted"

    @property
    def input_spec(self) -> InputSpec:
        return InputSpec("samples", 0, round(PART * 100))

    def size(self) -> EngineSize:
        return EngineSize(1, 1, 1, 1)

    def check_language(self, language: str) -> None:
        if language not in ("hi", "mr", "xx", "fault"):
            raise UsageError(f"unknown language {language!r}; known: hi, mr, xx")

    def telling_words(self) -> Self:
        return replace(self, timed=True)

    @property
    def at_once(self) -> int:
        return 8 if self.together else 1

    def hear_many(
        self, given: Sequence[np.ndarray], seconds: Sequence[float], language: str
    ) -> list[Heard]:
        self.heard.append(tuple(round(each, 1) for each in seconds))
        assert self.gate.wait(PATIENCE)
        if language == "xx":
            raise ExportError("the export /home/somebody/secret ended its process")
        if language == "fault":
            raise ZeroDivisionError("a fault of the engine")
        return [self._written(each) for each in seconds]

    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        return self.hear_many([given], [seconds], language)[0]

    def _written(self, seconds: float) -> Heard:
        text = f"{seconds:.1f}"
        words = (Word(text, 0.0, seconds, 1.0),) if self.timed else ()
        return Heard(text, 1, words=words)

    def describe_decoding(self) -> str:
        return "scripted"


def opened(**options: object) -> Scripted:
    """One whose gate is open."""
    made = replace(Scripted(), **options)  # type: ignore[arg-type]
    made.gate.set()
    return made


def tone(seconds: float) -> np.ndarray:
    """Mono float32 at 16 kHz."""
    time_ = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 300 * time_)).astype(np.float32)


def wav(seconds: float) -> bytes:
    """A tone as the bytes of a WAV file."""
    file = BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(RATE)
        made.writeframes((tone(seconds) * 32_767).astype("<i2").tobytes())
    return file.getvalue()


@contextmanager
def serving(
    engine: WindowedTranscriber,
    bounds: Bounds | None = None,
    key: str | None = None,
    chain: tuple[str | None, str | None] = (None, None),
) -> Iterator[tuple[Service, str]]:
    """A server in a thread, with the model `m`: the service and its address.

    `chain` is a certificate and its key.
    """
    from tests.browser.conftest import free_port  # not for those that only take the engine

    where = Place("127.0.0.1", free_port(), key, *chain)
    service = service_of({"m": engine}, where, bounds or Bounds())
    server = Server(service, where, 5, lambda message: None)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield service, where.url
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
    assert not thread.is_alive()


def until(true: Callable[[], bool]) -> None:
    """Wait for something that has to come."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
