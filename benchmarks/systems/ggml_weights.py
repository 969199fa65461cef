"""Dense Whisper weights in the file format of whisper.cpp ("ggml"), matrices in half precision.

All numbers little-endian. A magic number, eleven sizes, the mel filters, the bytes of each text
token in the order of ids, then tensors until the end of the file: number of dimensions, length of
the name, type (0 float32, 1 float16), the dimensions with the last first, the name, the values.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import librosa
import numpy as np

from benchmarks.systems.openai_weights import dimensions, openai_tensors
from whisperslim.core.families.whisper.decoder import as_whisper
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.loading import SpeechModel
from whisperslim.exported.symbols import bytes_of
from whisperslim.speech.audio.audio import N_FFT, SAMPLE_RATE

MAGIC = 0x67676D6C
_SIZES = (
    "n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer",
    "n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels",
)  # fmt: skip
_FLOAT32, _FLOAT16 = 0, 1
_CONV_BIASES = ("encoder.conv1.bias", "encoder.conv2.bias")


def write_ggml(speech: SpeechModel, path: Path) -> None:
    """Write a dense model. The file is as large as half precision makes it."""
    sizes = dimensions(speech.model.config)
    with path.open("wb") as file:
        _integers(file, MAGIC, *(sizes[name] for name in _SIZES), _FLOAT16)
        _write_filters(file, speech.input_spec.bands)
        tokens = list(_token_bytes(speech))
        _integers(file, len(tokens))
        for token in tokens:
            _integers(file, len(token))
            file.write(token)
        for name, tensor in openai_tensors(as_whisper(speech.model)):
            _write_tensor(file, name, tensor.float().cpu().numpy())


def _write_filters(file: BinaryIO, n_mels: int) -> None:
    filters = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=n_mels, norm="slaney")
    _integers(file, *filters.shape)
    file.write(np.ascontiguousarray(filters, dtype="<f4").tobytes())


def _token_bytes(speech: SpeechModel) -> Iterator[bytes]:
    """Bytes of the text tokens; whisper.cpp knows the control tokens behind them by itself."""
    tokens = whisper_tokens(speech.tokens)
    by_id = {i: token for token, i in tokens.vocabulary().items()}
    return (bytes_of(by_id[i]) for i in range(tokens.end))


def _write_tensor(file: BinaryIO, name: str, values: np.ndarray) -> None:
    if name in _CONV_BIASES:
        values = values[:, None]
    # What whisper.cpp adds, and does not multiply by, it wants in float32.
    whole = values.ndim < 2 or name in _CONV_BIASES or name.endswith("positional_embedding")
    text = name.encode()
    _integers(file, values.ndim, len(text), _FLOAT32 if whole else _FLOAT16)
    _integers(file, *reversed(values.shape))
    file.write(text)
    file.write(values.astype("<f4" if whole else "<f2").tobytes())


def _integers(file: BinaryIO, *values: int) -> None:
    file.write(struct.pack(f"<{len(values)}i", *values))
