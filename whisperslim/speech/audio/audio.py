"""Recordings become mono 16 kHz float32 arrays.

This is the only place that decodes or resamples. Everything after it counts in samples of
`SAMPLE_RATE` or in frames of `HOP_LENGTH` samples. It needs only PyAV, soxr and numpy, since the
runtime without torch uses it.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import av
import numpy as np
import soxr
from av.audio.frame import format_dtypes

from whisperslim.errors import AudioError
from whisperslim.speech.plain_file import open_file

# The front end of Whisper (Radford et al. 2022, section 2.2). Not knobs: the weights expect them.
SAMPLE_RATE = 16_000  # Hz
N_FFT = 400  # samples: 25 ms
HOP_LENGTH = 160  # samples: 10 ms
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100

# Our limits on what counts as a recording of speech.
MAX_SECONDS = 3 * 3600.0
SLOWEST_RATE, FASTEST_RATE = 4_000, 768_000  # Hz
MAX_AMPLITUDE = 4.0  # full scale is 1; up to here it is overshoot or a hot mix, and is clipped
SILENCE_DBFS = -50.0  # dB below full scale; reads of quiet rooms in our data sit at -45 to -65
MIN_SPEECH_SECONDS = 0.1  # less than one short syllable

# Demuxers that only read the bytes they are given. A playlist (hls, concat) would make the decoder
# open other files and addresses, which an uploaded "recording" must never do.
_CONTAINERS = "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,amr,mov,matroska,webm,asf,avi,mpegts"
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".webm"})
"""How files of recordings end, for finding them in a folder; what one is shows in its content."""
_ACCEPTED = "WAV, FLAC, Ogg (Vorbis or Opus), MP3, M4A/MP4 and WebM recordings are accepted"
# What PyAV raises for damaged files besides its own errors: for lists that are too short, sizes
# that do not fit, formats without a name.
_FAULTS = (
    av.FFmpegError, OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError,
    RuntimeError,
)  # fmt: skip
_BLOCK_SAMPLES = 1 << 16  # per channel: what is mixed and resampled at a time

Recording = str | Path | bytes | np.ndarray
"""A file, its bytes, or its sound: mono float32 of shape `(samples,)` at 16 kHz."""


def sound_of(recording: Recording) -> np.ndarray:
    """The sound of a recording, however it is given. Raises as `decode`."""
    return recording if isinstance(recording, np.ndarray) else decode(recording)


def decode(source: Path | str | bytes, *, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """The whole recording as mono float32 in [-1, 1] at 16 kHz, shape (samples,).

    `source` is a path or the bytes of a file; the format is found from the content, never from the
    name. Channels are averaged, then resampled once (soxr, high quality). Works block by block, so
    memory is that of the result. A damaged or cut-off file gives what is readable.
    Raises `AudioError` when there is no such file, nothing decodable, samples that are not finite
    or far over full scale, or more than `max_seconds` of audio.
    """
    name = _name(source)
    most = round(max_seconds * SAMPLE_RATE)
    samples = bytearray()  # grows in place: no second copy of a two-hour recording
    with _file(source, name) as file, _container(file, name) as container:
        blocks = _mono_blocks(container, name)
        for block in _resampled(blocks):
            samples.extend(np.clip(block, -1.0, 1.0).tobytes())
            if len(samples) > most * block.itemsize:
                raise AudioError(
                    f"{name} is longer than the {max_seconds:g} s allowed: cut it into shorter ones"
                )
    if not samples:
        raise AudioError(f"{name} holds no decodable audio: it is empty or damaged. {_ACCEPTED}")
    return np.frombuffer(samples, dtype=np.float32)


def frame_levels(audio: np.ndarray) -> np.ndarray:
    """Level of each whole 10 ms frame in dB relative to full scale, shape (samples // 160,).

    A constant offset, common with cheap sound cards, does not count. Silence is -100 dB.
    """
    frames = audio[: len(audio) // HOP_LENGTH * HOP_LENGTH].reshape(-1, HOP_LENGTH)
    power = np.einsum("ij,ij->i", frames, frames) / HOP_LENGTH - frames.mean(axis=1) ** 2
    levels: np.ndarray = 10.0 * np.log10(np.maximum(power, 1e-10))
    return levels


def is_silent(audio: np.ndarray) -> bool:
    """True when less than `MIN_SPEECH_SECONDS` is above `SILENCE_DBFS`: no speech can be there.

    Goes by level only: False does not mean that the sound is speech.
    """
    loud = int(np.count_nonzero(frame_levels(audio) >= SILENCE_DBFS))
    return loud < MIN_SPEECH_SECONDS * FRAMES_PER_SECOND


def _name(source: Path | str | bytes) -> str:
    return "the recording" if isinstance(source, bytes) else str(source)


def _file(source: Path | str | bytes, name: str) -> BinaryIO:
    """An open file. The decoder gets this, not the path, so that it can open nothing by itself."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        return open_file(Path(source))
    except OSError as error:
        raise AudioError(f"cannot open {name}: {error.strerror}. Check the path") from error


def _container(file: BinaryIO, name: str) -> av.container.InputContainer:
    if not file.read(1):
        raise AudioError(f"{name} is an empty file. {_ACCEPTED}")
    file.seek(0)
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
        raise AudioError(f"{name} is not audio that can be read ({reason}). {_ACCEPTED}") from error


def _audio_stream(container: av.container.InputContainer, name: str) -> av.AudioStream:
    stream = container.streams.best("audio")
    if stream is None:
        raise AudioError(f"{name} has no audio track. {_ACCEPTED}")
    return cast(av.AudioStream, stream)


def _mono_blocks(
    container: av.container.InputContainer, name: str
) -> Iterator[tuple[int, np.ndarray]]:
    """(rate in Hz, mono float32 block) in order; a block ends early only where the rate changes."""
    held: list[np.ndarray] = []
    count = rate = 0
    with _decoding(name):
        stream = _audio_stream(container, name)
        for frame in _frames(_packets(container, stream), _decoder(stream, name)):
            if held and (count >= _BLOCK_SAMPLES or frame.sample_rate != rate):
                yield rate, _checked(np.concatenate(held), name)
                held, count = [], 0
            rate = _checked_rate(frame.sample_rate, name)
            held.append(_mono(frame, name))
            count += frame.samples
    if held:
        yield rate, _checked(np.concatenate(held), name)


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
        raise AudioError(f"{name} has audio of an unknown kind. {_ACCEPTED}")
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
    with np.errstate(invalid="ignore"):  # infinities of both signs; `_checked` refuses what is left
        mean = by_channel.mean(axis=0, dtype=np.float64)
    if raw.dtype == np.uint8:
        mean = (mean - 128.0) / 128.0
    elif raw.dtype.kind == "i":
        mean /= 2.0 ** (8 * raw.dtype.itemsize - 1)
    return mean.astype(np.float32)


def _checked(block: np.ndarray, name: str) -> np.ndarray:
    peak = float(np.abs(block).max(initial=0.0))
    if not math.isfinite(peak):
        raise AudioError(f"{name} has samples that are not numbers (NaN or infinite): export again")
    if peak > MAX_AMPLITUDE:
        raise AudioError(
            f"{name} has samples up to {peak:.3g}; floating-point samples must lie within -1 and 1:"
            " scale them and export again"
        )
    return block


def _checked_rate(rate: int, name: str) -> int:
    if not SLOWEST_RATE <= rate <= FASTEST_RATE:
        raise AudioError(
            f"{name} claims {rate} samples a second; {SLOWEST_RATE} to {FASTEST_RATE} are accepted"
        )
    return rate


def _resampled(blocks: Iterator[tuple[int, np.ndarray]]) -> Iterator[np.ndarray]:
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
