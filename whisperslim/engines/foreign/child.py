"""The process that runs a foreign export: `python -m whisperslim.engines.foreign.child`.

It takes requests from standard input and answers on standard output, in the form of `messages`. It
ends when its input does, or some time after the time for an answer is over. It loads what the
engine needs and nothing else: no torch for a graph of ONNX.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from whisperslim.engines.export.record import read_export
from whisperslim.engines.foreign.messages import Message, receive, send
from whisperslim.engines.opening import open_here
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import WhisperSlimError
from whisperslim.speech.audio.window import WindowPolicy

Request = tuple[Message, np.ndarray | None]
_GRACE = 10.0  # seconds after which nobody waits for an answer any more; our choice
_MOST_WRITTEN = 16 << 20  # bytes of a file, such as the one for its last words; our choice


def main() -> None:
    """Open what the first request names, then answer the others in turn.

    An error a user can fix is an answer, too. Any other ends the process.
    """
    inbox, outbox = _pipes()
    waiting = _requests(inbox)
    engine = _answered(waiting, outbox, lambda message, given: _open(message))
    if engine is None:
        return
    send(outbox, _facts(engine))
    while True:
        _answered(waiting, outbox, lambda message, given: _answer(engine, message, given, outbox))


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Input and output as descriptors that no library prints to."""
    # Without a buffer: its lock, held by the reading thread, would block an exit.
    inbox, outbox = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return inbox, outbox


def _requests(inbox: BinaryIO) -> "queue.Queue[Request]":
    """Requests as they come. When the input ends, so does the process, whatever it is doing."""
    waiting: queue.Queue[Request] = queue.Queue()

    def read() -> None:
        try:
            while True:
                waiting.put(receive(inbox))
        except EOFError:
            os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return waiting


def _answered(
    waiting: "queue.Queue[Request]",
    outbox: BinaryIO,
    work: Callable[[Message, np.ndarray | None], Any],
) -> Any:
    message, given = waiting.get()
    _end_after(message["within"] + _GRACE)
    try:
        return work(message, given)
    except WhisperSlimError as error:
        send(outbox, {"error": type(error).__name__, "says": str(error)})
        return None
    finally:
        _end_after(0)


def _end_after(seconds: float) -> None:
    """Have the system end this process after so many seconds, where it can; 0 cancels that.

    Native code that holds the interpreter's lock keeps the reading thread from seeing the input
    end.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _open(request: Message) -> WindowedTranscriber:
    _limit(request["memory"])
    folder = Path(request["folder"])
    record, window = read_export(folder), WindowPolicy(**request["window"])
    return open_here(folder, record, window, request["threads"])


def _limit(memory: int) -> None:
    """Limit writable memory, the size of a file and of a core dump, where the system can."""
    try:
        import resource
    except ImportError:
        return
    wanted = (
        (resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, _MOST_WRITTEN),
        (resource.RLIMIT_CORE, 0),
    )  # fmt: skip
    for kind, most in wanted:
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _facts(engine: WindowedTranscriber) -> Message:
    size = engine.size()
    return {
        "name": engine.name,
        "kind": engine.input_spec.kind,
        "bands": engine.input_spec.bands,
        "max_frames": engine.input_spec.max_frames,
        "decoding": engine.describe_decoding(),
        "parameters": size.parameters,
        "bytes_on_disk": size.bytes_on_disk,
        "bytes_loaded": size.bytes_loaded,
    }


def _answer(
    engine: WindowedTranscriber, message: Message, given: np.ndarray | None, outbox: BinaryIO
) -> None:
    if given is None:
        engine.check_language(message["language"])
        send(outbox, {})
    elif "language" not in message:
        states = engine.encoder_states(given)
        send(outbox, {}, states)
    else:
        hearing = engine.in_own_script() if message["own_script"] else engine
        hearing = hearing.telling_words() if message["words"] else hearing
        heard = hearing.hear(given, message["seconds"], message["language"])
        ids = None if heard.ids is None else [int(i) for i in heard.ids]
        wrote = {"text": heard.text, "tokens": heard.tokens, "at_limit": bool(heard.at_limit)}
        words = [asdict(word) for word in heard.words]
        send(outbox, {**wrote, "first": heard.first_token_seconds, "ids": ids, "words": words})


if __name__ == "__main__":
    main()
