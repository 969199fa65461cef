"""Recordings of any kind by FFmpeg, through PyAV, which is the extra `media`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import av
import numpy as np
from av.audio.frame import format_dtypes

from whisperslim.errors import AudioError
from whisperslim.speech.audio.samples import (
    ACCEPTED,
    BLOCK_SAMPLES,
    Block,
    checked,
    checked_rate,
)

# Demuxers that only read the bytes they are given. A playlist (hls, concat) would make the decoder
# open other files and addresses, which an uploaded "recording" must never do.
_CONTAINERS = "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,amr,mov,matroska,webm,asf,avi,mpegts"
# What PyAV raises for damaged files besides its own errors: for lists that are too short, sizes
# that do not fit, formats without a name.
_FAULTS = (
    av.FFmpegError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    RuntimeError,
)  # fmt: skip


def mono_blocks(file: BinaryIO, name: str) -> Iterator[Block]:
    """The recording's blocks, in order; a block ends early only where the rate changes.

    Raises `AudioError` for what is no recording, has no audio, or has samples that cannot be.
    """
    with _container(file, name) as container:
        yield from _blocks(container, name)


def _container(file: BinaryIO, name: str) -> av.container.InputContainer:
    with _decoding(name):
        return av.open(
            file,
            mode="r",
            container_options={"format_whitelist": _CONTAINERS},
            metadata_errors="replace",
        )


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn whatever the decoder raises for a file in the block into an `AudioError`."""
    try:
        yield
    except _FAULTS as error:
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        raise AudioError(f"{name} is not audio that can be read ({reason}). {ACCEPTED}") from error


def _audio_stream(container: av.container.InputContainer, name: str) -> av.AudioStream:
    stream = container.streams.best("audio")
    if stream is None:
        raise AudioError(f"{name} has no audio track. {ACCEPTED}")
    return cast(av.AudioStream, stream)


def _blocks(container: av.container.InputContainer, name: str) -> Iterator[Block]:
    held: list[np.ndarray] = []
    count = rate = 0
    with _decoding(name):
        stream = _audio_stream(container, name)
        for frame in _frames(_packets(container, stream), _decoder(stream, name)):
            if held and (count >= BLOCK_SAMPLES or frame.sample_rate != rate):
                yield rate, checked(np.concatenate(held), name)
                held, count = [], 0
            rate = checked_rate(frame.sample_rate, name)
            held.append(_mono(frame, name))
            count += frame.samples
    if held:
        yield rate, checked(np.concatenate(held), name)


def _packets(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.Packet]:
    """Packets of the stream; a broken container ends them."""
    packets = container.demux(stream)
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError, OSError):
            return
        except IndexError:
            # A stream that begins half way, as in MPEG-TS, is in none of PyAV's lists. Reading
            # continues after its packet, so that this ends.
            packets = container.demux(stream)


def _frames(packets: Iterator[av.Packet], decoder: av.AudioCodecContext) -> Iterator[av.AudioFrame]:
    """Decoded frames; packets that are damaged are left out."""
    for packet in packets:
        try:
            yield from decoder.decode(packet)
        except av.FFmpegError:
            continue


def _decoder(stream: av.AudioStream, name: str) -> av.AudioCodecContext:
    """The stream's own decoder, except for Opus: FFmpeg's returns far too large values on some SILK
    frames.

    Seen: peaks of 19 where libopus, the reference, has 0.38.
    """
    usual = stream.codec_context
    if usual is None:
        raise AudioError(f"{name} has audio of an unknown kind. {ACCEPTED}")
    if usual.name != "opus":
        return usual
    try:
        decoder = av.CodecContext.create("libopus", "r")
    except av.codec.codec.UnknownCodecError as error:
        raise AudioError("this PyAV cannot decode Opus with libopus: pip install av") from error
    decoder.extradata = usual.extradata
    decoder.sample_rate = usual.sample_rate
    return decoder


def _mono(frame: av.AudioFrame, name: str) -> np.ndarray:
    """The mean of the channels, float32 of shape (samples,), full scale 1."""
    if frame.format.name not in format_dtypes:
        raise AudioError(
            f"{name} has samples of the kind {frame.format.name}, which cannot be read;"
            " export it as 16-bit WAV or FLAC"
        )
    raw = frame.to_ndarray()
    by_channel = raw if frame.format.is_planar else raw.reshape(frame.samples, -1).T
    with np.errstate(invalid="ignore"):  # infinities of both signs; `checked` refuses what is left
        mean = by_channel.mean(axis=0, dtype=np.float64)
    if raw.dtype == np.uint8:
        mean = (mean - 128.0) / 128.0
    elif raw.dtype.kind == "i":
        mean /= 2.0 ** (8 * raw.dtype.itemsize - 1)
    return mean.astype(np.float32)
