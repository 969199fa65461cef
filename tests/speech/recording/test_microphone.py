"""Recording, against a stand-in for sounddevice that plays a known signal into the callback."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from whisperslim.errors import AudioError, UsageError
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.recording import microphone
from whisperslim.speech.recording.microphone import (
    InputDevice,
    MicrophoneError,
    list_devices,
    record,
)

BLOCK = 1_000  # frames


class PortAudioError(Exception):
    """Of the same name and base as sounddevice's."""


class FakeSound(ModuleType):
    """The part of sounddevice that is used; signatures as in sounddevice 0.5."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.devices = [
            device(0, "Speakers", inputs=0, rate=48_000.0),
            device(1, "Built-in microphone", inputs=1, rate=44_100.0),
            device(2, "Headset", inputs=2, rate=48_000.0),
        ]
        self.default: int = 2
        self.accepted: set[tuple[int, int]] = {(16_000, 1)}
        self.signal = np.zeros((16_000, 1), np.int16)
        self.overflow = False
        self.start_error: Exception | None = None
        self.stop_error: Exception | None = None
        self.opened: dict[str, Any] = {}

    def query_devices(self, device: int | None = None, kind: str | None = None) -> Any:
        if device is None and kind is None:
            return tuple(self.devices)
        index = self.default if device is None else device
        if not 0 <= index < len(self.devices):
            raise PortAudioError(f"Error querying device {index}")
        if self.devices[index]["max_input_channels"] < 1:
            raise ValueError(f"Not an input device: {index}")
        return self.devices[index]

    def check_input_settings(
        self,
        device: int | None = None,
        channels: int | None = None,
        dtype: str | None = None,
        extra_settings: Any = None,
        samplerate: float | None = None,
    ) -> None:
        if (samplerate, channels) not in self.accepted:
            raise PortAudioError("Invalid sample rate")

    def InputStream(self, **options: Any) -> "FakeStream":  # noqa: N802
        self.opened = options
        return FakeStream(self, options["callback"])


class FakeStream:
    def __init__(self, sound: FakeSound, callback: Callable[..., None]) -> None:
        self.sound, self.callback = sound, callback

    def __enter__(self) -> "FakeStream":
        if self.sound.start_error:
            raise self.sound.start_error
        buffer = np.empty((BLOCK, self.sound.signal.shape[1]), np.int16)
        for start in range(0, len(self.sound.signal), BLOCK):
            block = self.sound.signal[start : start + BLOCK]
            buffer[: len(block)] = block  # PortAudio reuses its buffer, so the callback must copy
            status = SimpleNamespace(input_overflow=self.sound.overflow and start == BLOCK)
            self.callback(buffer[: len(block)], len(block), None, status)
        buffer[:] = 99
        return self

    def __exit__(self, *error: object) -> None:
        if self.sound.stop_error:
            raise self.sound.stop_error


def device(index: int, name: str, *, inputs: int, rate: float) -> dict[str, Any]:
    return {
        "index": index,
        "name": name,
        "max_input_channels": inputs,
        "default_samplerate": rate,
    }


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> FakeSound:
    fake = FakeSound()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(microphone, "UNPLUGGED_SECONDS", 0.2)
    return fake


def ramp(frames: int, channels: int = 1) -> np.ndarray:
    return np.tile(np.arange(frames, dtype=np.int16)[:, None], (1, channels))


def test_devices_are_the_inputs_only(sound: FakeSound) -> None:
    assert list_devices() == [
        InputDevice(1, "Built-in microphone", channels=1, rate=44_100, is_default=False),
        InputDevice(2, "Headset", channels=2, rate=48_000, is_default=True),
    ]


def test_no_default_and_no_devices_are_not_errors_of_the_list(sound: FakeSound) -> None:
    sound.default = -1
    assert [found.is_default for found in list_devices()] == [False, False]
    sound.devices = sound.devices[:1]
    assert list_devices() == []


def test_a_recording_is_the_signal_sample_for_sample(sound: FakeSound, tmp_path: Path) -> None:
    sound.signal = ramp(20_000)
    path = record(0.75, tmp_path / "a.wav")
    assert path == tmp_path / "a.wav"
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == 16_000 and soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_array_equal(samples, np.arange(12_000))
    assert sound.opened["device"] == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.wav"]
    np.testing.assert_array_equal(decode(path), samples / np.float32(32_768))


@pytest.mark.parametrize(
    ("accepted", "rate", "channels"),
    [({(48_000, 1), (48_000, 2)}, 48_000, 1), ({(48_000, 2)}, 48_000, 2)],
)
def test_the_device_s_own_rate_is_used_where_16_khz_is_not_offered(
    sound: FakeSound, tmp_path: Path, accepted: set[tuple[int, int]], rate: int, channels: int
) -> None:
    sound.accepted, sound.signal = accepted, ramp(30_000, channels)
    info = soundfile.info(record(0.5, tmp_path / "a.wav"))
    assert (info.samplerate, info.channels, info.frames) == (rate, channels, rate // 2)
    assert len(decode(tmp_path / "a.wav")) == 8_000


def test_another_device_can_be_chosen(sound: FakeSound, tmp_path: Path) -> None:
    record(0.5, tmp_path / "a.wav", device=1)
    assert sound.opened["device"] == 1


def test_levels_are_rms_of_full_scale(sound: FakeSound, tmp_path: Path) -> None:
    sound.signal = np.concatenate([np.full((BLOCK, 1), 16_384), np.zeros((BLOCK, 1))]).astype("i2")
    levels: list[float] = []
    record(2 * BLOCK / 16_000, tmp_path / "a.wav", on_level=levels.append)
    assert levels == [0.5, 0.0]


def test_stop_ends_early_and_keeps_what_came(sound: FakeSound, tmp_path: Path) -> None:
    sound.signal = ramp(3 * BLOCK)
    stop = threading.Event()
    record(60, tmp_path / "a.wav", on_level=lambda level: stop.set(), stop=stop)
    assert soundfile.info(tmp_path / "a.wav").frames == 3 * BLOCK


def test_stop_before_any_sound_leaves_no_file(sound: FakeSound, tmp_path: Path) -> None:
    sound.signal = ramp(0)
    stop = threading.Event()
    stop.set()
    with pytest.raises(MicrophoneError, match="before any sound"):
        record(5, tmp_path / "a.wav", stop=stop)
    assert list(tmp_path.iterdir()) == []


def test_unplugged_midway_keeps_the_beginning(sound: FakeSound, tmp_path: Path) -> None:
    sound.signal = ramp(8_000)
    with pytest.raises(
        MicrophoneError, match=r"unplugged\?; the first 0\.5 s are kept in .*a\.wav"
    ):
        record(5, tmp_path / "a.wav")
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    np.testing.assert_array_equal(samples, np.arange(8_000))


def test_a_failure_while_closing_keeps_the_recording(sound: FakeSound, tmp_path: Path) -> None:
    sound.stop_error = PortAudioError("Unanticipated host error")
    with pytest.raises(MicrophoneError, match=r"host error; the first 1\.0 s are kept"):
        record(1, tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").frames == 16_000


def test_a_device_that_does_not_start_leaves_no_file(sound: FakeSound, tmp_path: Path) -> None:
    sound.start_error = PortAudioError("Device unavailable")
    with pytest.raises(MicrophoneError, match="Device unavailable; nothing was recorded"):
        record(1, tmp_path / "a.wav")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_keeps_the_recording(sound: FakeSound, tmp_path: Path) -> None:
    def interrupt(level: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(5, tmp_path / "a.wav", on_level=interrupt)
    assert soundfile.info(tmp_path / "a.wav").frames == BLOCK


def test_a_failed_recording_leaves_the_earlier_one(sound: FakeSound, tmp_path: Path) -> None:
    record(1, tmp_path / "a.wav")
    sound.start_error = PortAudioError("Device unavailable")
    with pytest.raises(MicrophoneError):
        record(1, tmp_path / "a.wav")
    assert soundfile.info(tmp_path / "a.wav").frames == 16_000


def test_lost_sound_is_warned_of(sound: FakeSound, tmp_path: Path) -> None:
    sound.overflow = True
    with pytest.warns(UserWarning, match="some sound was lost"):
        record(0.5, tmp_path / "a.wav")


def test_no_microphone_is_said(sound: FakeSound, tmp_path: Path) -> None:
    sound.devices, sound.default = sound.devices[:1], -1
    with pytest.raises(MicrophoneError, match="no microphone"):
        record(1, tmp_path / "a.wav")


@pytest.mark.parametrize("wrong", [0, 7])
def test_a_wrong_device_is_answered_with_the_right_ones(
    sound: FakeSound, tmp_path: Path, wrong: int
) -> None:
    message = rf"no input device {wrong}: choose one of 1 \(Built-in microphone\), 2 \(Headset\)"
    with pytest.raises(MicrophoneError, match=message):
        record(1, tmp_path / "a.wav", device=wrong)


def test_a_device_that_refuses_every_setting_is_named(sound: FakeSound, tmp_path: Path) -> None:
    sound.accepted = set()
    with pytest.raises(MicrophoneError, match="Headset cannot be opened"):
        record(1, tmp_path / "a.wav")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf"), 1e6])
def test_impossible_lengths_are_refused(sound: FakeSound, tmp_path: Path, seconds: float) -> None:
    with pytest.raises(UsageError, match="cannot record"):
        record(seconds, tmp_path / "a.wav")


def test_places_that_cannot_be_written_are_refused(sound: FakeSound, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.wav"):
        record(1, tmp_path / "a.mp3")
    with pytest.raises(UsageError, match="no folder"):
        record(1, tmp_path / "missing" / "a.wav")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        record(1, tmp_path / "folder.wav")


def test_without_portaudio_the_way_to_get_it_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = "raise OSError('PortAudio library not found')"
    (tmp_path / "sounddevice.py").write_text(source, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for call in (list_devices, lambda: record(1, tmp_path / "a.wav")):
        with pytest.raises(MicrophoneError, match="libportaudio2"):
            call()  # type: ignore[operator]
    assert issubclass(MicrophoneError, AudioError)


def test_without_sounddevice_the_way_to_get_it_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MicrophoneError, match=r"pip install 'whisperslim\[app\]'"):
        list_devices()
