"""Decoded blocks of any rate become one recording, within the limits of what one may be."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr

from whisperslim.errors import AudioError
from whisperslim.speech.audio.audio import FASTEST_RATE, MAX_AMPLITUDE, SAMPLE_RATE, SLOWEST_RATE
from whisperslim.speech.plain_file import open_file

ACCEPTED = "WAV, FLAC, Ogg (Vorbis or Opus), MP3, M4A/MP4 and WebM recordings are accepted"
BLOCK_SAMPLES = 1 << 16
"""Per channel: what is mixed and resampled at a time."""

Block = tuple[int, np.ndarray]
"""Rate in Hz, and mono float32 samples, full scale 1."""


def name_of(source: Path | str | bytes) -> str:
    """What messages call it."""
    return "the recording" if isinstance(source, bytes) else str(source)


def open_source(source: Path | str | bytes, name: str) -> BinaryIO:
    """An open file that is not empty. Raises `AudioError`.

    A decoder gets this, not the path, so that it can open nothing by itself.
    """
    if isinstance(source, bytes):
        file: BinaryIO = io.BytesIO(source)
    else:
        try:
            file = open_file(Path(source))
        except OSError as error:
            raise AudioError(f"cannot open {name}: {error.strerror}. Check the path") from error
    if not file.read(1):
        file.close()
        raise AudioError(f"{name} is an empty file. {ACCEPTED}")
    file.seek(0)
    return file


def gathered(blocks: Iterator[Block], name: str, max_seconds: float) -> np.ndarray:
    """All blocks as one array at 16 kHz, clipped to full scale.

    Raises `AudioError` when that is nothing, or longer than `max_seconds`.
    """
    most = round(max_seconds * SAMPLE_RATE)
    samples = bytearray()  # grows in place: no second copy of a two-hour recording
    for block in _resampled(blocks):
        samples.extend(np.clip(block, -1.0, 1.0).tobytes())
        if len(samples) > most * block.itemsize:
            raise AudioError(
                f"{name} is longer than the {max_seconds:g} s allowed: cut it into shorter ones"
            )
    if not samples:
        raise AudioError(f"{name} holds no decodable audio: it is empty or damaged. {ACCEPTED}")
    return np.frombuffer(samples, dtype=np.float32)


def checked(block: np.ndarray, name: str) -> np.ndarray:
    """The block; raises `AudioError` for samples that are not finite or far over full scale."""
    peak = float(np.abs(block).max(initial=0.0))
    if not math.isfinite(peak):
        raise AudioError(f"{name} has samples that are not numbers (NaN or infinite): export again")
    if peak > MAX_AMPLITUDE:
        raise AudioError(
            f"{name} has samples up to {peak:.3g}; floating-point samples must lie within -1 and 1:"
            " scale them and export again"
        )
    return block


def checked_rate(rate: int, name: str) -> int:
    """The rate; raises `AudioError` for one no recording of speech has."""
    if not SLOWEST_RATE <= rate <= FASTEST_RATE:
        raise AudioError(
            f"{name} claims {rate} samples a second; {SLOWEST_RATE} to {FASTEST_RATE} are accepted"
        )
    return rate


def _resampled(blocks: Iterator[Block]) -> Iterator[np.ndarray]:
    """The blocks at 16 kHz. One filter runs through all blocks of a rate, so there are no seams."""
    nothing = np.zeros(0, dtype=np.float32)
    resampler, current = None, SAMPLE_RATE
    for rate, block in blocks:
        if rate != current:
            if resampler is not None:
                yield resampler.resample_chunk(nothing, last=True)
            current = rate
            same = rate == SAMPLE_RATE
            resampler = None if same else soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32")
        yield block if resampler is None else resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(nothing, last=True)
