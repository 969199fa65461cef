"""WhisperSlim: make a Whisper model smaller and prove that it still hears Hindi.

    import whisperslim as ws

    print(ws.load("slim-onnx").transcribe("recording.wav").text)

`load`, `compare`, `compress` and `evaluate` stand in `whisperslim.api`, which is loaded when one of
them is first asked for: the package alone loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from whisperslim.version import __version__

if TYPE_CHECKING:
    from whisperslim.api import compare, compress, evaluate, load

__all__ = ["__version__", "compare", "compress", "evaluate", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("whisperslim.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
