"""Decoding, features and silence, against signals whose properties are known by construction."""

import random
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from transformers import WhisperFeatureExtractor

from whisperslim.errors import AudioError
from whisperslim.speech.audio import audio
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.log_mel import log_mel
from whisperslim.speech.audio.reference_log_mel import reference_log_mel
from whisperslim.speech.audio.window import WindowPolicy

DEMO = Path(__file__).parents[3] / "assets" / "demo_hi" / "audio"

LAME_SCALE = 0.95  # LAME's own default: it leaves room for overshoot

# name, container, codec, rate in Hz, channel layout, most samples the codec may add at 16 kHz
FORMATS = [
    ("low.wav", "wav", "pcm_s16le", 8_000, "mono", 0),
    ("bytes.wav", "wav", "pcm_u8", 16_000, "mono", 0),
    ("deep.wav", "wav", "pcm_s24le", 48_000, "stereo", 0),
    ("surround.wav", "wav", "pcm_f32le", 96_000, "5.1", 0),
    ("lossless.flac", "flac", "flac", 44_100, "stereo", 0),
    ("opus.ogg", "ogg", "libopus", 48_000, "mono", 330),
    ("music.mp3", "mp3", "libmp3lame", 44_100, "stereo", 1000),
    ("phone.m4a", "ipod", "aac", 44_100, "stereo", 1000),
    ("browser.webm", "webm", "libopus", 48_000, "mono", 330),
    ("browser_named.wav", "webm", "libopus", 48_000, "mono", 330),
]


def sine(rate: int, seconds: float, hertz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    times = np.arange(round(rate * seconds)) / rate
    return (peak * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def encode(
    path: Path, container: str, codec: str, rate: int, layout: str, wave: np.ndarray
) -> None:
    """The same wave in every channel, written by PyAV."""
    channels = av.AudioLayout(layout).nb_channels
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), "fltp", layout)
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        to_codec = av.AudioResampler(stream.format, layout, rate, size)
        for part in [*to_codec.resample(frame), *to_codec.resample(None), None]:
            out.mux(stream.encode(part))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for name, container, codec, rate, layout, _ in FORMATS:
        encode(folder / name, container, codec, rate, layout, sine(rate, 2.0))
    return folder


@pytest.mark.parametrize(("name", "padding"), [(row[0], row[5]) for row in FORMATS])
def test_a_sine_survives_any_format(recordings: Path, name: str, padding: int) -> None:
    wave = decode(recordings / name)
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert 32_000 <= len(wave) <= 32_000 + padding
    middle = wave[8_000:24_000]  # exactly 1 s: the strongest bin is the frequency in Hz
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440
    gain = LAME_SCALE if name.endswith(".mp3") else 1.0
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(gain * 0.5 / np.sqrt(2), rel=0.01)


@pytest.mark.parametrize("clip", ["demo_000.ogg", "demo_022.ogg", "demo_053.ogg"])
def test_opus_speech_is_what_libsndfile_decodes(clip: str) -> None:
    wave = decode(DEMO / clip)
    reference, rate = soundfile.read(DEMO / clip)
    assert rate == SAMPLE_RATE and len(wave) == len(reference)
    # libsndfile lets libopus come down to 16 kHz, which delays by half a sample.
    assert np.corrcoef(wave, reference)[0, 1] > 0.98
    assert np.sqrt(np.mean(wave**2) / np.mean(reference**2)) == pytest.approx(1, abs=0.01)


def test_opus_in_surround_is_averaged(tmp_path: Path) -> None:
    encode(tmp_path / "a.ogg", "ogg", "libopus", 48_000, "5.1", sine(48_000, 2.0))
    middle = decode(tmp_path / "a.ogg")[8_000:24_000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) == 440


@pytest.mark.parametrize("name", [row[0] for row in FORMATS])
def test_bytes_and_text_paths_decode_as_the_path_does(recordings: Path, name: str) -> None:
    expected = decode(recordings / name)
    np.testing.assert_array_equal(decode((recordings / name).read_bytes()), expected)
    np.testing.assert_array_equal(decode(str(recordings / name)), expected)


def test_a_recording_without_a_stated_length_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "live.webm"  # as a browser streams it: no duration in the header
    with path.open("wb") as file, av.open(_Unseekable(file), "w", format="webm") as out:
        stream = out.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sine(48_000, 1.5)[None], "fltp", "mono")
        frame.sample_rate = 48_000
        to_codec = av.AudioResampler(stream.format, "mono", 48_000, 960)
        for part in [*to_codec.resample(frame), *to_codec.resample(None), None]:
            out.mux(stream.encode(part))
    with av.open(str(path)) as container:
        assert container.duration is None
    assert len(decode(path)) / SAMPLE_RATE == pytest.approx(1.5, abs=0.05)


