"""Speech recognizers that are measured beside each other, each opened in a process of its own.

Nothing is imported here that one of them does not need: what a process imports counts as its
memory. All decode greedily, the language is given, and none falls back to a higher temperature.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class System:
    """What a child process is to open.

    Attributes:
        kind: One of `KINDS`.
        path: Folder or file of the weights.
        options: Of that kind: window, compute_type, matmul (a library of `core.matmul`).
    """

    kind: str
    path: str
    options: dict[str, str]


@dataclass(frozen=True)
class Heard:
    """One recording's text. Tokens are text tokens; None where a system does not report them."""

    text: str
    tokens: int | None
    first_token_seconds: float | None


Listen = Callable[[np.ndarray], Heard]


@dataclass(frozen=True)
class Opened:
    """A system that is ready, with what the table says of it."""

    listen: Listen
    describe: str
    bytes_on_disk: int


def open_system(system: System, language: str, threads: int) -> Opened:
    """Open one of `KINDS`; what goes wrong is whatever that system raises."""
    return KINDS[system.kind](system, language, threads)


def _ours(system: System, language: str, threads: int) -> Opened:
    from whisperslim.engines.opening import open_transcriber
    from whisperslim.speech.audio.window import hearing_window

    engine = open_transcriber(system.path, hearing_window(system.options["window"]), threads)

    def listen(audio: np.ndarray) -> Heard:
        found = engine.transcribe(audio, language)
        return Heard(found.text, found.tokens, found.first_token_seconds)

    note = f"window {engine.window_name}{_products()}"
    return Opened(listen, note, engine.size().bytes_on_disk)


def _products() -> str:
    """Which library multiplies, in a process whose model runs in PyTorch.

    An export does without: importing it here would count as memory of the light runtime.
    """
    if "whisperslim.engines.torch_engine" not in sys.modules:
        return ""
    from whisperslim.core import matmul

    return f"; {matmul.decided().why}"


def _transformers(system: System, language: str, threads: int) -> Opened:
    import torch
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration
    from transformers.generation.logits_process import LogitsProcessorList

    from whisperslim.core import matmul
    from whisperslim.core.disk.weight_files import weights_bytes
    from whisperslim.speech.audio.window import cut_at_silences

    torch.set_num_threads(threads)
    products = use_library(system.options.get("matmul", matmul.STOCK))
    folder = Path(system.path)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def hear(audio: np.ndarray, first: Any) -> tuple[str, int]:
        features = extractor(audio, sampling_rate=16_000, return_tensors="pt").input_features
        ids = model.generate(
            features, language=language, task="transcribe", do_sample=False, num_beams=1,
            logits_processor=LogitsProcessorList([first]),
        )[0]  # fmt: skip
        text = str(tokenizer.decode(ids, skip_special_tokens=True))
        return text.strip(), int((ids < tokenizer.eos_token_id).sum())

    def listen(audio: np.ndarray) -> Heard:
        first = _FirstCall()
        parts = [hear(segment.of(audio), first) for segment in cut_at_silences(audio, 28.0)]
        texts = " ".join(text for text, _ in parts if text)
        return Heard(texts, sum(count for _, count in parts), first.seconds)

    size = weights_bytes(folder)
    note = "window 30 s; recordings over 28 s cut where they are quiet, as this project does"
    return Opened(listen, note + products, size)


def use_library(name: str) -> str:
    """What the table says of it. Raises `UsageError` where it would not compute in float32."""
    from whisperslim.core import matmul
    from whisperslim.errors import UsageError

    if name == matmul.STOCK:
        return ""
    if refused := matmul.refusal():
        raise UsageError(refused)
    matmul.take(matmul.MatmulChoice(name, None, None, None, "asked for"))
    return f"; float32 products by {name}"


def _faster_whisper(system: System, language: str, threads: int) -> Opened:
    from faster_whisper import WhisperModel

    kind = system.options["compute_type"]
    model = WhisperModel(
        system.path, device="cpu", compute_type=kind, cpu_threads=threads, num_workers=1
    )

    def listen(audio: np.ndarray) -> Heard:
        segments, _ = model.transcribe(
            audio, language=language, task="transcribe", beam_size=1, temperature=0.0,
            without_timestamps=True, condition_on_previous_text=False, vad_filter=False,
        )  # fmt: skip
        parts = list(segments)
        text = " ".join(part.text.strip() for part in parts)
        return Heard(text, sum(len(part.tokens) for part in parts), None)

    size = (Path(system.path) / "model.bin").stat().st_size
    return Opened(listen, f"window 30 s, its own cuts, computed in {kind}", size)


def _openai_whisper(system: System, language: str, threads: int) -> Opened:
    import torch
    from whisper.tokenizer import get_tokenizer

    from benchmarks.systems.openai_weights import openai_model
    from whisperslim.core.disk.weight_files import weights_bytes
    from whisperslim.core.families.whisper.decoder import as_whisper
    from whisperslim.core.store.checkpoint import load_dense

    torch.set_num_threads(threads)
    model = openai_model(as_whisper(load_dense(Path(system.path))))
    end = get_tokenizer(model.is_multilingual).eot
    firsts: list[_FirstCall] = []
    model.decoder.register_forward_hook(lambda module, given, found: firsts[-1].note())

    def listen(audio: np.ndarray) -> Heard:
        firsts[:] = [_FirstCall()]
        found = model.transcribe(
            audio, language=language, task="transcribe", temperature=0.0, fp16=False,
            without_timestamps=True, condition_on_previous_text=False, verbose=None,
        )  # fmt: skip
        # Its token list ends with the end of text in some windows.
        tokens = sum(t < end for part in found["segments"] for t in part["tokens"])
        return Heard(found["text"].strip(), tokens, firsts[0].seconds)

    size = weights_bytes(Path(system.path))
    return Opened(listen, "window 30 s, its own cuts", size)


def _whisper_cpp(system: System, language: str, threads: int) -> Opened:
    import _pywhispercpp as binding
    from pywhispercpp.model import Model

    model: Any = Model(  # the binding's functions need its context, which is private
        system.path, n_threads=threads, language=language, no_timestamps=True, no_context=True,
        temperature=0.0, temperature_inc=0.0, greedy={"best_of": 1}, print_progress=False,
        print_timestamps=False, redirect_whispercpp_logs_to=None,
        context_params={"use_gpu": False},
    )  # fmt: skip
    end = binding.whisper_token_eot(model._ctx)

    def listen(audio: np.ndarray) -> Heard:
        parts = model.transcribe(audio)
        counts = [
            binding.whisper_full_get_token_id(model._ctx, i, j) < end
            for i in range(len(parts))
            for j in range(binding.whisper_full_n_tokens(model._ctx, i))
        ]
        return Heard(" ".join(part.text for part in parts), sum(counts), None)

    size = Path(system.path).stat().st_size
    return Opened(listen, "window 30 s, its own cuts, matrices in float16", size)


class _FirstCall:
    """Seconds from its making to its first call, as a logits processor or noted by a hook."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self._started = time.perf_counter()

    def note(self) -> None:
        """Remember the time, once."""
        if self.seconds is None:
            self.seconds = time.perf_counter() - self._started

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.note()
        return scores


KINDS: dict[str, Callable[[System, str, int], Opened]] = {
    "whisperslim": _ours,
    "transformers": _transformers,
    "faster-whisper": _faster_whisper,
    "openai-whisper": _openai_whisper,
    "whisper.cpp": _whisper_cpp,
}
