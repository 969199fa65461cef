"""The torch engine: whole transcripts, honest times, silence, and refusal of unusable audio."""

import numpy as np
import pytest
import torch

from tests.support.models.decoding import bounded, greedy
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.engines.base import NO_SPEECH, Features
from whisperslim.engines.timing.memory import PeakMemory, resident_bytes, weight_bytes
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import AudioError, UsageError
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.log_mel import log_mel
from whisperslim.speech.audio.window import WindowPolicy

SHORT = DecodingOptions(tokens_per_second=0.0, tokens_always=6)


@pytest.fixture(scope="module")
def engine(speech: SpeechModel) -> TorchTranscriber:
    return TorchTranscriber(bounded(speech, SHORT), WindowPolicy())


def tone(seconds: float, pitch: float = 300.0) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def by_hand(speech: SpeechModel, audio: np.ndarray, frames: int) -> tuple[str, int]:
    features = torch.from_numpy(log_mel(audio, frames, 80))[None]
    seconds = [len(audio) / SAMPLE_RATE]
    ids = greedy(speech.model, speech.tokens, features, seconds, "hi", SHORT)[0]
    return speech.tokens.decode(ids), len(ids)


def test_one_clip_is_what_the_decoder_gives(speech: SpeechModel, engine: TorchTranscriber) -> None:
    audio = tone(2.3)
    found = engine.transcribe(audio)
    text, tokens = by_hand(speech, audio, 300)  # 2.3 s + 0.4 s margin, in steps of 0.5 s
    assert text
    assert (found.text, found.tokens) == (text, tokens)
    assert found.segments == ((0.0, 2.3, text),)
    assert found.audio_seconds == 2.3
    assert found.window == WindowPolicy().describe()
    assert found.rtf == found.seconds / 2.3 > 0


def test_thirty_second_window(speech: SpeechModel) -> None:
    found = TorchTranscriber(bounded(speech, SHORT), WindowPolicy("30s")).transcribe(tone(1.0))
    assert found.text == by_hand(speech, tone(1.0), 3000)[0]
    assert found.window == "30 s"


def test_long_recording_is_whole(speech: SpeechModel, engine: TorchTranscriber) -> None:
    audio = np.concatenate([tone(20, 200), silence(1.5), tone(18, 500)])
    found = engine.transcribe(audio)
    (start, middle, first), (again, end, second) = found.segments
    assert (start, end) == (0.0, 39.5)
    assert middle == again
    assert 20.0 <= middle <= 21.5
    cut = round(middle * SAMPLE_RATE)
    policy = WindowPolicy()
    for text, part in ((first, audio[:cut]), (second, audio[cut:])):
        assert text == by_hand(speech, part, policy.frames_for(len(part) / SAMPLE_RATE, 3000))[0]
    assert found.text == f"{first} {second}"


def test_silence_gives_no_text_and_says_so(engine: TorchTranscriber) -> None:
    for audio in (silence(3.0), silence(0.01), silence(60.0)):
        found = engine.transcribe(audio)
        assert (found.text, found.tokens, found.note) == ("", 0, NO_SPEECH)


def test_silent_part_of_a_long_recording(engine: TorchTranscriber) -> None:
    found = engine.transcribe(np.concatenate([tone(5.0), silence(40.0)]))
    assert len(found.segments) == 2
    assert found.segments[0][2]
    assert found.segments[1][2] == ""
    assert found.text == found.segments[0][2]
    assert f"{NO_SPEECH} in 1 of 2 parts" in found.note


def test_note_when_the_bound_on_tokens_is_reached(speech: SpeechModel) -> None:
    one = TorchTranscriber(bounded(speech, DecodingOptions(0.0, 1)), WindowPolicy())
    found = one.transcribe(tone(1.0))
    assert found.tokens == 1
    assert "longest allowed text" in found.note


def test_features_are_shared_and_their_time_counts(engine: TorchTranscriber) -> None:
    audio = tone(2.0)
    made = engine.features_for(audio)
    slow = Features(
        made.segments, made.inputs, made.input_spec, made.window, made.audio_seconds, 100.0
    )
    found = engine.transcribe_features(slow)
    assert found.text == engine.transcribe(audio).text
    assert found.seconds > 100.0


def test_features_of_another_window_are_refused(
    speech: SpeechModel, engine: TorchTranscriber
) -> None:
    other = TorchTranscriber(bounded(speech, SHORT), WindowPolicy("30s"))
    with pytest.raises(UsageError, match="30 s"):
        engine.transcribe_features(other.features_for(tone(1.0)))


def test_first_spoken_part(engine: TorchTranscriber) -> None:
    features = engine.features_for(np.concatenate([silence(40.0), tone(10.0)]))
    only = features.first_spoken()
    assert len(only.segments) == len(only.inputs) == 1
    assert only.inputs[0] is not None
    assert not engine.features_for(silence(1.0)).first_spoken().segments


def test_many_recordings_one_after_another(engine: TorchTranscriber) -> None:
    audios = [tone(1.0), tone(1.5, 700.0)]
    found = engine.transcribe_many(iter(audios))
    assert [each.text for each in found] == [engine.transcribe(audio).text for audio in audios]


def test_unknown_language_is_refused_even_for_silence(engine: TorchTranscriber) -> None:
    for audio in (tone(1.0), silence(1.0)):
        with pytest.raises(UsageError, match="xx"):
            engine.transcribe(audio, "xx")


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((2, 100), np.float32), r"\(2, 100\)"),
        (np.zeros(100), "float64"),
        (np.zeros(100, np.int16), "int16"),
        ([0.0, 0.1], "list"),
        (np.zeros(0, np.float32), "empty"),
        (np.array([0.0, np.nan], np.float32), "not numbers"),
        (np.array([0.0, np.inf], np.float32), "not numbers"),
        (np.array([0.0, 20_000.0], np.float32), "32768"),
    ],
)
def test_unusable_audio_is_refused(
    engine: TorchTranscriber, audio: np.ndarray, message: str
) -> None:
    with pytest.raises(AudioError, match=message):
        engine.transcribe(audio)


def test_size(speech: SpeechModel, engine: TorchTranscriber) -> None:
    size = engine.size()
    tensors = {id(p): p.numel() for p in speech.model.parameters()}
    assert size.parameters == sum(tensors.values())
    assert size.bytes_on_disk == (speech.path / "model.safetensors").stat().st_size
    assert size.bytes_loaded == size.bytes_in_ram == weight_bytes(speech.model)
    assert size.bytes_loaded >= 4 * size.parameters


def test_peak_memory_sees_what_is_freed_again() -> None:
    before, size = resident_bytes(), 200 * 2**20
    with PeakMemory() as memory:
        block = np.ones(size, np.uint8)
        memory._done.wait(0.05)
        del block
    assert memory.peak >= before + size // 2


def test_half_precision_model_takes_its_features(speech: SpeechModel) -> None:
    half = load_model(str(speech.path), dtype=torch.bfloat16)
    assert TorchTranscriber(bounded(half, SHORT), WindowPolicy()).transcribe(tone(1.0)).tokens > 0
