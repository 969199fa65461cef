"""A foreign export as a `Transcriber`: features are made here, all else runs in a child process.

The runtimes are native code that trusts its files: a wrong number of heads is a division by zero,
and a graph may never end. In a process of its own that becomes an error message, and the next
recording begins with a new process. Limits are our choice.
"""

import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import psutil

from whisperslim import errors
from whisperslim.core.disk.untrusted import record_of, typed
from whisperslim.engines.base import EngineSize
from whisperslim.engines.export.record import ExportRecord
from whisperslim.engines.foreign.messages import Message, receive, send
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.errors import ExportError, WhisperSlimError, signal_in_words
from whisperslim.exported.bounds import OWN_SCRIPT
from whisperslim.exported.ctc import Word
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.window import WindowPolicy

CHILD = "whisperslim.engines.foreign.child"
LIMITS_MEMORY = sys.platform == "linux"
"""Whether this system holds a process to a limit of memory."""
_MOST_BANDS = 512  # Whispers have 80 or 128; filters for many more would fill our own memory
_MOST_FRAMES = 60_000  # ten minutes heard at once; Whisper's are 3000
_DYING_SECONDS = 5.0  # our choice; far more than the system needs
_SHOWN = 300  # characters of what a dying child said
# What Python and the runtimes need. Nothing else is passed on: variables may hold passwords.
_NEEDED = {
    "PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LANG", "TZ",
    "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES",
    "WHISPERSLIM_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE",
}  # fmt: skip
_NEEDED_KINDS = ("PYTHON", "LC_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "ONEDNN_", "CT2_")


@dataclass(frozen=True)
class Limits:
    """What a child may take.

    Attributes:
        open_seconds: Until the model is ready; most of it is loading of libraries.
        hear_seconds: For one part of a recording, and `per_second` more for each second of sound.
        memory_bytes: Beside `per_byte` times the export's files: weights may be laid out again, and
            in more bytes each.
    """

    open_seconds: float = 300.0
    hear_seconds: float = 60.0
    per_second: float = 10.0
    memory_bytes: int = 4 << 30
    per_byte: int = 16


class Child:
    """The process that has one export open. When it has ended, the next request starts another.

    Requests of several threads are taken one after another.
    """

    def __init__(self, request: Message, limits: Limits) -> None:
        self._request, self._limits = request, limits
        self._lock = threading.Lock()
        self._given_up = False
        self._process: subprocess.Popen[bytes] | None = None
        self._said: BinaryIO | None = None
        _children.add(self)

    @property
    def folder(self) -> Path:
        """The export."""
        return Path(self._request["folder"])

    @property
    def process(self) -> int | None:
        """Its number, while it runs."""
        running = self._process
        return running.pid if running and running.poll() is None else None

    def open(self) -> Message:
        """Start it unless it runs. Returns what it reports of the model, once that is loaded.

        Raises `ExportError` when it ends or takes too long, and the error that it reports.
        """
        with self._lock:
            self._given_up = False
            return self._started()

    def ask(
        self, message: Message, array: np.ndarray | None, seconds: float
    ) -> tuple[Message, np.ndarray | None]:
        """Its answer, within `seconds`. Raises as `open`."""
        with self._lock:
            self._given_up = False
            if self.process is None:
                self._started()
            return self._exchanged(message, array, seconds)

    def give_up(self) -> None:
        """End its present request, if any: whoever waits for it gets an `ExportError`."""
        if self._lock.locked():
            self._given_up = True
            if (running := self._process) is not None:
                running.kill()

    def _started(self) -> Message:
        if self._said:
            self._said.close()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        # A session of its own: Ctrl-C on the terminal is for us, and it ends with its input.
        self._process = subprocess.Popen(
            [sys.executable, "-m", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
            env=_environment(),
        )
        weakref.finalize(self, _end, self._process, self._said)
        return self._exchanged(self._request, None, self._limits.open_seconds)[0]

    def _exchanged(
        self, message: Message, array: np.ndarray | None, seconds: float
    ) -> tuple[Message, np.ndarray | None]:
        process = self._process
        assert process and process.stdin and process.stdout
        if self._given_up:  # while there was no process yet
            process.kill()
        with _ended_after(process, seconds) as late:
            try:
                send(process.stdin, {**message, "within": seconds}, array)  # type: ignore[arg-type]
                answer, found = receive(process.stdout)  # type: ignore[arg-type]
            except (OSError, EOFError, ValueError) as error:
                _wait_for_the_end(process)
                _end(process)
                if self._given_up:
                    raise ExportError(
                        f"the export {self.folder} was stopped while running"
                    ) from error
                why = self._death(process, late.is_set(), seconds, error)
                raise ExportError(
                    f"the export {self._request['folder']} {why}. It ran in a separate process, so "
                    "nothing else is affected; export the model again here, or get another copy "
                    "from its author"
                ) from error
            except BaseException:  # Ctrl-C: the next would take an answer that is not for it
                _end(process)
                raise
        if "error" in answer:
            raise _error(answer)
        return answer, found

    def _death(
        self, process: "subprocess.Popen[bytes]", late: bool, seconds: float, error: Exception
    ) -> str:
        if late:
            return f"took over {seconds:g} s, which is too long for this recording"
        if isinstance(error, ValueError):
            return f"gave an invalid answer ({error})"
        code = process.returncode
        if code < 0:
            return f"ended its process by {signal_in_words(-code)}"
        return f"failed; its last output: {self._last_words()}"

    def _last_words(self) -> str:
        if self._said is None:
            return "nothing"
        self._said.seek(0, 2)
        self._said.seek(max(0, self._said.tell() - _SHOWN))
        return self._said.read().decode("utf-8", "replace").strip() or "nothing"


_children: "weakref.WeakSet[Child]" = weakref.WeakSet()


def give_up(folder: Path) -> None:
    """End the present request of every process that has this export open or is opening it."""
    for child in tuple(_children):
        if child.folder == folder.absolute():
            child.give_up()


@dataclass(frozen=True)
class ForeignTranscriber(WindowedTranscriber):
    """An export that may be malicious, as a `Transcriber`.

    Attributes:
        window: Window policy it listens with.
        child: Has it open.
        title: Its name.
        given: What it is given of a recording.
        decoding: How it says that it decodes.
        takes: The footprint that it reports; none of it is in our own memory.
        limits: On each request.
        own_script: Whether its texts are held to the script of their language.
        words: Whether it is asked when words were said.
    """

    window: WindowPolicy
    child: Child
    title: str
    given: InputSpec
    decoding: str
    takes: EngineSize
    limits: Limits = field(default_factory=Limits)
    own_script: bool = False
    words: bool = False

    @classmethod
    def open(
        cls,
        folder: Path,
        record: ExportRecord,
        window: WindowPolicy,
        threads: int,
        limits: Limits | None = None,
    ) -> "ForeignTranscriber":
        """Start a process that opens `folder`.

        Raises as `Exporter.open_export`, and `ExportError` for a process that ended or took long.
        """
        limits = limits or Limits()
        request: Message = {
            "folder": str(folder.absolute()),
            "window": asdict(window),
            "threads": threads,
            "memory": min(
                limits.memory_bytes + limits.per_byte * record.weights_bytes,
                psutil.virtual_memory().total,
            ),
        }
        child = Child(request, limits)
        return cls._of(child.open(), window, child, limits)

    @classmethod
    def _of(
        cls, facts: Message, window: WindowPolicy, child: Child, limits: Limits
    ) -> "ForeignTranscriber":
        with _answers_checked():
            bands, frames = typed(facts["bands"], int), typed(facts["max_frames"], int)
            spec = InputSpec(typed(facts["kind"], str), bands, frames)
            features = spec.kind == "log_mel" and 0 < bands <= _MOST_BANDS
            if not features and (spec.kind, bands) != ("samples", 0):
                raise ValueError(f"{spec.describe()} are not an input")
            if not 0 < frames <= _MOST_FRAMES or frames % 2:
                raise ValueError(f"{frames} frames are no window")
            parameters, stored, loaded = (
                typed(facts[name], int) for name in ("parameters", "bytes_on_disk", "bytes_loaded")
            )
            size = EngineSize(parameters, stored, loaded, 0)
            name, decoding = typed(facts["name"], str), typed(facts["decoding"], str)
            return cls(window, child, name, spec, decoding, size, limits)

    @property
    def name(self) -> str:
        """As the engine has it."""
        return self.title

    @property
    def input_spec(self) -> InputSpec:
        """As the engine has it."""
        return self.given

    @property
    def process(self) -> int | None:
        """The process its weights are in."""
        return self.child.process

    def size(self) -> EngineSize:
        """As the engine says; no weights are in this process."""
        return self.takes

    def check_language(self, language: str) -> None:
        """Raise `UsageError` for a language the tokenizer has no token of."""
        self.child.ask({"language": language}, None, self.limits.hear_seconds)

    def hear(self, given: np.ndarray, seconds: float, language: str) -> Heard:
        """As `WindowedTranscriber.hear`. Raises `ExportError` when the process ends meanwhile."""
        request = {
            "language": language,
            "seconds": seconds,
            "own_script": self.own_script,
            "words": self.words,
        }
        limit = self.limits.hear_seconds + self.limits.per_second * seconds
        answer, _ = self.child.ask(request, given, limit)
        with _answers_checked():
            ids, first = answer["ids"], answer["first"]
            return Heard(
                typed(answer["text"], str),
                typed(answer["tokens"], int),
                typed(answer["at_limit"], bool),
                None if first is None else typed(first, float),
                None if ids is None else tuple(typed(i, int) for i in typed(ids, list)),
                tuple(record_of(Word, word) for word in typed(answer["words"], list)),
            )

    def telling_words(self) -> Self:
        """As `WindowedTranscriber.telling_words`; an engine that cannot says so when it hears."""
        return replace(self, words=True)

    def in_own_script(self) -> Self:
        """As `WindowedTranscriber.in_own_script`."""
        return replace(self, own_script=True)

    def describe_decoding(self) -> str:
        """As the engine says."""
        return f"{self.decoding}, {OWN_SCRIPT}" if self.own_script else self.decoding

    def encoder_states(self, given: np.ndarray) -> np.ndarray | None:
        """As `WindowedTranscriber.encoder_states`."""
        limit = self.limits.hear_seconds + self.limits.per_second * self.given.max_seconds
        return self.child.ask({}, given, limit)[1]


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _NEEDED or name.upper().startswith(_NEEDED_KINDS)
    }


@contextmanager
def _ended_after(process: "subprocess.Popen[bytes]", seconds: float) -> Iterator[threading.Event]:
    """Kill the process unless the block ends in time; the event is set if it was killed."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


@contextmanager
def _answers_checked() -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError) as error:
        raise ExportError(
            f"the export's process gave an invalid answer ({error}); export the model again"
        ) from error


def _error(answer: Message) -> WhisperSlimError:
    """The error that the child reported, as one of the same class."""
    kind: Any = getattr(errors, str(answer["error"]), ExportError)
    plain = isinstance(kind, type) and issubclass(kind, WhisperSlimError)
    if not plain or kind is errors.RecipeError:  # which is made of more than a sentence
        kind = ExportError
    return kind(str(answer.get("says", "")))


def _wait_for_the_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for its exit status: a kill in the moment since its pipes closed would hide the
    reason."""
    try:
        process.wait(_DYING_SECONDS)
    except subprocess.TimeoutExpired:  # it closed them and still runs
        return


def _end(process: "subprocess.Popen[bytes]", said: BinaryIO | None = None) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, said):
        if pipe:
            try:
                pipe.close()
            except OSError:  # what the ended process did not read is lost
                continue
