"""wav2vec 2.0 and HuBERT in CTranslate2: the model's scores, and words for what it cannot hold."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.models.tiny_ctc import KINDS, PRE, Kind, samples_folder
from tests.support.tiny import tiny_corpus
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.plan.rules import constrain
from whisperslim.core.surgery.shrink import cut
from whisperslim.engines import registry
from whisperslim.engines.ctranslate2.export import check, open_export
from whisperslim.engines.ctranslate2.frames import Ct2Frames
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.export.export import export
from whisperslim.engines.export.parity import read_verdict
from whisperslim.engines.export.record import read_export
from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import ExportError
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import load_items

HEADS, FFN = 4, 24
# What CTranslate2 has fixed in its code.
FIXED = {
    **PRE, "hidden_size": 32, "conv_kernel": (10, 3, 2), "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16, "num_hidden_layers": 3,
}  # fmt: skip
HELD = {
    name: Kind(KINDS[f"{name} pre-norm"].config, KINDS[f"{name} pre-norm"].model, FIXED)
    for name in ("wav2vec2", "hubert")
}
WHOLE: dict[str, int] = {}
# Units that stay, where that is not all: one number of heads, other widths, a layer that is gone,
# and one sub-layer of each kind.
CUT = {
    **{f"encoder.{i}.self_attn.heads": 2 for i in (0, 2)}, "encoder.0.ffn": 0, "encoder.2.ffn": 7,
    "encoder.1.self_attn.heads": 0, "encoder.1.ffn": 0,
}  # fmt: skip
NO_ATTENTION = {"encoder.0.self_attn.heads": 0, "encoder.1.ffn": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ct2-frames")
    tiny_corpus(place / "corpus", clips=3)
    for name, kind in HELD.items():
        samples_folder(place / name, kind, place / "corpus")
    return place


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "run_child", lambda exchange, timeout: parity_child.main(exchange))


def with_units(folder: Path, name: str, left: dict[str, int]) -> SpeechModel:
    """A model cut to `left`; random ones write blanks alone, this one does not."""
    speech = load_model(str(folder / name))
    with torch.no_grad():
        speech.family.head(speech.model).bias[speech.tokens.blank] -= 4.0
    plan = keep_everything(speech.groups())
    keep = {key: units[: left.get(key, len(units))] for key, units in plan.keep.items()}
    cut(speech.model, speech.groups(), replace(plan, keep=keep))
    return speech


def recordings(folder: Path) -> list[np.ndarray]:
    items = load_items(str(folder / "corpus"))
    return [AudioCache(folder / "cache").load(item) for item in items]


def written(speech: SpeechModel, out: Path, folder: Path, quantize: str = "none") -> Ct2Frames:
    export(speech, "ctranslate2", quantize, out, recordings(folder), "hi", WindowPolicy())
    found = open_export(out, read_export(out), WindowPolicy(), 1)
    assert isinstance(found, Ct2Frames)
    return found


def logits(speech: SpeechModel, given: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        states = speech.family.encode(speech.model, torch.from_numpy(given)[None])
        found: np.ndarray = speech.family.project(speech.model, states)[0].numpy()
    return found


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("left", [WHOLE, CUT, NO_ATTENTION], ids=["whole", "cut", "no attention"])
def test_its_scores_are_the_model_s(
    folder: Path, tmp_path: Path, name: str, left: dict[str, int], same_process: None
) -> None:
    """Of sound with padding behind it, of sound without, and of none."""
    speech = with_units(folder, name, left)
    opened = written(speech, tmp_path / "out", folder)
    verdict = read_verdict(tmp_path / "out")
    assert verdict.ok and verdict.same_text == verdict.parts > 0
    sound = 0.1 * np.random.default_rng(5).standard_normal(20_000).astype(np.float32)
    for heard in (20_000, 16_161, 5_000, 1, 0):
        given = np.where(np.arange(20_000) < heard, sound, 0.0).astype(np.float32)
        wanted, found = logits(speech, given), opened.scores(given)
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max(), heard
    own = TorchTranscriber(speech, WindowPolicy())
    texts = [opened.transcribe(clip).text for clip in recordings(folder)]
    assert texts == [own.transcribe(clip).text for clip in recordings(folder)] and any(texts)
    again = open_transcriber(str(tmp_path / "out"), WindowPolicy())
    assert [again.transcribe(clip).text for clip in recordings(folder)] == texts


def test_samples_that_are_not_normalized(folder: Path, tmp_path: Path, same_process: None) -> None:
    speech = with_units(folder, "wav2vec2", WHOLE)
    speech.model.config.do_normalize = False
    opened, clip = written(speech, tmp_path / "out", folder), recordings(folder)[0]
    assert np.abs(opened.scores(clip) - logits(speech, clip)).max() < 1e-4
    speech.model.config.do_normalize = True
    assert np.abs(opened.scores(clip) - logits(speech, clip)).max() > 1e-2


@pytest.mark.parametrize(("quantize", "error"), [("int8", 0.1), ("float16", 0.01)])
def test_fewer_bits_are_less_and_near(
    folder: Path, tmp_path: Path, quantize: str, error: float, same_process: None
) -> None:
    speech, clip = with_units(folder, "hubert", CUT), recordings(folder)[0]
    whole = written(speech, tmp_path / "whole", folder)
    less = written(speech, tmp_path / "less", folder, quantize)
    wanted, found = logits(speech, clip), less.scores(clip)
    assert np.linalg.norm(found - wanted) <= error * np.linalg.norm(wanted)
    assert less.size().bytes_on_disk < 0.7 * whole.size().bytes_on_disk


def test_ragged_heads_are_refused_with_the_nearest_plans(folder: Path, tmp_path: Path) -> None:
    speech = with_units(folder, "wav2vec2", {"encoder.0.self_attn.heads": 2})
    with pytest.raises(ExportError) as refused:
        export(speech, "ctranslate2", "none", tmp_path / "out", [], "hi", WindowPolicy())
    said = str(refused.value)
    assert "one number of heads for the encoder: " in said and "decoder" not in said
    assert "have self_attn 2 4 4; nearest is 4 in each (2 heads added back or cut)" in said
    assert "onnx and hf and sherpa hold any" in said and not (tmp_path / "out").exists()


def test_a_plan_for_the_engine_has_one_number_of_heads(folder: Path) -> None:
    groups = load_model(str(folder / "wav2vec2")).groups()
    tied = {g.key: g.tied for g in constrain(groups, registry.get("ctranslate2").ties)}
    assert {tied[f"encoder.{i}.self_attn.heads"] for i in range(3)} == {"encoder.heads"}
    assert not any(tied[f"encoder.{i}.ffn"] for i in range(3))


@pytest.mark.parametrize(
    ("name", "field", "value", "words"),
    [
        ("wav2vec2", "do_stable_layer_norm", False, "norms behind sub-layers"),
        ("wav2vec2", "feat_extract_norm", "group", "a group norm"),
        ("hubert", "feat_proj_layer_norm", False, "no norm before its projection"),
        ("hubert", "conv_pos_batch_norm", True, "a batch norm"),
        ("wav2vec2", "conv_stride", (5, 2, 4), r"conv_stride is \[5, 2, 4\], and 5, then 2"),
        ("wav2vec2", "num_conv_pos_embeddings", 64, "num_conv_pos_embeddings is 64, of 128"),
        ("wav2vec2", "num_conv_pos_embedding_groups", 8, "groups is 8, of 16"),
        ("wav2vec2", "hidden_act", "relu", "not all gelu"),
        ("wav2vec2", "layer_norm_eps", 1e-6, "layer_norm_eps is 1e-06"),
        ("wav2vec2", "vocab_size", 40_000, "40000 tokens, of 32767 at most"),
    ],
)
def test_other_arithmetic_is_refused_by_name(
    folder: Path, name: str, field: str, value: object, words: str
) -> None:
    speech = load_model(str(folder / name))
    setattr(speech.model.config, field, value)
    with pytest.raises(ExportError, match=f"{words}.*onnx, which holds any"):
        check(speech, "none")


def test_a_record_without_what_is_needed_is_refused(
    folder: Path, tmp_path: Path, same_process: None
) -> None:
    written(with_units(folder, "wav2vec2", WHOLE), tmp_path / "out", folder)
    file = tmp_path / "out" / "export.json"
    stated: dict[str, Any] = json.loads(file.read_text("utf-8"))
    for key, value in (("normalize", "yes"), ("silence", None), ("silence", [0.0, "1"])):
        settings = {**stated["settings"], key: value}
        file.write_text(json.dumps({**stated, "settings": settings}), "utf-8")
        with pytest.raises(ExportError, match="does not say how samples are given"):
            open_export(tmp_path / "out", read_export(tmp_path / "out"), WindowPolicy(), 1)
