"""Small recordings and tars of them."""

import io
import tarfile
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np

RATE = 16_000


def wav(samples: np.ndarray) -> bytes:
    """A 16-bit WAV file of int16 samples at 16 kHz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def tone(number: int, seconds: float = 0.5) -> np.ndarray:
    """int16 samples of which those of every number differ."""
    return np.full(round(seconds * RATE), 100 * (number + 1), np.int16)


def tar(path: Path, files: Mapping[str, bytes]) -> Path:
    """A plain tar of the files, as Python writes it."""
    with tarfile.open(path, "w") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


def heard(samples: np.ndarray) -> list[int]:
    """The 16-bit values of decoded samples that occur, each once."""
    return sorted(set(np.rint(samples * 32768).astype(int).tolist()))
