"""Model folders that some kilobytes make ask for hours or gigabytes are refused with a sentence.

Each is given little memory beyond what the process has, and little of the processor's time: before
there were bounds, none of them ended within both, or ended in something else than a sentence.
"""

import json
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.tiny import tiny_model_folder
from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import copy_side_files, read_tensors
from whisperslim.errors import CheckpointError, SourceError

MEMORY, SECONDS = 200_000_000, 5.0
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
DEEP = 20_000

Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model_folder(tmp_path / "model")


@contextmanager
def little() -> Iterator[None]:
    """Few more bytes than now may be written to, and few seconds computed, where systems can."""
    if sys.platform != "linux":
        yield
        return
    import resource

    def late(*_: object) -> None:
        raise TimeoutError(f"it took over {SECONDS} s of the processor")

    usual = resource.getrlimit(resource.RLIMIT_DATA)
    handler = signal.signal(signal.SIGVTALRM, late)
    resource.setrlimit(
        resource.RLIMIT_DATA, (psutil.Process().memory_info().data + MEMORY, usual[1])
    )
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, handler)
        resource.setrlimit(resource.RLIMIT_DATA, usual)


def config(**values: Any) -> Change:
    return rejson("config.json", **values)


def rejson(name: str, **values: Any) -> Change:
    def change(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **values}), "utf-8")

    return change


def nested(name: str) -> Change:
    text = '{"model_type": "whisper", "a": ' + "[" * DEEP + "]" * DEEP + "}"
    return lambda folder: (folder / name).write_text(text, "utf-8")


def head(text: str, length: int | None = None, data: bytes = b"") -> Change:
    """A safetensors file with this for its head."""
    content = text.encode()
    start = struct.pack("<Q", len(content) if length is None else length)
    return lambda folder: (folder / WEIGHTS).write_bytes(start + content + data)


def entries(*found: tuple[str, list[int], int, int]) -> str:
    return json.dumps(
        {n: {"dtype": "F32", "shape": s, "data_offsets": [b, e]} for n, s, b, e in found}
    )


def empty_tensors_of(count: int) -> Change:
    return lambda folder: head(entries(*((f"t{i}", [0], 0, 0) for i in range(count))))(folder)


def indexed(weight_map: dict[str, str]) -> Change:
    def change(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder.parent / WEIGHTS)
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}), "utf-8")

    return change


def layout(**parts: Any) -> Change:
    return rejson("tokenizer.json", **parts)


