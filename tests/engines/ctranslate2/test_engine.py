"""CTranslate2 hears what PyTorch hears, in every shape it can hold, by the same decoding rules."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch

from tests.engines.ctranslate2.tiny_ct2 import WIDTHS, Keep, cut_to, exported
from tests.support.models.decoding import greedy
from tests.support.models.inputs import WHISPERS
from tests.support.tiny import END, START, tiny_model_folder
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.engines.ctranslate2 import engine as ctranslate2_engine
from whisperslim.engines.ctranslate2.engine import Ct2Transcriber, open_export
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import ExportError, UsageError
from whisperslim.machine import cores
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.log_mel import log_mel
from whisperslim.speech.audio.window import WindowPolicy

DEMO = Path(__file__).parents[3] / "assets" / "demo_hi" / "audio"

SHAPES: dict[str, Keep] = {
    "whole": {},
    "fewer heads": {r"encoder.*heads": (0, 2), r"decoder.*heads": (0, 1, 3)},
    "single heads": {r".*heads": (3,)},
    "narrow feed-forward blocks": {r".*ffn": (1, 4, 7), r"decoder\.1\.ffn": (5,)},
    "no attention in an encoder layer": {r"encoder\.0.*heads": ()},
    "no feed-forward block in an encoder layer": {r"encoder\.1\.ffn": ()},
    "no self-attention in the first decoder layer": {r"decoder\.0\.self.*": ()},
    "no cross-attention in the first decoder layer": {r"decoder\.0\.enc.*": ()},
    "no cross-attention in the last decoder layer": {r"decoder\.1\.enc.*": ()},
    "no first encoder layer": {r"encoder\.0.*": ()},
    "no first decoder layer": {r"decoder\.0.*": ()},
    "narrower heads": {WIDTHS: (4, 8, 6, 2, 8, 4)},
    "narrower single heads": {r".*heads": (3,), WIDTHS: (4, 8, 6, 2, 8, 4)},
    "much": {
        r"encoder.*heads": (0, 2), r"decoder.*heads": (3,), r"encoder.*ffn": (1, 4, 7),
        r"encoder\.0.*heads": (), r"decoder\.0\.ffn": (), r"decoder\.0\.enc.*": (),
        r"decoder\.1\.self.*": (),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / "model")))


def noise(seconds: float) -> np.ndarray:
    draw = np.random.default_rng(3)
    return (0.1 * draw.standard_normal(int(16_000 * seconds))).astype(np.float32)


def torch_states(speech: SpeechModel, mel: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return speech.family.encode(speech.model, torch.from_numpy(mel)[None])[0].numpy()


def torch_ids(speech: SpeechModel, mel: np.ndarray, seconds: float) -> tuple[int, ...]:
    batch = torch.from_numpy(mel)[None]
    return tuple(greedy(speech.model, speech.tokens, batch, [seconds], "hi")[0])


def assert_same(engine: Ct2Transcriber, speech: SpeechModel, audio: np.ndarray) -> None:
    seconds = len(audio) / 16_000
    mel = log_mel(audio, engine.window.frames_for(seconds, 3000), 80)
    wanted = torch_states(speech, mel)
    # Sums of float32 in another order; a wrong shape or scale is off by a tenth.
    assert np.abs(engine.encoder_states(mel) - wanted).max() < 1e-4 * np.abs(wanted).max()
    heard = engine.hear(mel, seconds, "hi")
    assert heard.ids == torch_ids(speech, mel, seconds)
    assert heard.tokens == len(heard.ids) > 0
    assert heard.text == speech.tokens.decode(heard.ids)


@pytest.mark.parametrize("keep", SHAPES.values(), ids=SHAPES)
def test_every_shape_is_exact(tiny: SpeechModel, keep: Keep, tmp_path: Path) -> None:
    speech = cut_to(tiny, keep)
    engine = exported(speech, tmp_path / "ct2")
    for seconds in (0.7, 2.0):
        assert_same(engine, speech, noise(seconds))


def test_thirty_seconds_are_the_same_too(tiny: SpeechModel, tmp_path: Path) -> None:
    assert_same(exported(tiny, tmp_path / "ct2", window=WindowPolicy("30s")), tiny, noise(1.0))


def fixed_on(speech: SpeechModel, wishes: Sequence[int]) -> SpeechModel:
    """A model that wants to write the first of `wishes` at every step, or else the next, and so on.

    The last norm's bias outweighs what it normalizes, so that only one direction counts.
    """
    made = cut_to(speech, {})
    decoder: Any = made.model.model.decoder
    with torch.no_grad():
        decoder.embed_tokens.weight[:, 0] = 0.0
        decoder.layer_norm.bias[0] = 1000.0
        for place, token in enumerate(wishes):
            decoder.embed_tokens.weight[token, 0] = 10.0 - place
    return made


@pytest.mark.parametrize(
    ("wishes", "seconds", "written", "at_limit"),
    [
        # The end is not the first token of a text; then it ends.
        ((END, 77), 0.7, (77,), False),
        # A control token is never written.
        ((START, END, 77), 0.7, (77,), False),
        # 10 tokens and 25 a second: 10 + 17.5, rounded down.
        ((77,), 0.7, (77,) * 27, True),
        # 128 positions, 4 of them the prompt's.
        ((77,), 6.0, (77,) * 124, True),
    ],
)
def test_the_decoding_rules_are_ours(
    tiny: SpeechModel, wishes: Sequence[int], seconds: float, written: tuple[int, ...],
    at_limit: bool, tmp_path: Path,
) -> None:  # fmt: skip
    speech = fixed_on(tiny, wishes)
    engine = exported(speech, tmp_path / "ct2")
    heard = engine.hear(log_mel(noise(seconds), 700, 80), seconds, "hi")
    assert heard.ids == torch_ids(speech, log_mel(noise(seconds), 700, 80), seconds) == written
    assert heard.at_limit == at_limit


def test_int8_is_near_and_smaller(tiny: SpeechModel, tmp_path: Path) -> None:
    keep = {r"encoder\.0.*heads": (), r"decoder\.0\.ffn": (), r"decoder\.1\.enc.*": ()}
    speech = cut_to(tiny, keep)
    whole = exported(speech, tmp_path / "float")
    engine = exported(speech, tmp_path / "int8", "int8")
    assert engine.runtime.compute_type == "int8_float32" and "int8" in engine.name
    mel = log_mel(noise(2.0), 250, 80)
    wanted = torch_states(speech, mel)
    error = engine.encoder_states(mel) - wanted
    assert 0 < np.sqrt((error**2).mean()) < 0.1 * np.sqrt((wanted**2).mean())
    assert engine.hear(mel, 2.0, "hi").tokens > 0
    stored, held = engine.size(), whole.size()
    assert stored.bytes_on_disk < stored.bytes_loaded < held.bytes_loaded
    assert stored.parameters == held.parameters


def test_a_recording_becomes_a_transcript(tiny: SpeechModel, tmp_path: Path) -> None:
    engine = exported(tiny, tmp_path / "ct2")
    wanted = TorchTranscriber(tiny, WindowPolicy()).transcribe(noise(2.0))
    found = engine.transcribe(noise(2.0))
    assert (found.text, found.tokens, found.note) == (wanted.text, wanted.tokens, wanted.note)
    assert found.first_token_seconds is None
    assert (engine.input_spec, engine.name) == (WHISPERS, "tiny (CTranslate2 float32)")
    # Four bytes a parameter, but for zeros in place of k's bias, settings, and equal norms, which
    # the file has once.
    assert abs(engine.size().bytes_loaded - 4 * engine.size().parameters) < 4096
    with pytest.raises(UsageError, match="does not know the language 'xx'"):
        engine.transcribe(noise(2.0), "xx")


def test_one_engine_serves_several_threads(tiny: SpeechModel, tmp_path: Path) -> None:
    engine = exported(tiny, tmp_path / "ct2")
    clips = [noise(0.5 + 0.3 * i) for i in range(6)]
    alone = [engine.transcribe(clip).text for clip in clips]
    with ThreadPoolExecutor(3) as pool:
        assert [t.text for t in pool.map(engine.transcribe, clips)] == alone


def test_what_cannot_be_opened_is_refused(
    tiny: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = exported(tiny, tmp_path / "ct2", "int8")
    monkeypatch.setattr(
        ctranslate2_engine.ctranslate2, "get_supported_compute_types", lambda device: {"float32"}
    )
    with pytest.raises(ExportError, match="cannot compute in int8 on this processor, only in fl"):
        open_export(engine.folder, engine.record, WindowPolicy(), 1)
    monkeypatch.undo()
    file = engine.folder / "model.bin"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ExportError, match=rf"cannot open .*written with {ctranslate2.__version__}"):
        open_export(engine.folder, engine.record, WindowPolicy(), 1)
    with pytest.raises(ExportError, match="no int4; choose one of: none, float16, int8"):
        open_export(engine.folder, replace(engine.record, quantize="int4"), WindowPolicy(), 1)


@pytest.mark.parametrize(
    ("physical", "allowed", "threads", "wanted"),
    [(8, 8, 0, 8), (8, 2, 0, 2), (None, 4, 0, 4), (8, 8, 3, 3)],
)
def test_threads(
    tiny: SpeechModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    physical: int | None, allowed: int, threads: int, wanted: int,
) -> None:  # fmt: skip
    engine = exported(tiny, tmp_path / "ct2")
    asked: dict[str, Any] = {}

    def runtime(folder: str, **settings: Any) -> SimpleNamespace:
        asked.update(settings)
        return SimpleNamespace()

    monkeypatch.setattr(ctranslate2_engine.ctranslate2.models, "Whisper", runtime)
    monkeypatch.setattr(cores.psutil, "cpu_count", lambda logical: physical)
    monkeypatch.setattr(cores.os, "cpu_count", lambda: 16)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda process: set(range(allowed)), False)
    open_export(engine.folder, engine.record, WindowPolicy(), threads)
    assert (asked["intra_threads"], asked["inter_threads"]) == (wanted, 1)


def demo_clips(count: int) -> list[np.ndarray]:
    return [decode(path) for path in sorted(DEMO.iterdir())[:count]]


@pytest.mark.real
@pytest.mark.parametrize("shape", ["whole", "cut"])
def test_whisper_base_is_heard_the_same(shape: str, tmp_path: Path) -> None:
    """Whole, and with 6 and 5 heads, without a layer, a feed-forward block and an attention."""
    keep: Keep = {
        r"encoder.*heads": (0, 1, 2, 4, 5, 7), r"decoder.*heads": (0, 2, 3, 5, 6),
        r"encoder.*ffn": range(0, 2048, 2), r"encoder\.2\.ffn": (), r"decoder\.3.*": (),
        r"decoder\.4\.self.*": (), r"decoder\.5\.enc.*": (),
    }  # fmt: skip
    speech = load_model("openai/whisper-base")
    speech = cut_to(speech, {} if shape == "whole" else keep)
    engine = exported(speech, tmp_path / "ct2")
    assert engine.record.settings["storage"] == "float16"
    for clip in demo_clips(3):
        assert_same(engine, speech, clip)


@pytest.mark.real
@pytest.mark.parametrize("trimmed", [False, True])
def test_faster_whisper_hears_the_same(trimmed: bool, tmp_path: Path) -> None:
    from faster_whisper import WhisperModel
    from faster_whisper.audio import pad_or_trim

    speech = load_model("openai/whisper-base")
    if trimmed:
        save_trimmed(tmp_path / "slim", speech, vocabulary_for(speech, ["hi"]))
        speech = load_model(str(tmp_path / "slim"))
    engine = exported(speech, tmp_path / "ct2", window=WindowPolicy("30s"))
    said = engine.record.settings["faster_whisper"]
    assert ("without_timestamps=True" in said) if trimmed else said == "yes"
    stock = WhisperModel(str(tmp_path / "ct2"), device="cpu", compute_type="float32", cpu_threads=1)
    assert stock.model.is_multilingual
    assert stock.model.num_languages == (1 if trimmed else 99)
    for clip in demo_clips(2):
        parts, info = stock.transcribe(
            clip, language="hi", without_timestamps=True, beam_size=1, temperature=0.0
        )
        assert info.language == "hi"
        written = [token for part in parts for token in part.tokens]
        # It pads features where Whisper pads the sound, so ours must hear its features.
        mel = pad_or_trim(stock.feature_extractor(clip)[:, :-1])
        assert engine.hear(mel, 30.0, "hi").ids == tuple(written)
