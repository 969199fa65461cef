"""Plain recordings by libsndfile, through soundfile: WAV, FLAC, MP3, and Ogg of Vorbis or Opus."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import soundfile

from whisperslim.speech.audio.ogg import at_full_rate, holds_one_stream
from whisperslim.speech.audio.samples import BLOCK_SAMPLES, Block, checked, checked_rate

READS = "WAV, FLAC, MP3 and Ogg (Vorbis or Opus)"

# Those that were compared with FFmpeg's; the rest is left to that.
_SUBTYPES = {
    "WAV": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW",
            "IMA_ADPCM", "MS_ADPCM"},
    "WAVEX": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"},
    "RF64": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"},
    "FLAC": {"PCM_S8", "PCM_16", "PCM_24"},
    "OGG": {"VORBIS", "OPUS"},
    "MP3": {"MPEG_LAYER_III"},
}  # fmt: skip
_OPUS_STEPS = 1 << 15  # to a full scale: FFmpeg has libopus round to 16 bits
# An MP3 that does not say how long it is may be estimated longer by a part of a frame or two.
_SPARE = 4 * 1152
_UNKNOWN = 1 << 62  # samples of a stream that does not say how many there are
_MOST_VALUES = 1 << 19  # of all channels: what is read at a time
_BEGINNING = 12  # bytes that say what a file is


class NotPlainError(Exception):
    """libsndfile is not to read this file; says why."""


class DamagedError(Exception):
    """libsndfile does not get to the end of this file; says how far it got."""


class _Forward(soundfile.SoundFile):
    """A recording that is read from beginning to end.

    Every read of a `SoundFile` that can be sought ends with a seek to the place where it is, which
    makes the decoders of MP3 and Opus start anew there.
    """

    def seekable(self) -> bool:
        return False


def mono_blocks(file: BinaryIO, name: str) -> Iterator[Block]:
    """The recording's blocks, in order.

    Raises:
        NotPlainError: at once, for what libsndfile is not to read.
        DamagedError: after the last block, when there is more.
        AudioError: for samples or a rate that cannot be.
    """
    return _blocks(_opened(file), name)


def _opened(file: BinaryIO) -> _Forward:
    if not _is_plain(file):
        raise NotPlainError(f"it is not {READS}")
    try:
        sound = _Forward(at_full_rate(file), "r")
    except soundfile.LibsndfileError as error:
        raise NotPlainError(error.error_string.rstrip(".")) from error
    if sound.subtype not in _SUBTYPES.get(sound.format, ()):
        sound.close()
        raise NotPlainError(f"{sound.format} with {sound.subtype} is left to FFmpeg")
    return sound


def _is_plain(file: BinaryIO) -> bool:
    """By how it begins."""
    file.seek(0)
    head = file.read(_BEGINNING)
    if head.startswith((b"RIFF", b"RF64")):
        return head[8:12] == b"WAVE"
    if head.startswith(b"OggS"):
        return holds_one_stream(file)
    return head.startswith((b"fLaC", b"ID3")) or _is_layer_three(head)


def _is_layer_three(head: bytes) -> bool:
    """Whether an MP3's first frame is there: eleven ones, a version, and the layer."""
    return (
        len(head) > 2
        and head[0] == 0xFF
        and head[1] & 0xE0 == 0xE0
        and head[1] >> 3 & 3 != 1
        and head[1] >> 1 & 3 == 1
        and head[2] >> 4 != 15
        and head[2] >> 2 & 3 != 3
    )


def _blocks(sound: _Forward, name: str) -> Iterator[Block]:
    with sound:
        rate = checked_rate(sound.samplerate, name)
        if sound.subtype == "OPUS":
            sound.seek(0)  # else what comes before the beginning is not left out of some streams
        values = np.empty((min(BLOCK_SAMPLES, _MOST_VALUES // sound.channels), sound.channels))
        count = 0
        while len(found := _read(sound, values, count)):
            count += len(found)
            with np.errstate(invalid="ignore"):  # infinities of both signs; refused below
                mean = found.mean(axis=1)
            yield rate, checked(mean.astype(np.float32), name)
        if not count:
            raise DamagedError("libsndfile finds no sound in it")
        if sound.frames - count > _SPARE and sound.frames < _UNKNOWN:
            raise DamagedError(_damaged(count / rate))


def _read(sound: _Forward, into: np.ndarray, count: int) -> np.ndarray:
    """The next samples, `count` having been read, `(samples, channels)` float64."""
    try:
        found: np.ndarray = sound.read(out=into)
    except soundfile.LibsndfileError as error:
        raise DamagedError(_damaged(count / sound.samplerate)) from error
    if sound.subtype == "OPUS":
        np.divide(np.rint(found * _OPUS_STEPS), _OPUS_STEPS, out=found)
    return found


def _damaged(seconds: float) -> str:
    return f"it is damaged or cut off after about {seconds:.1f} s"
