"""The ONNX Runtime engine: what PyTorch writes, it writes, token for token."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engines.onnx.test_export import ABSENT, KEEPS, TWO, model_with
from tests.support.models.decoding import bounded, greedy
from whisperslim.core.disk.storage import file_sha256
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines.export.export import load_exporter
from whisperslim.engines.export.record import ExportRecord, read_export
from whisperslim.engines.export.seal import sealed
from whisperslim.engines.onnx.engine import OnnxTranscriber, open_export
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.engines.windowed import Heard
from whisperslim.errors import CheckpointError, ExportError, UsageError
from whisperslim.exported.bounds import DecodingOptions
from whisperslim.exported.spelling import TOKENIZER_FILE
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import WindowPolicy

ENGINE = import_module("whisperslim.engines.onnx.engine")
DEMO = Path(__file__).parents[3] / "assets" / "demo_hi" / "audio"
LONG = DecodingOptions(tokens_per_second=0.0, tokens_always=40)


def tone(seconds: float, pitch: float = 300.0) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def exported(
    speech: SpeechModel, folder: Path, quantize: str = "none", engine: str = "onnx"
) -> Path:
    """What an engine writes, with its record, and no check against the model."""
    folder.mkdir()
    written = load_exporter(engine).write(speech, folder, quantize)
    ExportRecord(
        engine, quantize, "tiny", "", 7, "whisper", speech.input_spec,
        speech.family.export_facts(speech.model, speech.tokens, speech.path), "hi",
        {name: (folder / name).stat().st_size for name in written.files},
        written.runtime, written.settings, TOKENIZER_FILE,
    ).write(folder)  # fmt: skip
    return folder


def sealed_export(speech: SpeechModel, folder: Path) -> Path:
    """An export as it is written, but for the check against its model."""
    made = exported(speech, folder)
    record = read_export(made)
    known = {"tokenizer_sha256": file_sha256(made / TOKENIZER_FILE)}
    sealed(replace(record, settings={**record.settings, **known}), made).write(made)
    return made


def opened(folder: Path, decoding: DecodingOptions = LONG) -> OnnxTranscriber:
    engine = open_export(folder, read_export(folder), WindowPolicy(), 1)
    return replace(engine, decoding=decoding)


@pytest.fixture(scope="module")
def folder(speech: SpeechModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(speech, tmp_path_factory.mktemp("export") / "none")


def greedy_ids(speech: SpeechModel, features: np.ndarray, seconds: float) -> list[int]:
    batch = torch.from_numpy(features)[None]
    return greedy(speech.model, speech.tokens, batch, [seconds], "hi", LONG)[0]


@pytest.mark.parametrize("keeps", KEEPS.values(), ids=KEEPS)
def test_same_tokens_as_torch(
    speech: SpeechModel, keeps: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    smaller = replace(speech, model=model_with(keeps))
    engine = opened(exported(smaller, tmp_path / "export"))
    dense = TorchTranscriber(bounded(smaller, LONG), WindowPolicy())
    written: set[int] = set()
    for seconds, pitch in ((1.0, 250.0), (4.2, 700.0), (11.0, 400.0)):
        mel = dense.features_for(tone(seconds, pitch)).inputs[0]
        assert mel is not None
        wanted = greedy_ids(smaller, mel, seconds)
        heard = engine.hear(mel, seconds, "hi")
        assert heard.ids == tuple(wanted)
        assert (heard.tokens, heard.text) == (len(wanted), speech.tokens.decode(wanted))
        assert heard.at_limit == (len(wanted) == 40)
        written.update(wanted)
    # The tiny model of low rank writes two different tokens in all.
    least = 2 if TWO in keeps else 4
    assert len(written) >= least, "one token again and again would prove little"


def test_transcript(speech: SpeechModel, folder: Path) -> None:
    audio = tone(2.3)
    wanted = TorchTranscriber(bounded(speech, LONG), WindowPolicy()).transcribe(audio)
    found = opened(folder).transcribe(audio)
    assert wanted.text
    assert (found.text, found.tokens, found.segments) == (
        wanted.text, wanted.tokens, wanted.segments,
    )  # fmt: skip
    assert found.first_token_seconds is not None
    assert 0 < found.first_token_seconds <= found.seconds


def test_encoder_states(speech: SpeechModel, folder: Path) -> None:
    engine = opened(folder)
    mel = engine.features_for(tone(1.5)).inputs[0]
    assert mel is not None
    with torch.no_grad():
        wanted = speech.family.encode(speech.model, torch.from_numpy(mel)[None])[0].numpy()
    found = engine.encoder_states(mel)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-4


def test_suppressed_tokens_are_not_written(speech: SpeechModel, folder: Path) -> None:
    engine = opened(folder)
    mel = engine.features_for(tone(1.5)).inputs[0]
    assert mel is not None
    ids = engine.hear(mel, 1.5, "hi").ids
    assert ids
    first = ids[0]
    at_start = replace(engine.rules, suppress_at_start=(first, speech.tokens.end))
    other = replace(engine, rules=at_start).hear(mel, 1.5, "hi").ids
    assert other and other[0] != first
    never = replace(engine.rules, suppress=(*engine.rules.suppress, first))
    assert first not in (replace(engine, rules=never).hear(mel, 1.5, "hi").ids or ())


def test_the_end_token_ends(speech: SpeechModel, folder: Path) -> None:
    """With every other token forbidden, the end comes first, and no text with it."""
    engine = opened(folder)
    mel = engine.features_for(tone(1.0)).inputs[0]
    assert mel is not None
    others = tuple(i for i in range(speech.model.config.vocab_size) if i != speech.tokens.end)
    mute = replace(engine.rules, suppress=others, suppress_at_start=())
    heard = replace(engine, rules=mute).hear(mel, 1.0, "hi")
    first = heard.first_token_seconds
    assert heard == Heard("", 0, False, first, ())
    assert first is not None


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_quantized_transcribes(speech: SpeechModel, quantize: str, tmp_path: Path) -> None:
    smaller = replace(speech, model=model_with(ABSENT))
    engine = opened(exported(smaller, tmp_path / quantize, quantize))
    found = engine.transcribe(tone(1.5))
    assert found.tokens > 0
    assert quantize in engine.name


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_signed_weights_made_unsigned_give_the_same(
    speech: SpeechModel, quantize: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = exported(speech, tmp_path / quantize, quantize)
    mel = np.random.default_rng(0).normal(size=(80, 200)).astype(np.float32)
    states = {}
    for exact in (True, False):
        monkeypatch.setattr(ENGINE, "signed_is_exact", lambda exact=exact: exact)
        states[exact] = opened(folder).encoder_states(mel)
    # The same whole numbers are multiplied and added; only what is done to the sums may differ.
    np.testing.assert_allclose(states[True], states[False], atol=1e-5)


def test_size_and_name(folder: Path) -> None:
    engine = opened(folder)
    stored = sum((folder / name).stat().st_size for name in ("encoder.onnx", "decoder.onnx"))
    size = engine.size()
    assert (size.parameters, size.bytes_on_disk) == (7, stored)
    assert engine.name == "tiny (ONNX Runtime, float32)"


def test_unknown_language_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="xx"):
        opened(folder).transcribe(tone(1.0), "xx")


def damaged(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[:64] = b"\xff" * 64
    file.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "decoder.onnx").unlink(), "decoder.onnx is missing"),
        (lambda folder: (folder / "encoder.onnx").write_bytes(b"half"), "has 4 bytes instead of"),
        (lambda folder: (folder / "export.json").unlink(), "export.json is missing or damaged"),
        (lambda folder: damaged(folder / "encoder.onnx"), "ONNX Runtime .* cannot open"),
    ],
)
def test_incomplete_exports_are_refused(
    speech: SpeechModel, harm: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    broken = exported(speech, tmp_path / "broken")
    harm(broken)
    with pytest.raises(ExportError, match=message):
        opened(broken)


def test_a_missing_tokenizer_is_refused(speech: SpeechModel, tmp_path: Path) -> None:
    broken = exported(speech, tmp_path / "broken")
    (broken / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="tokenizer"):
        opened(broken)


@pytest.mark.real
def test_whisper_base_writes_the_same(tmp_path: Path) -> None:
    """With ragged heads, a block and a layer gone; int8 hears most of the same tokens."""
    speech = load_model("openai/whisper-base")
    plan = keep_everything(speech.groups())
    gone = {
        "encoder.0.self_attn.heads": (0, 2, 3, 5, 7),
        "encoder.4.ffn": (),
        "decoder.0.self_attn.heads": (1, 2, 3, 4, 5, 6),
        "decoder.3.self_attn.heads": (),
        "decoder.3.encoder_attn.heads": (),
        "decoder.3.ffn": (),
    }
    cut(speech.model, speech.groups(), replace(plan, keep={**plan.keep, **gone}))
    options = DecodingOptions()
    dense = TorchTranscriber(bounded(speech, options), WindowPolicy())
    engine = opened(exported(speech, tmp_path / "none"), options)
    small = opened(exported(speech, tmp_path / "int8", "int8"), options)
    for clip in ("demo_000.ogg", "demo_001.ogg"):
        audio = decode(DEMO / clip)
        wanted = dense.transcribe(audio)
        assert wanted.text
        assert engine.transcribe(audio).text == wanted.text
        (mel,) = dense.features_for(audio).inputs
        assert mel is not None
        states = engine.encoder_states(mel)
        difference = np.linalg.norm(small.encoder_states(mel) - states)
        assert difference < 0.15 * np.linalg.norm(states)
        assert small.transcribe(audio).text
