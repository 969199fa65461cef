"""Recording from a microphone of the computer the program runs on, for the command line.

The app records in the browser and does not need this. PortAudio is loaded on the first call only,
so that a machine without sound can use everything else.
"""

import math
import queue
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import soundfile

from whisperslim.errors import AudioError, UsageError
from whisperslim.speech.audio.audio import MAX_SECONDS, SAMPLE_RATE

FULL_SCALE = 32_768  # of 16-bit samples
UNPLUGGED_SECONDS = 2.0  # without a sample; blocks arrive every few hundredths of a second
_POLL_SECONDS = 0.1  # how soon a stop request is seen while no samples arrive

Level = Callable[[float], None]
_Blocks = queue.SimpleQueue[tuple[np.ndarray, bool]]
_NO_BLOCK = np.zeros((0, 1), dtype=np.int16), False


class MicrophoneError(AudioError):
    """There is no microphone to record from, or it failed."""


@dataclass(frozen=True)
class InputDevice:
    """One sound input. `index` is what `record` takes; `rate` is its usual one, in Hz."""

    index: int
    name: str
    channels: int
    rate: int
    is_default: bool


def list_devices() -> list[InputDevice]:
    """Every input PortAudio knows, perhaps none. Raises `MicrophoneError` without PortAudio."""
    sd = _sounddevice()
    try:
        found = [dict(info) for info in sd.query_devices()]
    except sd.PortAudioError as error:
        raise MicrophoneError(f"the sound devices cannot be listed: {error}") from error
    usual = _default_index(sd)
    inputs = [info for info in found if info["max_input_channels"] > 0]
    return [_device(info, info["index"] == usual) for info in inputs]


