"""The dense tuned model in every system that can run it, and slim models in ours."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.systems.opening import System
from benchmarks.systems.peer_weights import faster_whisper_folder, ggml_file, stock_folder
from whisperslim.core.loading import SpeechModel
from whisperslim.core.matmul import ONEDNN
from whisperslim.engines.export.export import export
from whisperslim.engines.export.record import is_export, read_export
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import parse_window
from whisperslim.speech.corpus.dataset import Item

TRANSFORMERS = "transformers fp32, dense"
TRANSFORMERS_ONEDNN = "transformers fp32 by oneDNN, dense"
BOTH_WAYS = (TRANSFORMERS, TRANSFORMERS_ONEDNN)
"""The same system with each library for its products: others are compared with the faster one."""
FASTER_INT8 = "faster-whisper int8, dense"
Make = Callable[[], System]
_CHECKED_ON = 2  # recordings an export must agree on before it is timed

ENGINE_NAMES = {"ctranslate2": "CTranslate2", "onnx": "ONNX", "hf": "transformers"}
PRECISIONS = {"none": "float", "int8": "int8", "int4": "int4"}


class Exports:
    """Exports made when they are first asked for, and kept in the work folder."""

    def __init__(self, work: Path, items: Sequence[Item], language: str) -> None:
        self._work, self._items, self._language = work, items, language

    def of(self, speech: SpeechModel, engine: str, quantize: str) -> Path:
        """The folder of an export. Raises as `engines.export.export.export`."""
        sha = speech.info.weights_sha256[:12]
        folder = self._work / f"{sha}-{engine}-{quantize}"
        if not is_export(folder):
            clips = [decode(item.path) for item in self._items[:_CHECKED_ON]]
            window = parse_window("fit")
            export(speech, engine, quantize, folder, clips, self._language, window)
        return folder


def peers(speech: SpeechModel, work: Path) -> dict[str, Make]:
    """The dense model in other people's systems, each with its own window of 30 s."""

    def stock() -> Path:
        return stock_folder(speech, work)

    def faster(kind: str) -> System:
        return System(
            "faster-whisper",
            str(faster_whisper_folder(stock(), work, kind)),
            {"compute_type": kind},
        )

    return {
        TRANSFORMERS: lambda: System("transformers", str(stock()), {}),
        TRANSFORMERS_ONEDNN: lambda: System("transformers", str(stock()), {"matmul": ONEDNN}),
        FASTER_INT8: lambda: faster("int8"),
        "faster-whisper float32, dense": lambda: faster("float32"),
        "whisper.cpp f16, dense": lambda: System("whisper.cpp", str(ggml_file(speech, work)), {}),
        "openai/whisper fp32, dense": lambda: System("openai-whisper", str(stock()), {}),
    }


def ours(path: Path | str, window: str = "fit") -> System:
    """A model or export of this project."""
    return System("whisperslim", str(path), {"window": window})


def dense_fitted(speech: SpeechModel, exports: Exports) -> dict[str, Make]:
    """The dense model with windows that fit: what is gained without making it smaller."""
    return {
        "torch fp32, dense, fitted window": lambda: ours(speech.path),
        "CTranslate2 int8, dense, fitted window": lambda: ours(
            exports.of(speech, "ctranslate2", "int8")
        ),
    }


def slim_systems(speech: SpeechModel, given: Sequence[str], exports: Exports) -> Mapping[str, Make]:
    """The slim model in torch, and its exports: those given, or one for each engine.

    `given` are folders, or LABEL=FOLDER. Raises `ValueError` for a label that comes twice.
    """
    made: dict[str, Make] = {"torch fp32, slim": lambda: ours(speech.path)}
    for each in given:
        label, named, folder = each.rpartition("=")
        label = label if named else _label(Path(folder))
        if label in made:
            raise ValueError(f"{label!r} comes twice; write LABEL=FOLDER for one of them")
        made[label] = partial(ours, Path(folder))
    if not given:
        for engine, quantize in (("ctranslate2", "int8"), ("onnx", "int8"), ("onnx", "int4")):
            label = f"{ENGINE_NAMES[engine]} {PRECISIONS[quantize]}, slim"
            made[label] = partial(_exported, exports, speech, engine, quantize)
    return made


def _exported(exports: Exports, speech: SpeechModel, engine: str, quantize: str) -> System:
    return ours(exports.of(speech, engine, quantize))


def _label(folder: Path) -> str:
    record = read_export(folder)
    return f"{ENGINE_NAMES[record.engine]} {PRECISIONS[record.quantize]}, slim"
