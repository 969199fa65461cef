"""Folders that are incomplete, damaged or of another kind are errors, never random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.support.tiny_job import Workshop
from whisperslim.core.families.whisper.tokens import load_tokens
from whisperslim.core.store.checkpoint import (
    load_dense,
    load_slim,
    read_record,
    read_tensors,
)
from whisperslim.errors import CheckpointError


def retensor(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = read_tensors(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return apply


def rejson(name: str, **changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        record = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**record, **changes}))

    return apply


def recount(key: str, count: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        counts = {**read_record(folder).counts, key: count}
        rejson("slim.json", counts=counts)(folder)

    return apply


def rewrite(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def truncate(folder: Path, kept: float = 0.6) -> None:
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])


FC1 = "model.encoder.layers.0.fc1.weight"
HEAD = "proj_out.weight"
DAMAGE = {
    "a tensor missing": (retensor(lambda t: t.pop(FC1)), r"1 tensors missing.*fc1"),
    "a tensor too many": (retensor(lambda t: t.update(x=torch.ones(1))), r"1 unknown \['x'\]"),
    "a tensor renamed": (retensor(lambda t: t.update(y=t.pop(FC1))), "1 tens.*missing.*1 unk"),
    "another shape": (retensor(lambda t: t.update({FC1: t[FC1][:-1].clone()})), "of another shape"),
    "one turned": (retensor(lambda t: t.update({FC1: t[FC1].T.contiguous()})), "another shape"),
    "a head of its own": (retensor(lambda t: t.update({HEAD: torch.ones(266, 32)})), "proj_out"),
    "weights cut short": (truncate, "damaged"),
    "weights cut in the header": (lambda folder: truncate(folder, 0.001), "damaged"),
    "weights empty": (rewrite("model.safetensors", b""), "damaged"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "missing or damaged"),
    "another format": (rejson("slim.json", format=2), "slim format 2; this version reads format 1"),
    "a later format": (rejson("slim.json", format=2, novelty=1), "slim format 2"),
    "an unknown field": (rejson("slim.json", novelty=1), "novelty"),
    "no record": (lambda folder: (folder / "slim.json").unlink(), "cannot be read"),
    "half a record": (rewrite("slim.json", b'{"base": "x"'), "cannot be read"),
    "a record that is a list": (rewrite("slim.json", b"[]"), "cannot be read"),
    "a unit too many": (recount("encoder.0.ffn", 49), "does not fit its config"),
    "another count": (recount("encoder.0.ffn", 1), "of another shape"),
    "no unit": (recount("encoder.0.ffn", 0), "does not fit its model"),
    "a count in words": (recount("encoder.0.ffn", "ten"), "cannot be read: there is str"),
    "an unknown group": (recount("encoder.9.ffn", 3), "encoder.9.ffn"),
    "another type": (rejson("config.json", model_type="bert"), "'bert' are not supported"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "config.json"),
    "half a config": (rewrite("config.json", b"{"), "config.json"),
    "a config that is a list": (rewrite("config.json", b"[]"), "config.json"),
    "another width": (rejson("config.json", d_model=64), "of another shape"),
    "a width in words": (rejson("config.json", d_model="wide"), "config.json"),
    "heads that do not divide": (rejson("config.json", decoder_attention_heads=5), "config.json"),
    "a layer more": (rejson("config.json", encoder_layers=3), "encoder.2"),
    "an untied head": (rejson("config.json", tie_word_embeddings=False), "tie_word_embeddings"),
    "broken generation": (rewrite("generation_config.json", b"{"), "generation_config.json"),
    "a list for generation": (rewrite("generation_config.json", b"[]"), "generation_config.json"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_an_error_that_says_what(folder: Path, what: str) -> None:
    damage, message = DAMAGE[what]
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        load_slim(folder)


@pytest.mark.parametrize(
    "what",
    ["a tensor missing", "a tensor too many", "another shape", "weights cut short", "another type"],
)
def test_a_dense_folder_is_read_as_strictly(shop: Workshop, tmp_path: Path, what: str) -> None:
    shutil.copytree(shop.model, tmp_path / "dense")
    damage, message = DAMAGE[what]
    damage(tmp_path / "dense")
    with pytest.raises(CheckpointError, match=message):
        load_dense(tmp_path / "dense")


def test_a_cut_model_is_not_taken_for_a_dense_one(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="of another shape"):
        load_dense(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        lambda folder: [
            path.write_text(path.read_text().replace("<|transcribe|>", "<|nothing|>"))
            for path in (folder / "tokenizer.json",)
        ],
    ],
    ids=["broken", "no control token"],
)
def test_a_tokenizer_that_cannot_serve_is_refused(folder: Path, damage) -> None:
    damage(folder)
    with pytest.raises(CheckpointError, match=r"tokenizer( in|\.json)"):
        load_tokens(folder)