def record(
    seconds: float,
    path: Path,
    *,
    device: int | None = None,
    on_level: Level | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Record up to `seconds` to the 16-bit WAV file `path`, which is returned; blocks meanwhile.

    16 kHz mono where the device can, else at its own rate. `on_level` gets the RMS level (0 to 1)
    of every block; `stop` ends early. The file appears under its name only when it is complete. If
    the device fails midway, `MicrophoneError` is raised and what was recorded is kept in `path`.
    """
    _check_request(seconds, path)
    sd = _sounddevice()
    info = _input_info(sd, device)
    rate, channels = _settings(sd, info)
    blocks: _Blocks = queue.SimpleQueue()
    with _wav(path, rate, channels) as file:
        try:
            with sd.InputStream(
                samplerate=rate,
                device=info["index"],
                channels=channels,
                dtype="int16",
                callback=_collector(blocks),
            ):
                _write(blocks, file, round(seconds * rate), on_level, stop or threading.Event())
        except (sd.PortAudioError, TimeoutError, soundfile.LibsndfileError) as error:
            raise _failure(error, file, path) from error
    if not file.frames:
        raise MicrophoneError("recording was stopped before any sound arrived: nothing is saved")
    return path


def _sounddevice() -> ModuleType:
    try:
        import sounddevice
    except ImportError as error:
        raise MicrophoneError(
            "recording needs sounddevice: pip install 'whisperslim[app]'"
        ) from error
    except OSError as error:  # what sounddevice raises without the PortAudio library
        raise MicrophoneError(
            f"recording needs the PortAudio library ({error}). On Debian or Ubuntu: apt install"
            " libportaudio2. Recording in the app, in the browser, works without it"
        ) from error
    return sounddevice


def _default_index(sd: ModuleType) -> int | None:
    try:
        return int(sd.query_devices(kind="input")["index"])
    except (sd.PortAudioError, ValueError):  # no default, or the default is an output
        return None


def _device(info: dict[str, Any], is_default: bool) -> InputDevice:
    return InputDevice(
        index=info["index"],
        name=info["name"],
        channels=info["max_input_channels"],
        rate=round(info["default_samplerate"]),
        is_default=is_default,
    )


def _check_request(seconds: float, path: Path) -> None:
    if not (math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS):
        raise UsageError(f"cannot record {seconds} s: up to {MAX_SECONDS:g} s are accepted")
    if path.suffix.lower() != ".wav":
        raise UsageError(f"recordings are WAV files: give {path.name} a name that ends in .wav")
    if path.is_dir():
        raise UsageError(f"{path} is a folder: give the name of a file to write")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}: make it first")


def _input_info(sd: ModuleType, device: int | None) -> dict[str, Any]:
    """PortAudio's record of the input. Raises `MicrophoneError` naming those that exist."""
    try:
        return dict(sd.query_devices(device, kind="input"))
    except (sd.PortAudioError, ValueError) as error:
        inputs = [f"{found.index} ({found.name})" for found in list_devices()]
        if not inputs:
            raise MicrophoneError("this computer has no microphone: plug one in") from error
        which = "default microphone" if device is None else f"input device {device}"
        raise MicrophoneError(f"no {which}: choose one of {', '.join(inputs)}") from error


def _settings(sd: ModuleType, info: dict[str, Any]) -> tuple[int, int]:
    """(rate, channels): the first the device accepts; mono at 16 kHz is asked for first."""
    own, every = round(info["default_samplerate"]), info["max_input_channels"]
    refusal: Exception | None = None
    for rate, channels in ((SAMPLE_RATE, 1), (own, 1), (own, every)):
        try:
            sd.check_input_settings(info["index"], channels, "int16", samplerate=rate)
        except (sd.PortAudioError, ValueError) as error:
            refusal = error
        else:
            return rate, channels
    raise MicrophoneError(
        f"{info['name']} cannot be opened ({refusal}): is another program recording from it, or is"
        " permission to use the microphone missing?"
    )


@contextmanager
def _wav(path: Path, rate: int, channels: int) -> Iterator[soundfile.SoundFile]:
    """A 16-bit WAV file that takes its name at the end, after an error too if it holds samples."""
    part = path.with_name(f".{path.name}.part")
    try:
        file = soundfile.SoundFile(part, "w", rate, channels, "PCM_16", format="WAV")
    except soundfile.LibsndfileError as error:
        raise UsageError(
            f"cannot write to {path.parent}: {error}. Choose another folder"
        ) from error
    try:
        with file:
            yield file
    finally:
        if file.frames:
            part.replace(path)
        else:
            part.unlink()


def _collector(blocks: _Blocks) -> Callable[..., None]:
    """PortAudio's callback. It runs in a real-time thread, so it only copies the block."""

    def collect(block: np.ndarray, frames: int, when: Any, status: Any) -> None:
        blocks.put((block.copy(), bool(status.input_overflow)))

    return collect


def _write(
    blocks: _Blocks,
    file: soundfile.SoundFile,
    frames: int,
    on_level: Level | None,
    stop: threading.Event,
) -> None:
    """Blocks to the file until `frames` are there or `stop` is set. `TimeoutError` if none come."""
    while file.frames < frames and not (stop.is_set() and blocks.empty()):
        block, overflow = _next_block(blocks, stop)
        if overflow:
            warnings.warn("the computer was too busy: some sound was lost", stacklevel=3)
        file.write(block[: frames - file.frames])
        if on_level is not None and len(block):
            on_level(float(np.sqrt(np.mean(np.square(block / FULL_SCALE)))))


def _next_block(blocks: _Blocks, stop: threading.Event) -> tuple[np.ndarray, bool]:
    """The next block and whether sound was lost before it; an empty one once `stop` is set."""
    for _ in range(round(UNPLUGGED_SECONDS / _POLL_SECONDS)):
        try:
            return blocks.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            if stop.is_set():
                return _NO_BLOCK
    raise TimeoutError(f"no sound came for {UNPLUGGED_SECONDS:g} s; was it unplugged?")


def _failure(error: Exception, file: soundfile.SoundFile, path: Path) -> MicrophoneError:
    kept = f"the first {file.frames / file.samplerate:.1f} s are kept in {path}"
    outcome = kept if file.frames else "nothing was recorded"
    return MicrophoneError(f"recording failed: {error}; {outcome}. Connect it and record again")