class _Unseekable:
    def __init__(self, file: object) -> None:
        self.write = file.write  # type: ignore[attr-defined]

    def seekable(self) -> bool:
        return False


def test_lossless_16_khz_is_returned_sample_for_sample(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(-32_768, 32_768, 200_000).astype(np.int16)
    soundfile.write(tmp_path / "a.flac", steps, SAMPLE_RATE)
    np.testing.assert_array_equal(decode(tmp_path / "a.flac"), steps / np.float32(32_768))


def test_channels_are_averaged(tmp_path: Path) -> None:
    channels = np.stack([np.full(1600, 0.5), np.full(1600, -0.25), np.zeros(1600)], axis=1)
    soundfile.write(tmp_path / "a.wav", channels, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(decode(tmp_path / "a.wav"), np.full(1600, 0.25 / 3), atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_resampling_in_blocks_has_no_seams(tmp_path: Path, rate: int) -> None:
    noise = np.random.default_rng(rate).uniform(-0.4, 0.4, rate * 5 + 123).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", noise, rate, subtype="FLOAT")
    whole = soxr.resample(noise, rate, SAMPLE_RATE, quality="HQ")
    wave = decode(tmp_path / "a.wav")
    assert abs(len(wave) - len(noise) * SAMPLE_RATE / rate) <= 1
    np.testing.assert_allclose(wave, whole[: len(wave)], atol=1e-5)


def test_frequencies_above_8_khz_do_not_fold_down(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(48_000, 1.0, hertz=10_000), 48_000)
    assert np.abs(decode(tmp_path / "a.wav")[800:-800]).max() < 1e-3


def test_overshoot_is_clipped_and_wild_samples_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hot.wav", sine(16_000, 1.0, peak=1.5), 16_000, subtype="FLOAT")
    hot = decode(tmp_path / "hot.wav")
    assert hot.max() == 1.0 and hot.min() == -1.0
    soundfile.write(tmp_path / "raw.wav", sine(16_000, 1.0, peak=3e4), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="scale them"):
        decode(tmp_path / "raw.wav")


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers_are_refused(tmp_path: Path, bad: float, rate: int) -> None:
    wave = sine(rate, 1.0)
    wave[rate // 2] = bad
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    with pytest.raises(AudioError, match="not numbers"):
        decode(tmp_path / "a.wav")


def test_longer_than_allowed_is_refused_and_exactly_allowed_is_not(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(16_000, 2.0), 16_000)
    assert len(decode(tmp_path / "a.wav", max_seconds=2.0)) == 32_000
    with pytest.raises(AudioError, match=r"longer than the 1\.9 s"):
        decode(tmp_path / "a.wav", max_seconds=1.9)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"These are words, not sounds.\n" * 100,
        b"RIFF",
        b"\0" * 5000,
        bytes(range(256)) * 20,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.wav\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile other.wav\n",
    ],
    ids=["empty", "text", "header", "zeros", "bytes", "playlist", "concat"],
)
def test_what_is_not_a_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    soundfile.write(tmp_path / "other.wav", sine(16_000, 1.0), 16_000)
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for call in (lambda: decode(path), lambda: decode(content)):
        with pytest.raises(AudioError, match=r"accepted|empty"):
            call()


@pytest.mark.parametrize("name", ["missing.wav", "", "a\0b.wav", "http://localhost:9/a.wav"])
def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError, match="cannot open"):
        decode(f"{tmp_path}/{name}")


def test_no_samples_and_no_audio_track_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    with pytest.raises(AudioError, match="no decodable audio"):
        decode(tmp_path / "none.wav")
    with av.open(str(tmp_path / "film.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        for part in [av.VideoFrame(16, 16, "yuv420p"), None]:
            out.mux(stream.encode(part))
    with pytest.raises(AudioError, match="no audio track"):
        decode(tmp_path / "film.mp4")


def test_a_cut_off_file_gives_what_is_there(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(16_000, 2.0), 16_000)
    whole = (tmp_path / "a.wav").read_bytes()
    header = len(whole) - 64_000
    np.testing.assert_array_equal(decode(whole[: header + 20_000]), decode(whole)[:10_000])


@pytest.mark.parametrize("rate", [1, 3_999, 4_000_000_000])
def test_rates_that_no_recording_has_are_refused(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", sine(16_000, 0.5), 16_000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = rate.to_bytes(4, "little")  # the rate field of a RIFF header
    with pytest.raises(AudioError):
        decode(bytes(content))


@pytest.mark.parametrize("name", [row[0] for row in FORMATS])
def test_damaged_files_give_audio_or_an_audio_error(recordings: Path, name: str) -> None:
    content, chance = (recordings / name).read_bytes(), random.Random(name)
    for attempt in range(12):
        damaged = bytearray(content)
        reach = min(len(damaged), 200) if attempt % 2 else len(damaged)  # headers, then anywhere
        for _ in range(chance.randint(1, 30)):
            damaged[chance.randrange(reach)] = chance.randrange(256)
        if attempt % 3 == 0:
            del damaged[chance.randrange(len(damaged)) :]
        try:
            wave = decode(bytes(damaged), max_seconds=60)
        except AudioError:
            continue
        assert len(wave) > 0 and np.abs(wave).max() <= 1.0


def reference_features(wave: np.ndarray, n_mels: int) -> np.ndarray:
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    return extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features[0]


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.0, 0.005, 3.7, 30.0, 31.0])
def test_30_s_features_are_those_of_transformers(seconds: float, n_mels: int) -> None:
    speech = np.tile(decode(DEMO / "demo_000.ogg"), 9)[: round(seconds * SAMPLE_RATE)]
    features = log_mel(speech, 3000, n_mels)
    assert features.dtype == np.float32 and features.shape == (n_mels, 3000)
    reference = reference_features(speech if len(speech) else np.zeros(1, np.float32), n_mels)
    np.testing.assert_allclose(features, reference, atol=1e-4)


@pytest.mark.parametrize("clip", ["demo_000.ogg", "demo_017.ogg", "demo_042.ogg"])
def test_fitted_features_are_the_beginning_of_the_30_s_ones(clip: str) -> None:
    speech = decode(DEMO / clip)
    frames = WindowPolicy().frames_for(len(speech) / SAMPLE_RATE, 3000)
    assert frames < 1000
    features = log_mel(speech, frames, 80)
    np.testing.assert_allclose(features, reference_features(speech, 80)[:, :frames], atol=1e-4)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("clip", ["demo_000.ogg", "demo_042.ogg"])
def test_training_has_the_features_that_listening_has(clip: str, n_mels: int) -> None:
    speech = decode(DEMO / clip)
    frames = WindowPolicy().frames_for(len(speech) / SAMPLE_RATE, 3000)
    reference = reference_log_mel(speech, frames, n_mels)
    np.testing.assert_allclose(log_mel(speech, frames, n_mels), reference, atol=5e-5)


def test_features_leave_the_audio_as_it_was_and_take_read_only_audio() -> None:
    wave = sine(16_000, 1.0)
    wave.setflags(write=False)
    before = wave.copy()
    assert log_mel(wave, 100, 80).shape == (80, 100)
    np.testing.assert_array_equal(wave, before)


def test_features_refuse_what_is_not_one_channel() -> None:
    with pytest.raises(ValueError, match="1-D"):
        log_mel(np.zeros((2, 16_000), np.float32), 100, 80)


def test_levels_are_in_db_below_full_scale_and_ignore_an_offset() -> None:
    # 400 Hz makes four whole periods a frame; a sine of peak 0.1 has power 0.005: -23.01 dB.
    tone = sine(16_000, 0.5, hertz=400, peak=0.1)
    np.testing.assert_allclose(audio.frame_levels(tone), 10 * np.log10(0.005), atol=0.01)
    np.testing.assert_allclose(audio.frame_levels(tone + 0.3), 10 * np.log10(0.005), atol=0.01)
    np.testing.assert_allclose(audio.frame_levels(np.zeros(400, np.float32)), [-100.0, -100.0])


def test_silence_is_reported_from_speech() -> None:
    hiss = np.random.default_rng(0).normal(0, 1e-3, 48_000).astype(np.float32)  # -60 dB
    assert audio.is_silent(hiss)
    assert audio.is_silent(np.zeros(0, np.float32))
    click = hiss.copy()
    click[16_000:16_160] = 0.5
    assert audio.is_silent(click)
    speech = decode(DEMO / "demo_000.ogg")
    assert not audio.is_silent(speech)
    assert not audio.is_silent(np.concatenate([np.tile(hiss, 9), speech[:16_000]]))
