"""Two models on one recording: shared features, alternating order, scores by hand."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.models.decoding import bounded
from tests.support.models.inputs import WHISPERS
from tests.support.tiny import tiny_model_folder
from whisperslim.core.loading import load_model
from whisperslim.engines import comparison as comparison_module
from whisperslim.engines.base import EngineSize, Features, Transcriber, Transcript
from whisperslim.engines.comparison import Comparison, Recording, compare, compare_together
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import AudioError, DataError, UsageError
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.window import Segment, WindowPolicy

AUDIO = (0.3 * np.sin(np.arange(2 * SAMPLE_RATE) / 8)).astype(np.float32)


@dataclass
class Scripted:
    """A transcriber that says `text` and takes the times it is given."""

    name: str
    text: str
    times: list[float]
    log: list[str]
    input_spec: InputSpec = WHISPERS
    window_name: str = "fit"
    process: int | None = None
    silent: bool = False
    made: int = 0
    seen: list[Features] = field(default_factory=list)

    def size(self) -> EngineSize:
        return EngineSize(1000, 2000, 4000, 0)

    def features_for(self, audio: np.ndarray) -> Features:
        self.made += 1
        mel = None if self.silent else np.zeros((self.input_spec.bands, 2), np.float32)
        seconds = len(audio) / SAMPLE_RATE
        part = Segment(0, len(audio))
        return Features((part,), (mel,), self.input_spec, self.window_name, seconds, 0.0)

    def transcribe_features(self, features: Features, language: str = "hi") -> Transcript:
        self.log.append(self.name)
        self.seen.append(features)
        seconds = self.times.pop(0)
        length = features.audio_seconds
        span = ((0.0, length, self.text),)
        return Transcript(self.text, length, seconds, seconds / length, 3, self.window_name, span)

    def transcribe(self, audio: np.ndarray, language: str = "hi") -> Transcript:
        return self.transcribe_features(self.features_for(audio), language)

    def transcribe_many(
        self, recordings: Iterable[np.ndarray], language: str = "hi"
    ) -> Iterator[Transcript]:
        return (self.transcribe(audio, language) for audio in recordings)


def pair(
    dense: str = "मेरा घर बड़ा है", slim: str = "मेरा घर बड़े है", runs: int = 1, **slim_options: object
) -> tuple[Scripted, Scripted]:
    log: list[str] = []
    warm_up = 99.0
    one = Scripted("dense", dense, [warm_up, *(4.0 + i for i in range(runs))], log)
    two = Scripted("slim", slim, [warm_up, *(1.0 + i for i in range(runs))], log)
    for name, value in slim_options.items():
        setattr(two, name, value)
    return one, two


def test_a_scripted_engine_is_a_transcriber() -> None:
    engine: Transcriber = pair()[0]
    assert engine.transcribe(AUDIO).text == "मेरा घर बड़ा है"


def test_word_differences_are_between_the_texts() -> None:
    found = compare(*pair(), AUDIO)
    kinds = [(d.kind, d.reference, d.hypothesis) for d in found.differences]
    assert kinds == [
        ("equal", "मेरा", "मेरा"),
        ("equal", "घर", "घर"),
        ("substitute", "बड़ा", "बड़े"),
        ("equal", "है", "है"),
    ]
    assert found.scores is None
    assert found.reference is None


def test_scores_by_hand() -> None:
    found = compare(*pair(), AUDIO, reference="मेरा घर बड़ा है")
    assert found.scores is not None
    assert list(found.scores["slim"]) == ["raw", "whisper-basic", "hindi-1"]
    assert found.scores["dense"]["hindi-1"] == (0.0, 0.0)
    wer, cer = found.scores["slim"]["raw"]
    assert wer == 1 / 4
    assert cer == 1 / len("मेरा घर बड़ा है")


def test_warm_up_is_not_timed_and_order_alternates() -> None:
    dense, slim = pair(runs=3)
    found = compare(dense, slim, AUDIO, repeats=3)
    assert dense.log == ["dense", "slim", *["dense", "slim"], *["slim", "dense"], "dense", "slim"]
    assert found.dense.transcript.seconds == 5.0  # median of 4, 5, 6
    assert found.slim.transcript.seconds == 2.0  # median of 1, 2, 3
    assert found.dense.transcript.rtf == 5.0 / 2.0
    assert found.speedup == 2.5
    assert found.repeats == 3


def test_features_are_made_by_one_side_and_shared() -> None:
    dense, slim = pair()
    found = compare(dense, slim, AUDIO)
    assert (slim.made, found.shared_features) == (0, True)
    assert slim.seen[-1] is dense.seen[-1]


@pytest.mark.parametrize(
    "other", [{"input_spec": replace(WHISPERS, bands=128)}, {"window_name": "30 s"}]
)
def test_features_are_not_shared_when_they_differ(other: dict[str, object]) -> None:
    dense, slim = pair(**other)  # type: ignore[arg-type]
    found = compare(dense, slim, AUDIO)
    assert (slim.made, found.shared_features) == (1, False)


def test_silence_needs_no_warm_up() -> None:
    dense, slim = pair()
    dense.silent = True
    dense.times, slim.times = [1.0], [1.0]
    compare(dense, slim, AUDIO)
    assert dense.log == ["dense", "slim"]


def test_blank_reference_is_none_and_wordless_is_refused() -> None:
    assert compare(*pair(), AUDIO, reference="  ").scores is None
    dense, slim = pair()
    with pytest.raises(DataError, match="reference"):
        compare(dense, slim, AUDIO, reference="।")
    assert not dense.log  # refused before any work


def test_no_repeats_is_refused() -> None:
    with pytest.raises(UsageError, match="repeats"):
        compare(*pair(), AUDIO, repeats=0)


def test_sizes_and_memory_less_the_other_sides_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed:
        peak = 10_000

        def __init__(self, beside: int | None) -> None:
            assert beside is None

        def __enter__(self) -> "Fixed":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("whisperslim.engines.comparison.PeakMemory", Fixed)
    dense, slim = pair(runs=9)
    monkeypatch.setattr(dense, "size", lambda: EngineSize(7, 8, 3000, 3000))
    monkeypatch.setattr(slim, "size", lambda: EngineSize(5, 6, 1000, 1000))
    found = compare(dense, slim, AUDIO)
    assert (found.dense.parameters, found.dense.bytes_on_disk, found.dense.weights_bytes) == (
        7, 8, 3000,
    )  # fmt: skip
    assert found.dense.peak_memory_bytes == 10_000 - 1000
    assert found.slim.peak_memory_bytes == 10_000 - 3000

    _, other = pair()
    monkeypatch.setattr(other, "size", lambda: EngineSize(5, 6, 500, 500))
    found = compare(dense, slim, AUDIO, beside=[slim, other])
    assert found.slim.peak_memory_bytes == 10_000 - 3000 - 500, "loaded from an earlier comparison"
    found = compare(dense, dense, AUDIO)
    assert found.dense.peak_memory_bytes == found.slim.peak_memory_bytes == 10_000


def test_record_is_plain_json() -> None:
    record = json.loads(json.dumps(compare(*pair(), AUDIO, reference="घर").to_record()))
    assert record["dense"]["transcript"]["text"] == "मेरा घर बड़ा है"
    assert record["scores"]["slim"]["raw"][0] == 3.0  # three words too many, one said
    assert record["differences"][2]["kind"] == "substitute"
    assert record["memory_note"]


def test_two_real_tiny_models(tmp_path: Path) -> None:
    options = DecodingOptions(0.0, 5)
    sides = [
        TorchTranscriber(
            bounded(load_model(str(tiny_model_folder(tmp_path / f"m{seed}", seed))), options),
            WindowPolicy(),
        )
        for seed in (0, 1)
    ]
    found = compare(sides[0], sides[1], AUDIO)
    assert found.dense.transcript.text == sides[0].transcribe(AUDIO).text
    assert found.slim.transcript.text == sides[1].transcribe(AUDIO).text
    assert found.dense.peak_memory_bytes > found.dense.weights_bytes > 0


def test_unusable_audio_is_refused(tmp_path: Path) -> None:
    engine = TorchTranscriber(load_model(str(tiny_model_folder(tmp_path / "m"))), WindowPolicy())
    with pytest.raises(AudioError, match="list"):
        compare(engine, engine, [0.0, 0.1])  # type: ignore[arg-type]


# --- several recordings at once -----------------------------------------------------------------


def tones() -> list[np.ndarray]:
    """Of three lengths and pitches, one of them of several parts."""

    def tone(seconds: float, pitch: float) -> np.ndarray:
        moments = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        return (0.3 * np.sin(2 * np.pi * pitch * moments)).astype(np.float32)

    return [tone(1.0, 250.0), tone(35.0, 700.0), tone(4.2, 400.0)]


def made(found: Sequence[Callable[[], Comparison] | Exception]) -> list[Comparison]:
    return [each() for each in found if not isinstance(each, Exception)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[TorchTranscriber]:
    folder = tmp_path_factory.mktemp("models")
    found = []
    for seed in range(2):
        speech = load_model(str(tiny_model_folder(folder / str(seed), seed=seed)))
        longest = DecodingOptions(tokens_per_second=1.0, tokens_always=4)
        found.append(TorchTranscriber(bounded(speech, longest), WindowPolicy()))
    return found


def test_each_text_is_the_one_it_has_alone(models: list[TorchTranscriber]) -> None:
    dense, slim = models
    recordings = [Recording(audio, "मेरा घर") for audio in tones()]
    found = made(compare_together(dense, slim, recordings))
    texts = set()
    for each, recording in zip(found, recordings, strict=True):
        alone = compare(dense, slim, recording.audio, reference="मेरा घर")
        for one, other in ((each.dense, alone.dense), (each.slim, alone.slim)):
            assert one.transcript.text == other.transcript.text
            assert one.transcript.segments == other.transcript.segments
            texts.add(one.transcript.text)
        assert (each.scores, each.differences) == (alone.scores, alone.differences)
        assert each.shared_features and each.reference == "मेरा घर"
        assert (each.together, alone.together) == (3, 1)
    assert len(texts) > 3, "they write different texts"


def test_the_time_of_a_pass_is_shared_by_length_and_says_so(
    models: list[TorchTranscriber], monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = tones()
    # A clock that a pass reads at its beginning and its end, 6 s apart.
    ticks = iter([100.0, 106.0, 200.0, 203.0])
    monkeypatch.setattr(
        comparison_module, "time", SimpleNamespace(perf_counter=lambda: next(ticks))
    )
    free = [
        replace(model.features_for(each), seconds=0.0) for each in audio for model in models[:1]
    ]
    given = iter(free)
    monkeypatch.setattr(TorchTranscriber, "features_for", lambda self, sound: next(given))
    found = made(compare_together(*models, [Recording(each) for each in audio]))
    lengths = [len(each) / SAMPLE_RATE for each in audio]
    for each, length in zip(found, lengths, strict=True):
        assert each.dense.transcript.seconds == pytest.approx(6.0 * length / sum(lengths))
        assert each.dense.transcript.rtf == pytest.approx(6.0 / sum(lengths))
        assert each.slim.transcript.seconds == pytest.approx(3.0 * length / sum(lengths))
        assert each.speedup == pytest.approx(2.0)


def test_one_that_cannot_be_compared_fails_alone(models: list[TorchTranscriber]) -> None:
    good, *_ = tones()
    bad = [Recording(good[:0]), Recording(good, "। ,")]
    first, second, third = compare_together(*models, [Recording(good), *bad])
    assert not isinstance(first, Exception) and first().together == 2, "two were heard"
    assert isinstance(second, AudioError)
    assert not isinstance(third, Exception)
    with pytest.raises(DataError):
        third()
    with pytest.raises(UsageError, match="language"):
        compare_together(*models, [Recording(good)], language="qq")
