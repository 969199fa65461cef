"""Recordings made to break a decoder, and what is no file: words for each, and nothing waits."""

import io
import os
import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from whisperslim.errors import AudioError
from whisperslim.speech.audio import ffmpeg
from whisperslim.speech.audio.decoding import decode, of_data_set
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import Item

NOTHING = "no decodable audio|no audio track|not audio that can be read"
PACKET = 188  # bytes of MPEG-TS
FIRST_STREAM, OTHER_STREAM = 0x100, 0x222  # identifiers of PyAV's writer, and one nobody announced


def encoded(container: str, codec: str, seconds: float = 1.0) -> bytes:
    """A tone of 440 Hz at 16 kHz."""
    count = round(16_000 * seconds)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(count) / 16_000)
    frame = av.AudioFrame.from_ndarray((tone * 32767).astype("<i2")[None], "s16", "mono")
    frame.sample_rate = 16_000
    target = io.BytesIO()
    with av.open(target, "w", format=container) as writer:
        stream = writer.add_stream(codec, rate=16_000, layout="mono")
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format.name, "mono", 16_000, size)
        for block in (*resampler.resample(frame), *resampler.resample(None), None):
            writer.mux(stream.encode(block))
    return target.getvalue()


def wav(
    samples: bytes = bytes(3200), rate: int = 16_000, channels: int = 1, size: int = 0
) -> bytes:
    """A WAV of 16 bits that may say of itself what it likes."""
    size = size or len(samples)
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 % 2**32, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (size + 36) % 2**32) + body + samples


def renamed(packets: bytes) -> bytes:
    """The packets of the sound alone, as of a stream that nobody announced."""
    found = bytearray()
    for at in range(0, len(packets), PACKET):
        packet = bytearray(packets[at : at + PACKET])
        if (packet[1] & 0x1F) << 8 | packet[2] == FIRST_STREAM:
            packet[1] = packet[1] & 0xE0 | OTHER_STREAM >> 8
            packet[2] = OTHER_STREAM & 0xFF
            found += packet
    return bytes(found)


def test_a_stream_that_begins_half_way_takes_nothing_from_the_first() -> None:
    first, other = encoded("mpegts", "aac"), renamed(encoded("mpegts", "mp2"))
    # The length of a stretch is longer than what is read to find the streams.
    alone = decode(first * 400)
    assert np.array_equal(decode(first * 200 + other + first * 200), alone)


@pytest.mark.parametrize(
    "error",
    [IndexError("list"), ValueError("reshape"), KeyError("x"), TypeError(), OverflowError("big"),
     RuntimeError("decoder"), av.error.InvalidDataError(1, "damaged"), ZeroDivisionError()],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_whatever_the_decoder_says_becomes_words(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(ffmpeg, "_mono", fails)
    with pytest.raises(AudioError, match="is not audio that can be read"):
        of_data_set(wav())


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (wav(rate=0), f"0 samples a second|{NOTHING}"),
        (wav(rate=10**9), "1000000000 samples a second"),
        (wav(channels=0), NOTHING),
        (wav(channels=65_535), NOTHING),
        (wav(b""), NOTHING),
        (b"RIFF", "not audio that can be read"),
        (bytes(range(256)) * 40, "not audio that can be read"),
        ("नमस्ते".encode() * 300, "not audio that can be read"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not audio that can be read"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not audio that can be read"),
    ],
)
def test_headers_that_cannot_be_are_refused_in_words(raw: bytes, words: str) -> None:
    for decoder in (decode, of_data_set):
        with pytest.raises(AudioError, match=words):
            decoder(raw)


@pytest.mark.parametrize("container", ["wav", "flac", "mpegts", "matroska"])
def test_a_cut_off_file_gives_what_is_there_or_words(container: str) -> None:
    whole = encoded(container, {"wav": "pcm_s16le", "flac": "flac"}.get(container, "aac"))
    for length in range(0, len(whole), 997):
        try:
            assert len(decode(whole[:length])) <= len(decode(whole))
        except AudioError as error:
            assert "accepted" in str(error)


def test_a_length_that_is_only_claimed_takes_no_memory(tmp_path: Path) -> None:
    ten_hours = 10 * 3600 * 16_000 * 2
    (tmp_path / "long.wav").write_bytes(wav(bytes(32_000), size=ten_hours))
    assert len(decode(tmp_path / "long.wav")) == 16_000


def test_the_name_says_nothing(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.mp3"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(3200))
    assert len(decode(tmp_path / "a.mp3")) == 1600


def no_files(folder: Path) -> dict[str, Path]:
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / "pipe")
    return {
        "pipe": folder / "pipe",
        "link to a pipe": folder / "link",
        "device": Path("/dev/zero"),
        "terminal": Path("/dev/tty"),
        "folder": folder,
        "missing": folder / "missing",
        "zero byte": Path("a\0b"),
    }


def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path) -> None:
    cache = AudioCache(tmp_path / "cache")
    for path in no_files(tmp_path).values():
        with pytest.raises(AudioError, match="cannot open"):
            decode(path)
        if "\0" not in str(path):
            with pytest.raises(AudioError, match="cannot be read"):
                cache.load(Item("key", str(path), "text"))
