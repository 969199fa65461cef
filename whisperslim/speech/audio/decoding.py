"""Which library decodes a recording.

One order for every installation, so that the same recording is heard the same everywhere: what
libsndfile reads it decodes, and FFmpeg the rest, damaged files among it, of which it reads more.
Where FFmpeg is not installed the rest is refused, and nothing is tried in its place.

Clips of a data set are always decoded by FFmpeg, as they were before libsndfile was: caches of them
and figures made with them stay as they are. Both give the same samples of PCM and FLAC. Opus
differs where it goes over full scale, which FFmpeg has libopus round off, and elsewhere by a step
of 16 bits at most; Vorbis and MP3 differ by rounding, some 1e-6.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from whisperslim.errors import AudioError
from whisperslim.machine.extras import install
from whisperslim.speech.audio.audio import MAX_SECONDS
from whisperslim.speech.audio.samples import Block, gathered, name_of, open_source

Recording = str | Path | bytes | np.ndarray
"""A file, its bytes, or its sound: mono float32 of shape `(samples,)` at 16 kHz."""


def sound_of(recording: Recording) -> np.ndarray:
    """The sound of a recording, however it is given. Raises as `decode`."""
    return recording if isinstance(recording, np.ndarray) else decode(recording)


def decode(source: Path | str | bytes, *, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """The whole recording as mono float32 in [-1, 1] at 16 kHz, shape (samples,), for hearing it.

    `source` is a path or the bytes of a file; the format is found from the content, never from the
    name. Channels are averaged, then resampled once (soxr, high quality). Works block by block, so
    memory is that of the result. A damaged or cut-off file gives what is readable.
    Raises `AudioError` when there is no such file, nothing decodable, samples that are not finite
    or far over full scale, or more than `max_seconds` of audio; and when PyAV, the extra `media`,
    is needed and not there.
    """
    try:
        from whisperslim.speech.audio import libsndfile
    except OSError as error:  # systems for which soundfile does not bring the library
        raise AudioError(
            f"recordings cannot be decoded: {error}; install libsndfile, on Debian and Raspberry "
            "Pi OS with: apt install libsndfile1"
        ) from error
    name = name_of(source)
    with open_source(source, name) as file:
        try:
            return gathered(libsndfile.mono_blocks(file, name), name, max_seconds)
        except (libsndfile.NotPlainError, libsndfile.DamagedError) as error:
            why = str(error)
        file.seek(0)
        return gathered(_by_ffmpeg(file, name, why), name, max_seconds)


def of_data_set(source: Path | str | bytes, *, max_seconds: float = MAX_SECONDS) -> np.ndarray:
    """A clip of a data set; otherwise as `decode`."""
    name = name_of(source)
    with open_source(source, name) as file:
        return gathered(
            _by_ffmpeg(file, name, "which decodes the clips of data sets"), name, max_seconds
        )


def _by_ffmpeg(file: BinaryIO, name: str, why: str) -> Iterator[Block]:
    try:
        from whisperslim.speech.audio import ffmpeg
    except ModuleNotFoundError as error:
        if error.name != "av":
            raise
        raise AudioError(
            f"{name} cannot be read without PyAV ({why}); {install('media')}"
        ) from error
    return ffmpeg.mono_blocks(file, name)