def pattern(text: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": text}, "behavior": "Isolated", "invert": False}


def many_merges(folder: Path) -> None:
    file = folder / "tokenizer.json"
    found = json.loads(file.read_text("utf-8"))
    found["model"]["merges"] = [["a", "b"]] * 1_000_000
    file.write_text(json.dumps(found, separators=(",", ":")), "utf-8")


def many_added(folder: Path) -> None:
    added = [
        {"id": 300 + i, "content": f"<{i}>", "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": True}
        for i in range(30_000)
    ]  # fmt: skip
    layout(added_tokens=added)(folder)


REFUSED: dict[str, tuple[Change, str]] = {
    "a million layers": (config(encoder_layers=1_000_000), "encoder_layers 1000000; accepted"),
    "as many to decode": (config(decoder_layers=1_000_000), "decoder_layers 1000000; accepted"),
    "those of another family": (
        config(model_type="whisper_ctc", encoder_layers=1_000_000), "encoder_layers 1000000; acce"),
    "those of a third": (
        config(model_type="hubert", num_hidden_layers=1_000_000), "num_hidden_layers 1000000; ac"),
    "many convolutions": (
        config(model_type="wav2vec2", conv_dim=[10**9] * 7), r"conv_dim \[1000000000, 1"),
    "no layers": (config(encoder_layers=0), "encoder_layers 0; accepted"),
    "too wide": (config(d_model=10**9), "d_model 1000000000; accepted"),
    "no width": (config(d_model=0), "d_model 0; accepted"),
    "less than none": (config(d_model=-32), "d_model -32; accepted"),
    "a number of 300 digits": (config(d_model=10**300), "a number is too large"),
    "no heads": (config(encoder_attention_heads=0), "encoder_attention_heads 0; accepted"),
    "heads that do not divide": (config(decoder_attention_heads=5), "which must divide it"),
    "a huge vocabulary": (config(vocab_size=10**9), "vocab_size 1000000000; accepted"),
    "a billion positions": (config(max_target_positions=10**9), "max_target_positions 1000000000"),
    "a billion windows": (config(max_source_positions=10**9), "max_source_positions 1000000000"),
    "many units": (config(encoder_ffn_dim=10**9), "encoder_ffn_dim 1000000000; accepted"),
    "bands": (config(num_mel_bins=10**9), "num_mel_bins 1000000000; accepted"),
    "a token beyond all": (config(pad_token_id=10**6), "pad_token_id 1000000 and vocab_size"),
    "an unknown function": (config(activation_function="eval"), "activation_function 'eval'"),
    "a deep configuration": (nested("config.json"), "nested too deep"),
    "a long configuration": (config(x="x" * 1_000_001), "has over 1000000 bytes"),
    "a full configuration": (config(x=[[]] * 200_000), "over 100000 values"),
    "deep settings": (nested("generation_config.json"), "nested too deep"),
    "a million empty tensors": (empty_tensors_of(1_000_000), "its head is said to have"),
    "a hundred thousand": (empty_tensors_of(100_000), "over 400000 values"),
    "a head of 2**60 bytes": (head("{}", 2**60), f"its head is said to have {2**60} bytes"),
    "a deep head": (head("[" * DEEP + "]" * DEEP), "nested too deep"),
    "two in one place": (
        head(entries(("a", [2], 0, 8), ("b", [2], 4, 12)), data=bytes(12)), "two tensors"),
    "bytes of none": (head(entries(("a", [2], 4, 12)), data=bytes(12)), "to none"),
    "more than there is": (head(entries(("a", [2**40], 0, 2**42))), "0 follow its head"),
    "an element for nothing": (head(entries(("a", [2**40], 0, 0))), "elements of F32"),
    "half a shape": (head(entries(("a", [-1], 0, 4)), data=bytes(4)), "its shape"),
    "a shard elsewhere": (indexed({"a": f"../{WEIGHTS}"}), "names of safetensors files"),
    "a shard anywhere": (indexed({"a": "/etc/passwd"}), "names of safetensors files"),
    "a deep index": (
        lambda folder: (indexed({"a": "b"})(folder), nested(INDEX)(folder)), "nested too deep"),
    "a full index": (indexed({f"t{i}": "a.safetensors" for i in range(300_000)}), "over 200000"),
    "a deep tokenizer": (nested("tokenizer.json"), "nested too deep"),
    "a million merges": (many_merges, "over 1000000 values"),
    "tokens added": (many_added, "adds 30000 tokens"),
    "a search for ever": (layout(pre_tokenizer=pattern("(a+)+$")), "pattern of its own"),
    "a pattern that grows": (
        layout(normalizer={"type": "Replace", "content": "",
                           "pattern": {"Regex": "(((a{900}){900}){900})"}}), "pattern of its own"),
    "texts filled up": (
        layout(padding={"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_id": 0,
                        "pad_to_multiple_of": None, "pad_type_id": 0, "pad_token": "a"}),
        "its padding is beyond"),
    "lines without end": (
        lambda folder: (folder / "merges.txt").write_text("a b\n" * 600_000), "over 500000 lines"),
    "deep settings of tokens": (nested("tokenizer_config.json"), "nested too deep"),
    "deep tokens": (nested("added_tokens.json"), "nested too deep"),
    "another tokenizer": (
        lambda folder: (folder / "tokenizer_config.json").write_text(
            '{"fast_tokenizer_files": ["tokenizer.../../../x.1.0.0.json"]}'), "another file"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_little_memory_and_time(folder: Path, what: str) -> None:
    change, message = REFUSED[what]
    change(folder)
    with little(), pytest.raises((CheckpointError, SourceError), match=message):
        load_model(str(folder))


def test_what_is_left_is_enough_for_a_model(folder: Path) -> None:
    with little():
        assert load_model(str(folder)).model.config.d_model == 32


def test_a_mask_that_unpacks_to_more_than_the_model_is_not_unpacked(folder: Path) -> None:
    """Eight bytes of zeros for each bit: 100 MB of a mask are 3.2 GB of numbers."""
    tensors = load_file(folder / WEIGHTS)
    name = "model.encoder.layers.0.fc1.weight"
    elements = 800_000_000
    tensors[name] = torch.zeros(0)
    tensors[f"{name}::nonzero"] = torch.zeros(elements // 8, dtype=torch.uint8)
    save_file(tensors, folder / WEIGHTS, metadata={"sparse": json.dumps({name: [elements]})})
    with little(), pytest.raises(CheckpointError, match="1 of another shape"):
        load_model(str(folder))


CODE = {
    "_attn_implementation": "somebody/kernels", "attn_implementation": "somebody/kernels",
    "experts_implementation": "somebody/kernels", "auto_map": {"AutoModel": "theirs.Model"},
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
    "to_dict": 1, "num_labels": 10**9, "torch_dtype": "system",
}  # fmt: skip


def test_keys_that_name_code_are_left_out_and_said_once(folder: Path) -> None:
    wanted = load_model(str(folder)).model
    config(**CODE)(folder)
    said: list[str] = []
    with little():
        model = load_model(str(folder), announce=said.append).model
    assert model.config.to_dict() == wanted.config.to_dict()
    assert model.config._attn_implementation == wanted.config._attn_implementation
    assert not hasattr(model.config, "auto_map") and model.config.num_labels == 2
    (sentence,) = said
    assert "_attn_implementation, attn_implementation" in sentence and "dtype" not in sentence


def test_a_side_file_that_is_a_link_is_not_copied(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "copy").mkdir()
    (folder / "normalizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match="no links"):
        copy_side_files(folder, tmp_path / "copy")
    assert not (tmp_path / "copy" / "normalizer.json").exists()


@pytest.mark.parametrize("inside", [True, False])
def test_the_links_of_the_hubs_cache_lead_to_its_own_files(tmp_path: Path, inside: bool) -> None:
    snapshot, blobs, copy = (
        tmp_path / "models--a--b" / "snapshots" / "1", tmp_path / "models--a--b" / "blobs",
        tmp_path / "copy",
    )  # fmt: skip
    for each in (snapshot, copy):
        each.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0a").write_text("{}")
    if inside:
        elsewhere.rename(blobs)
    else:
        blobs.symlink_to(elsewhere)
    (snapshot / "vocab.json").symlink_to(Path("../../blobs/0a"))
    if inside:
        copy_side_files(snapshot, copy)
        assert (copy / "vocab.json").read_text() == "{}" and not (copy / "vocab.json").is_symlink()
    else:
        with pytest.raises(CheckpointError, match="no links"):
            copy_side_files(snapshot, copy)


def test_a_file_whose_head_fits_is_read(tmp_path: Path) -> None:
    head(entries(("b", [0, 3], 0, 0), ("a", [2], 0, 8)), data=struct.pack("<2f", 1.0, 2.0))(
        tmp_path
    )
    found = read_tensors(tmp_path / WEIGHTS)
    assert found["a"].tolist() == [1.0, 2.0] and found["b"].shape == (0, 3)
