"""Several segments at once: each has the text it has alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engines.onnx.test_engine import LONG, exported, opened, tone
from tests.support.models.decoding import bounded
from whisperslim.core.loading import SpeechModel
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.engines.windowed import Heard, WindowedTranscriber
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
    assert engine.hears_together
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


def test_an_onnx_graph_takes_one_at_a_time_and_says_so(speech: SpeechModel, tmp_path: Path) -> None:
    """The batch is a fixed 1 in the graph, so several are heard one after the other."""
    engine = opened(exported(speech, tmp_path / "export"))
    caches = [each.shape for each in engine.decoder.get_inputs() if each.name.startswith(PAST)]
    assert caches and all("batch" not in str(shape) for shape in caches)
    assert not engine.hears_together
    given, lengths = segments(engine)
    together = engine.hear_many(given, lengths, "hi")
    alone = [engine.hear(*pair, "hi") for pair in zip(given, lengths, strict=True)]
    assert all(same(*pair) for pair in zip(together, alone, strict=True))
