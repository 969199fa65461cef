"""Both decoders give the same sound, and which is asked does not depend on what is installed."""

import io
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from tests.speech.audio.test_audio import encode
from whisperslim.errors import AudioError
from whisperslim.speech.audio import ffmpeg, libsndfile
from whisperslim.speech.audio.decoding import decode, of_data_set
from whisperslim.speech.corpus.clip_reader import ClipReader
from whisperslim.speech.corpus.dataset import Item

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "assets" / "demo_hi" / "audio"

STEP = 2.0**-15  # of 16 bits, to which FFmpeg has Opus rounded

# name, container, codec, rate in Hz, channel layout; largest difference of a sample of full scale 1
PLAIN = [
    ("low.wav", "wav", "pcm_s16le", 8_000, "mono", 0.0),
    ("bytes.wav", "wav", "pcm_u8", 16_000, "mono", 0.0),
    ("deep.wav", "wav", "pcm_s24le", 48_000, "stereo", 0.0),
    ("deeper.wav", "wav", "pcm_s32le", 44_100, "stereo", 0.0),
    ("surround.wav", "wav", "pcm_f32le", 96_000, "5.1", 0.0),
    ("double.wav", "wav", "pcm_f64le", 22_050, "mono", 0.0),
    ("phone.wav", "wav", "pcm_mulaw", 8_000, "mono", 0.0),
    ("exchange.wav", "wav", "pcm_alaw", 8_000, "mono", 0.0),
    ("small.wav", "wav", "adpcm_ima_wav", 16_000, "mono", 0.0),
    ("older.wav", "wav", "adpcm_ms", 16_000, "mono", 0.0),
    ("lossless.flac", "flac", "flac", 44_100, "stereo", 0.0),
    ("opus.ogg", "ogg", "libopus", 48_000, "mono", STEP),
    ("stereo.opus", "ogg", "libopus", 48_000, "stereo", STEP),
    ("narrow.opus", "ogg", "libopus", 24_000, "mono", STEP),
    ("surround.opus", "ogg", "libopus", 48_000, "5.1", STEP),
    ("music.mp3", "mp3", "libmp3lame", 44_100, "stereo", 1e-5),
    ("voice.mp3", "mp3", "libmp3lame", 16_000, "mono", 1e-5),
    ("phone.mp3", "mp3", "libmp3lame", 8_000, "mono", 1e-5),
]
VORBIS = [(16_000, 1), (44_100, 2), (8_000, 1)]


def speech(rate: int) -> np.ndarray:
    """Well below full scale, and longer than a block."""
    found, own = soundfile.read(DEMO / "demo_000.ogg", dtype="float32")
    times = np.arange(round(len(found) * rate / own)) / rate
    return (0.5 * np.interp(times, np.arange(len(found)) / own, found)).astype(np.float32)


def test_both_decoders_give_the_same_sound(tmp_path: Path) -> None:
    for name, container, codec, rate, layout, most in PLAIN:
        encode(tmp_path / name, container, codec, rate, layout, speech(rate))
        assert_same(tmp_path / name, most)
    for rate, channels in VORBIS:
        path = tmp_path / f"{rate}.ogg"
        sound = np.repeat(speech(rate)[:, None], channels, axis=1)
        soundfile.write(path, sound, rate, format="OGG", subtype="VORBIS")
        assert_same(path, 1e-5)


def assert_same(path: Path, most: float) -> None:
    with path.open("rb") as file:
        blocks = libsndfile.mono_blocks(file, path.name)
        assert sum(len(block) for _, block in blocks) > libsndfile.BLOCK_SAMPLES / 4
    heard, trained = decode(path), of_data_set(path)
    assert len(heard) == len(trained) > 16_000, path.name
    assert np.abs(heard - trained).max() <= most, path.name


def test_both_decoders_give_the_same_sound_of_the_demo_corpus() -> None:
    clips = sorted(DEMO.iterdir())
    assert len(clips) == 60
    for clip in clips:
        assert np.abs(decode(clip) - of_data_set(clip)).max() <= STEP, clip.name


