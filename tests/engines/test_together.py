"""Several segments at once: each has the text it has alone."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.engines.onnx.test_engine import LONG, exported, opened, tone
from tests.server.scripted import opened as scripted_engine
from tests.support.models.decoding import bounded
from whisperslim.core.loading import SpeechModel
from whisperslim.engines import together as together_module
from whisperslim.engines.base import Transcript
from whisperslim.engines.export.record import read_export
from whisperslim.engines.onnx.engine import OnnxTranscriber, open_export
from whisperslim.engines.onnx.several import heard_side_by_side
from whisperslim.engines.together import heard_in_groups
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.engines.windowed import Heard, WindowedTranscriber
from whisperslim.errors import AudioError, ExportError, UsageError
from whisperslim.exported.names import PAST
from whisperslim.speech.audio.window import WindowPolicy


def segments(engine: WindowedTranscriber) -> tuple[list[np.ndarray], list[float]]:
    """Tones of several lengths: three of one shape, in a changed order, and two of others."""
    lengths = [1.0, 4.2, 1.02, 11.0, 0.98]
    given = [engine.features_for(tone(s, 250.0 + 90 * i)).inputs[0] for i, s in enumerate(lengths)]
    made = [each for each in given if each is not None]
    assert len({each.shape for each in made}) == 3
    return made, lengths


def same(found: Heard, wanted: Heard) -> bool:
    return replace(found, first_token_seconds=None) == replace(wanted, first_token_seconds=None)


@pytest.mark.parametrize("words", [False, True])
def test_pytorch_hears_several_at_once_as_each_alone(speech: SpeechModel, words: bool) -> None:
    engine = TorchTranscriber(bounded(speech, LONG), WindowPolicy(), words)
    assert engine.at_once > 1
    given, lengths = segments(engine)
    together = engine.hear_many(given, lengths, "hi")
    alone = [engine.hear(*pair, "hi") for pair in zip(given, lengths, strict=True)]
    assert [each.ids for each in together] == [each.ids for each in alone]
    assert len({each.ids for each in alone}) > 2, "they write different texts"
    for found, wanted in zip(together, alone, strict=True):
        assert same(replace(found, words=()), replace(wanted, words=()))
        assert [word.text for word in found.words] == [word.text for word in wanted.words]
        assert bool(found.words) is words
        for one, other in zip(found.words, wanted.words, strict=True):
            assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


@pytest.mark.parametrize("words", [False, True])
def test_onnx_runtime_hears_several_side_by_side_as_each_alone(
    speech: SpeechModel, tmp_path: Path, words: bool
) -> None:
    """The batch is a fixed 1 in the graph, and each segment is computed by itself."""
    folder = exported(speech, tmp_path / "export", "int8")
    engine = open_export(folder, read_export(folder), WindowPolicy(), 2)
    assert isinstance(engine, OnnxTranscriber)
    engine = replace(engine, decoding=LONG)
    engine = engine.telling_words() if words else engine
    caches = [each.shape for each in engine.decoder.get_inputs() if each.name.startswith(PAST)]
    assert caches and all("batch" not in str(shape) for shape in caches)
    assert engine.at_once == 2
    given, lengths = segments(engine)
    together = engine.hear_many(given, lengths, "hi")
    alone = [engine.hear(*pair, "hi") for pair in zip(given, lengths, strict=True)]
    assert len({each.ids for each in alone}) > 2, "they write different texts"
    assert all(same(*pair) for pair in zip(together, alone, strict=True))
    assert bool(together[0].words) is words


def test_with_one_thread_onnx_runtime_hears_one_after_the_other(
    speech: SpeechModel, tmp_path: Path
) -> None:
    assert opened(exported(speech, tmp_path / "export")).at_once == 1


def test_no_more_are_heard_side_by_side_than_asked_for() -> None:
    both, now, most = threading.Barrier(2), [0], [0]
    lock = threading.Lock()

    def hear(given: np.ndarray, seconds: float, language: str) -> Heard:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        both.wait(60)  # ends only where two are heard at once
        with lock:
            now[0] -= 1
        return Heard(f"{seconds} {language}")

    none = [np.zeros(1)] * 6
    heard = heard_side_by_side(hear, none, [0, 1, 2, 3, 4, 5], "hi", 2)
    assert [each.text for each in heard] == [f"{n} hi" for n in range(6)]
    assert most == [2]


def test_the_error_of_a_segment_is_that_of_all() -> None:
    def hear(given: np.ndarray, seconds: float, language: str) -> Heard:
        raise ExportError(f"not {seconds}")

    with pytest.raises(ExportError, match="not 1"):
        heard_side_by_side(hear, [np.zeros(1)] * 2, [1, 2], "hi", 2)


# --- whole recordings ---------------------------------------------------------------------------


@pytest.fixture
def engine(speech: SpeechModel, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    if request.param == "torch":
        return TorchTranscriber(bounded(speech, LONG), WindowPolicy())
    folder = exported(speech, tmp_path / "export", request.param)
    return replace(open_export(folder, read_export(folder), WindowPolicy(), 2), decoding=LONG)  # type: ignore[type-var]


@pytest.mark.parametrize("engine", ["torch", "none", "int8"], indirect=True)
def test_recordings_heard_in_groups_have_the_texts_they_have_alone(
    engine: WindowedTranscriber,
) -> None:
    sound = {f"{s}": tone(s, 250.0 + 90 * s) for s in (1.0, 35.0, 4.2, 0.98, 61.0)}
    sound["silent"] = np.zeros(16_000, np.float32)
    alone = {name: engine.transcribe(audio, "hi") for name, audio in sound.items()}
    assert len({each.text for each in alone.values()}) > 3, "they write different texts"
    for at_once in (1, 2, 8):
        found = dict(heard_in_groups(engine, sound, sound.__getitem__, "hi", at_once))
        assert list(found) == list(sound)
        for name, heard in found.items():
            assert isinstance(heard, Transcript)
            assert (heard.text, heard.segments, heard.note) == (
                alone[name].text, alone[name].segments, alone[name].note,
            )  # fmt: skip


def test_a_recording_that_cannot_be_used_is_named_in_its_place_and_stops_no_other() -> None:
    def sound(name: str) -> np.ndarray:
        if name == "damaged":
            raise AudioError("it is damaged")
        return tone(float(name), 300.0)

    scripted = scripted_engine(together=True)
    names = ["0.5", "damaged", "0.6", "0.7"]
    found = list(heard_in_groups(scripted, names, sound, "hi", 2))
    assert [name for name, _ in found] == names
    texts = [each.text if isinstance(each, Transcript) else str(each) for _, each in found]
    assert texts == ["0.5", "it is damaged", "0.6", "0.7"]
    assert scripted.heard == [(0.5, 0.6), (0.7,)]


def test_what_an_engine_cannot_hear_is_an_error_and_so_are_none_at_once() -> None:
    def sound(name: str) -> np.ndarray:
        return tone(0.5, 300.0)

    with pytest.raises(ExportError, match="ended its process"):
        list(heard_in_groups(scripted_engine(), "a", sound, "xx", 1))
    with pytest.raises(UsageError, match="unknown language"):
        list(heard_in_groups(scripted_engine(), "a", sound, "qq", 1))
    with pytest.raises(UsageError, match="1 or more"):
        list(heard_in_groups(scripted_engine(), "a", sound, "hi", 0))


def test_a_group_holds_no_more_sound_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together_module, "_MOST_SECONDS", 1.0)
    scripted = scripted_engine(together=True)
    names = ["0.6", "0.5", "0.7"]
    list(heard_in_groups(scripted, names, lambda name: tone(float(name), 300.0), "hi", 8))
    assert scripted.heard == [(0.6, 0.5), (0.7,)]
