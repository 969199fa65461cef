"""What is written for CTranslate2, to the byte, and what is refused with the plan that would do."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engines.ctranslate2.tiny_ct2 import cut_to, exported
from tests.support.tiny import (  # fmt: skip
    BYTES,
    D_MODEL,
    END,
    FFN,
    HEADS,
    LAYERS,
    SPECIALS,
    START,
    VOCABULARY,
    tiny_model_folder,
)
from whisperslim.core.families.whisper.ct2_read import dimensions, to_hugging_face
from whisperslim.core.fetch.ct2_format import Ct2Model, read_model_bin
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.engines.ctranslate2 import engine as ctranslate2_engine
from whisperslim.engines.ctranslate2.export import check, write
from whisperslim.errors import CheckpointError, ExportError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    return load_model(str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / "model")))


def written(speech: SpeechModel, folder: Path, quantize: str = "none") -> Ct2Model:
    return read_model_bin(exported(speech, folder, quantize).folder / "model.bin")


def assert_round_trip(speech: SpeechModel, model: Ct2Model, dtype: type) -> None:
    wanted = {n: p for n, p in speech.model.state_dict().items() if n != "proj_out.weight"}
    found = to_hugging_face(model)
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == dtype, name
        assert np.array_equal(found[name].astype(np.float32), tensor.numpy()), name


def test_a_whole_model_comes_back_bit_by_bit(tiny: SpeechModel, tmp_path: Path) -> None:
    model = written(tiny, tmp_path / "ct2")
    assert_round_trip(tiny, model, np.float32)
    assert dimensions(model)["encoder_attention_heads"] == HEADS


def test_half_precision_is_kept_where_it_loses_nothing(tiny: SpeechModel, tmp_path: Path) -> None:
    speech = cut_to(tiny, {})
    speech.model.half().float()
    engine = exported(speech, tmp_path / "half")
    assert engine.record.settings["storage"] == "float16"
    assert_round_trip(speech, read_model_bin(engine.folder / "model.bin"), np.float16)
    float32 = exported(tiny, tmp_path / "full")
    assert float32.record.settings["storage"] == "float32"
    saved = float32.size().bytes_on_disk - engine.size().bytes_on_disk
    assert saved == pytest.approx(2 * engine.record.parameters, rel=0.01)  # equal norms go once
    with torch.no_grad():
        speech.model.model.encoder.layers[0].fc1.bias[0] = 1 / 3
    assert exported(speech, tmp_path / "one").record.settings["storage"] == "float32"
    rounded = exported(speech, tmp_path / "rounded", "float16")
    assert rounded.size().bytes_on_disk == engine.size().bytes_on_disk
    assert rounded.runtime.compute_type == "float32"


def test_the_file_says_what_was_cut(tiny: SpeechModel, tmp_path: Path) -> None:
    keep = {
        r"encoder.*heads": (0, 2), r"decoder.*heads": (1,), r"decoder\.1\.ffn": (3, 4, 9),
        r"encoder\.0.*": (), r"decoder\.0\.enc.*": (), r"decoder\.0\.ffn": (),
    }  # fmt: skip
    model = written(cut_to(tiny, keep), tmp_path / "ct2")
    found = {**model.tensors, **{a: model.tensors[name] for a, name in model.aliases.items()}}
    width = D_MODEL // HEADS
    assert (int(found["encoder/num_heads"]), int(found["decoder/num_heads"])) == (2, 1)
    assert not any("encoder/layer_1" in name for name in found), "one layer is left"
    assert found["decoder/layer_1/ffn/linear_0/weight"].shape == (3, D_MODEL)
    scales = {n: float(v) for n, v in found.items() if n.endswith("queries_scale")}
    # One in the encoder, two in each decoder layer; the absent one's scale is of no matter.
    absent = "decoder/layer_0/attention/queries_scale"
    assert len(scales) == 1 + 2 * LAYERS and absent in scales
    assert all(s == np.float32(width**-0.5) for n, s in scales.items() if n != absent)
    for name in ("decoder/layer_0/attention/linear_2", "decoder/layer_0/ffn/linear_1"):
        assert not found[f"{name}/weight"].any() and not found[f"{name}/bias"].any(), name
    assert found["decoder/layer_0/attention/linear_1/weight"].shape == (2, D_MODEL)
    assert found["decoder/layer_0/ffn/linear_0/weight"].shape == (1, D_MODEL)


def test_a_cut_model_is_not_taken_for_a_whole_one(tiny: SpeechModel, tmp_path: Path) -> None:
    model = written(cut_to(tiny, {r".*heads": (0, 2)}), tmp_path / "ct2")
    with pytest.raises(CheckpointError, match="head_dim is 8, a whole Whisper of this size has 16"):
        to_hugging_face(model)


def test_int8_stores_one_byte_a_weight_and_halves_for_the_rest(
    tiny: SpeechModel, tmp_path: Path
) -> None:
    before = {name: p.clone() for name, p in tiny.model.named_parameters()}
    engine = exported(tiny, tmp_path / "ct2", "int8")
    found = read_model_bin(engine.folder / "model.bin").tensors
    for name, value in found.items():
        if value.ndim:
            last = name.rsplit("/", 1)[1]
            wanted = {"weight": np.int8, "weight_scale": np.float32}.get(last, np.float16)
            assert value.dtype == wanted, name
    # By the quantizer's definition: the largest of a row becomes 127.
    fc1 = tiny.model.model.encoder.layers[0].fc1.weight.detach().numpy()
    stored = found["encoder/layer_0/ffn/linear_0/weight"]
    assert np.abs(stored).max(axis=1).tolist() == [127] * FFN
    steps = np.abs(fc1).max(axis=1, keepdims=True) / 127
    assert np.abs(stored * steps - fc1).max() <= 0.5001 * steps.max()
    held = sum(v.size * (1 if v.dtype == np.int8 else 4) for v in found.values())
    flags = sum(v.dtype == np.int8 and not v.ndim for v in found.values())
    assert engine.size().bytes_loaded == held
    assert flags, "settings of one byte are in both sums"
    for name, parameter in tiny.model.named_parameters():
        assert torch.equal(parameter, before[name]), f"{name} was changed by writing it"


def test_settings_and_vocabulary(tiny: SpeechModel, tmp_path: Path) -> None:
    folder = exported(tiny, tmp_path / "ct2").folder
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    assert settings["suppress_ids_begin"] == [END]
    assert settings["suppress_ids"] == []
    assert settings["lang_ids"] == [START + 1, START + 2]  # <|en|> and <|hi|>
    later = [[1, head] for head in range(HEADS)]
    assert settings["alignment_heads"] == later
    tokens = json.loads((folder / "vocabulary.json").read_text("utf-8"))
    # The empty token marks a multilingual vocabulary; it stands where nothing is looked up.
    wanted = [*BYTES, *SPECIALS]
    wanted[wanted.index("<|startoflm|>")] = ""
    assert tokens == wanted and len(tokens) == VOCABULARY
    side = json.loads((folder / "preprocessor_config.json").read_text("utf-8"))
    assert (side["feature_size"], side["sampling_rate"]) == (80, 16_000)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / name).read_bytes() == (tiny.path / name).read_bytes()


def test_the_runtime_takes_it_for_multilingual(tiny: SpeechModel, tmp_path: Path) -> None:
    engine = exported(tiny, tmp_path / "ct2")
    assert engine.runtime.is_multilingual and engine.runtime.n_mels == 80
    assert "without_timestamps=True" in engine.record.settings["faster_whisper"]
    speech = cut_to(tiny, {})
    speech.model.generation_config.is_multilingual = False
    assert not exported(speech, tmp_path / "english").runtime.is_multilingual


def test_timestamps_are_named_where_the_tokenizer_has_none(
    tiny: SpeechModel, tmp_path: Path
) -> None:
    speech = cut_to(tiny, {})
    speech.model.resize_token_embeddings(VOCABULARY + 3, mean_resizing=False)
    engine = exported(speech, tmp_path / "ct2")
    tokens = json.loads((engine.folder / "vocabulary.json").read_text("utf-8"))
    assert tokens[-4:] == ["<|notimestamps|>", "<|0.00|>", "<|0.02|>", "<|0.04|>"]
    assert engine.record.settings["faster_whisper"] == "yes"


@pytest.mark.parametrize(
    ("keep", "heads"),
    [
        ({}, [[0, 1], [1, 2]]),  # as the model says
        ({r"decoder.*heads": (0, 2)}, [[1, 0], [1, 1]]),
        ({r"decoder\.0.*": ()}, [[0, 0], [0, 1], [0, 2], [0, 3]]),
        ({r"decoder\.1\.enc.*": ()}, [[0, 0], [0, 1], [0, 2], [0, 3]]),
    ],
)
def test_alignment_heads_are_heads_there_are(
    tiny: SpeechModel, keep: dict[str, tuple[int, ...]], heads: list[list[int]], tmp_path: Path
) -> None:
    speech = cut_to(tiny, keep)
    speech.model.generation_config.alignment_heads = [[0, 1], [1, 2]]
    folder = exported(speech, tmp_path / "ct2").folder
    assert json.loads((folder / "config.json").read_text())["alignment_heads"] == heads


def test_ragged_heads_are_refused_with_the_nearest_plans(tiny: SpeechModel, tmp_path: Path) -> None:
    ragged = cut_to(
        tiny,
        {r"decoder\.0\.self.*": (0,), r"decoder\.0\.enc.*": (0, 1), r"decoder\.1\.enc.*": (0, 1)},
    )
    with pytest.raises(ExportError) as caught:
        check(ragged, "none")
    said = str(caught.value)
    # In layer order 1, 4 and 2, 2. To 2: one back, two cut. To 4: 3 + 2 + 2. To 1: 3 + 1 + 1.
    assert "the decoder's attention modules have self_attn 1 4, encoder_attn 2 2" in said
    assert "nearest is 2 in each (3 heads added back or cut)" in said
    assert "or 4 (7 added back), or 1 (5 cut)" in said
    assert "the encoder's" not in said
    (tmp_path / "out").mkdir()
    with pytest.raises(ExportError, match="one number of heads"):
        write(ragged, tmp_path / "out", "none")
    assert not list((tmp_path / "out").iterdir())
    check(cut_to(ragged, {r"decoder\.(0|1)\.(self|enc).*": (0,)}), "none")


def test_a_model_with_other_arithmetic_is_refused(tiny: SpeechModel) -> None:
    for name, value in (("activation_function", "relu"), ("scale_embedding", True)):
        speech = cut_to(tiny, {})
        setattr(speech.model.config, name, value)
        with pytest.raises(ExportError, match="CTranslate2's Whisper"):
            check(speech, "none")


def test_control_tokens_in_another_order_are_refused(tiny: SpeechModel) -> None:
    tokens = replace(tiny.tokens, start=tiny.tokens.no_timestamps + 1)
    with pytest.raises(ExportError, match="not in Whisper's order"):
        check(replace(tiny, tokens=tokens), "none")


def test_a_precision_that_is_not_there_is_refused(
    tiny: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ExportError, match="no int4; choose one of: none, float16, int8"):
        check(tiny, "int4")
    monkeypatch.setattr(
        ctranslate2_engine.ctranslate2, "get_supported_compute_types", lambda device: {"float32"}
    )
    check(tiny, "none")
    with pytest.raises(ExportError, match="cannot compute in int8 on this processor"):
        check(tiny, "int8")