def test_clips_of_data_sets_are_decoded_by_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and figures of before stay as they are."""

    def never(*_: object) -> None:
        raise AssertionError("libsndfile was asked")

    wanted = of_data_set(DEMO / "demo_000.ogg")
    monkeypatch.setattr(libsndfile, "mono_blocks", never)
    found = ClipReader().samples(Item("key", str(DEMO / "demo_000.ogg"), "text"))
    np.testing.assert_array_equal(found, wanted)


def chained(tmp_path: Path) -> bytes:
    """Two streams one after the other."""
    for name in ("a", "b"):
        sound = speech(48_000)
        encode(tmp_path / f"{name}.ogg", "ogg", "libopus", 48_000, "mono", sound)
    return (tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes()


def test_no_stream_of_an_ogg_file_is_left_out(tmp_path: Path) -> None:
    one = len(decode(DEMO / "demo_000.ogg"))
    assert len(decode(chained(tmp_path))) == pytest.approx(2 * one, abs=700)


def damaged_flac() -> bytes:
    target = io.BytesIO()
    soundfile.write(target, speech(16_000), 16_000, format="FLAC")
    content = bytearray(target.getvalue())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(50)
    return bytes(content)


def test_what_comes_after_damage_is_heard() -> None:
    raw = damaged_flac()
    np.testing.assert_array_equal(decode(raw), of_data_set(raw))
    assert len(decode(raw)) > 0.8 * len(speech(16_000))


def test_a_wav_written_to_a_pipe_is_heard(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(16_000), 16_000, subtype="PCM_16")
    raw = bytearray((tmp_path / "a.wav").read_bytes())
    at = raw.index(b"data") + 4
    whole = decode(bytes(raw))
    for size in (0, 2**32 - 1):
        raw[at : at + 4] = size.to_bytes(4, "little")
        np.testing.assert_array_equal(decode(bytes(raw)), whole)


@pytest.fixture(scope="module")
def without_pyav(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which it is not installed."""
    folder = tmp_path_factory.mktemp("without")
    words = "raise ModuleNotFoundError(\"No module named 'av'\", name='av')\n"
    (folder / "av.py").write_text(words, "utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}


def test_the_light_installation_reads_plain_recordings_and_says_what_others_need(
    tmp_path: Path, without_pyav: dict[str, str]
) -> None:
    plain = [row for row in PLAIN if row[0] in {"deep.wav", "lossless.flac", "music.mp3"}]
    for name, container, codec, rate, layout, _ in plain:
        encode(tmp_path / name, container, codec, rate, layout, speech(rate))
    (tmp_path / "speech.ogg").write_bytes((DEMO / "demo_000.ogg").read_bytes())
    encode(tmp_path / "other.m4a", "ipod", "aac", 44_100, "mono", speech(44_100))
    encode(tmp_path / "other.webm", "webm", "libopus", 48_000, "mono", speech(48_000))
    (tmp_path / "other.flac").write_bytes(damaged_flac())
    (tmp_path / "other.ogg").write_bytes(chained(tmp_path))
    for name in ("a.ogg", "b.ogg"):
        (tmp_path / name).unlink()
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from whisperslim.errors import AudioError\n"
        "from whisperslim.speech.audio.decoding import decode\n"
        "for file in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try:\n"
        "        print(file.name, len(decode(file)))\n"
        "    except AudioError as error:\n"
        "        print(file.name, 'refused' if 'whisperslim[media]' in str(error) else error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, env=without_pyav,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(found) == 8
    for name, what in found.items():
        wanted = "refused" if name.startswith("other") else str(len(decode(tmp_path / name)))
        assert what == wanted, name


def test_what_libsndfile_knows_and_was_not_compared_is_left_to_ffmpeg(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.aiff", speech(16_000), 16_000)
    soundfile.write(tmp_path / "gsm.wav", speech(8_000), 8_000, subtype="GSM610")
    for path in tmp_path.iterdir():
        with path.open("rb") as file, pytest.raises(libsndfile.NotPlainError):
            libsndfile.mono_blocks(file, path.name)
    assert len(decode(tmp_path / "a.aiff")) == len(speech(16_000))


@pytest.mark.parametrize("channels", [9, 200])
def test_many_channels_take_no_more_memory(tmp_path: Path, channels: int) -> None:
    sound = np.tile(speech(16_000)[:, None], (1, channels))
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="PCM_16")
    with (tmp_path / "a.wav").open("rb") as file:
        sizes = [len(block) for _, block in libsndfile.mono_blocks(file, "a.wav")]
    assert sum(sizes) == len(sound) and max(sizes) * channels <= 1 << 19


def test_a_decoder_never_gets_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could open other files by it."""
    given: list[object] = []
    monkeypatch.setattr(av, "open", lambda file, **options: given.append(file))
    with pytest.raises((AudioError, AttributeError, TypeError)):
        of_data_set(DEMO / "demo_000.ogg")
    assert given and not isinstance(given[0], str | Path)
    assert ffmpeg.av.open is av.open
