"""When words were said: the same in PyTorch, ONNX Runtime and a process of its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engines.onnx.test_engine import exported, tone
from tests.engines.onnx.test_export import KEEPS, model_with
from tests.support.models.decoding import bounded
from whisperslim.core.disk.storage import file_sha256
from whisperslim.core.loading import SpeechModel
from whisperslim.engines.export.record import read_export
from whisperslim.engines.foreign.transcriber import ForeignTranscriber
from whisperslim.engines.onnx.engine import open_export
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import UsageError
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.speech.audio.window import WindowPolicy

SHORT = DecodingOptions(tokens_per_second=0.0, tokens_always=12)


@pytest.mark.parametrize("keeps", KEEPS.values(), ids=KEEPS)
def test_onnx_says_what_torch_says(
    speech: SpeechModel, keeps: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    smaller = bounded(replace(speech, model=model_with(keeps)), SHORT)
    folder = exported(smaller, tmp_path / "export")
    listen = open_export(folder, read_export(folder), WindowPolicy(), 1)
    dense = TorchTranscriber(smaller, WindowPolicy())
    silent = replace(listen, decoding=SHORT).transcribe(tone(2.2))
    assert silent.words == ()
    try:
        wanted = dense.telling_words().transcribe(tone(2.2)).words
    except UsageError as error:
        assert "attention" in str(error)
        with pytest.raises(UsageError, match="export the model again"):
            listen.telling_words()
        return
    found = replace(listen, decoding=SHORT).telling_words().transcribe(tone(2.2))
    assert found.text == silent.text
    assert [word.text for word in found.words] == [word.text for word in wanted]
    for ours, theirs in zip(found.words, wanted, strict=True):
        assert ours.start == pytest.approx(theirs.start, abs=0.021)
        assert ours.end == pytest.approx(theirs.end, abs=0.021)
        assert ours.confidence == pytest.approx(theirs.confidence, abs=1e-3)


def test_attention_is_what_transformers_returns(speech: SpeechModel) -> None:
    engine = TorchTranscriber(speech, WindowPolicy())
    mel = engine.features_for(tone(1.0)).inputs[0]
    assert mel is not None
    ids = torch.tensor([[*range(5)]])
    with torch.no_grad():
        states = engine._encode(mel[None])
        _, weights = speech.family.attention(speech.model, ids, states)
        usual = speech.model.config._attn_implementation
        speech.model.set_attn_implementation("eager")
        theirs = speech.model(
            encoder_outputs=(states,), decoder_input_ids=ids, output_attentions=True
        )
        speech.model.set_attn_implementation(usual)
    layers = speech.model.config.decoder_layers
    later = theirs.cross_attentions[layers // 2 :]
    torch.testing.assert_close(
        weights, torch.cat([each[0] for each in later]), atol=1e-5, rtol=1e-4
    )


def test_words_of_a_long_recording_are_where_they_are_in_it(speech: SpeechModel) -> None:
    engine = TorchTranscriber(bounded(speech, SHORT), WindowPolicy()).telling_words()
    quiet = np.zeros(16_000, np.float32)
    audio = np.concatenate([tone(20.0), quiet, tone(20.0, 500)])
    heard = engine.transcribe(audio)
    assert len(heard.segments) == 2
    starts = [word.start for word in heard.words]
    assert starts == sorted(starts)
    second = heard.segments[1][0]
    alone = engine.transcribe(audio[round(second * 16_000) :])
    later = [word for word in heard.words if word.start >= second]
    assert [word.text for word in later] == [word.text for word in alone.words]
    for ours, theirs in zip(later, alone.words, strict=True):
        assert ours.start == pytest.approx(theirs.start + second)


def test_a_foreign_export_tells_words_too(speech: SpeechModel, tmp_path: Path) -> None:
    folder = exported(bounded(speech, SHORT), tmp_path / "export")
    record = read_export(folder)
    known = {"tokenizer_sha256": file_sha256(folder / "tokenizer.json")}
    record = replace(record, settings={**record.settings, **known})
    record.write(folder)
    here = open_export(folder, record, WindowPolicy(), 1).telling_words()
    there = ForeignTranscriber.open(folder, record, WindowPolicy(), 1).telling_words()
    assert there.transcribe(tone(1.0)).words == here.transcribe(tone(1.0)).words


def test_an_export_of_before_says_to_export_again(speech: SpeechModel, tmp_path: Path) -> None:
    folder = exported(speech, tmp_path / "export")
    record = read_export(folder)
    old = {key: value for key, value in record.settings.items() if key != "word_times"}
    engine = open_export(folder, replace(record, settings=old), WindowPolicy(), 1)
    with pytest.raises(UsageError, match="export the model again"):
        engine.telling_words()
    wrong = {**old, "word_times": {"heads": [[0, 99]], "scale": 1.0}}
    engine = open_export(folder, replace(record, settings=wrong), WindowPolicy(), 1)
    with pytest.raises(UsageError, match="head 99"):
        engine.telling_words()
