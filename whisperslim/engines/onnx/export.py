"""Write a model for ONNX Runtime: any cut, in float32, or in blocks of 8 or 4 bits."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from whisperslim.core.families.parakeet.onnx import write_parakeet
from whisperslim.core.families.wav2vec2.onnx import write_samples
from whisperslim.core.families.whisper.decoder import as_whisper
from whisperslim.core.families.whisper.onnx import write_decoder, write_encoder
from whisperslim.core.families.whisper.timing import timing_heads
from whisperslim.core.families.whisper_ctc.onnx import write_frames
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import copy_side_files
from whisperslim.engines.export.export import Written
from whisperslim.engines.onnx.engine import open_export
from whisperslim.engines.onnx.graph import OnnxBuilder, Precision
from whisperslim.errors import ExportError
from whisperslim.exported.names import DECODER_FILE, ENCODER_FILE, FRAMES_FILE

__all__ = ["check", "open_export", "write"]

PRECISIONS = {
    "none": (Precision(), Precision()),
    "int8": (Precision(8, 8, many=True), Precision(8, 8)),
    "int4": (Precision(4, 8, many=True), Precision(4, 8)),
}
"""Quantization -> of the encoder, which has many positions at a time, and of the decoder."""

ONE_GRAPH: Mapping[str, Callable[[Any, OnnxBuilder], None]] = {
    "whisper_ctc": write_frames,
    "parakeet_ctc": write_parakeet,
    "wav2vec2": write_samples,
    "hubert": write_samples,
    "wav2vec2-conformer": write_samples,
}
"""Model type -> what writes its graph, of those whose head scores frames."""

# The first with products of 8-bit blocks on the processor, and with tables of them.
_LEAST_RUNTIME = (1, 23)


def check(speech: SpeechModel, quantize: str) -> None:
    """Raise `ExportError` when this runtime cannot hold the model.

    Every cut can be held: each layer has its own number of heads and FFN units, or none.
    """
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version < _LEAST_RUNTIME:
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} is too old; 1.23 or later is needed: "
            "pip install --upgrade onnxruntime"
        )
    _check_blocks(speech, PRECISIONS[quantize][1])


def write(speech: SpeechModel, folder: Path, quantize: str) -> Written:
    """The model's graphs and the tokenizer into the existing folder `folder`."""
    many, few = PRECISIONS[quantize]
    timing: dict[str, Any] = {}
    if write_one := ONE_GRAPH.get(speech.family.model_type):
        frames = OnnxBuilder("frames", many)
        write_one(speech.model, frames)
        files = frames.save(folder / FRAMES_FILE)
    else:
        files = _write_two(speech, folder, many, few)
        where = timing_heads(as_whisper(speech.model))
        timing = {"word_times": asdict(where)} if where else {}
    copy_side_files(speech.path, folder)
    versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
    return Written(files, versions, {"bits": few.bits, "block": few.block, **timing})


def _write_two(
    speech: SpeechModel, folder: Path, many: Precision, few: Precision
) -> tuple[str, ...]:
    encoder, decoder = OnnxBuilder("encoder", many), OnnxBuilder("decoder", few)
    whisper = as_whisper(speech.model)
    write_encoder(whisper, encoder)
    write_decoder(whisper, decoder)
    return encoder.save(folder / ENCODER_FILE) + decoder.save(folder / DECODER_FILE)


def _check_blocks(speech: SpeechModel, precision: Precision) -> None:
    width = speech.family.width(speech.model)
    if not precision.exact and width % precision.block:
        raise ExportError(
            f"the model is {width} wide; quantized tables need a multiple of {precision.block}: "
            "export it with quantize none"
        )
