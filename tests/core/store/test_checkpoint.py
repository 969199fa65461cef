"""Slim folders: what comes back is what was saved, whole or not at all."""

import errno
import json
import resource
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from tests.support.tiny import tiny_model
from tests.support.tiny_job import Workshop, logits, one_batch, parameters, slimmed
from whisperslim.core.disk.files import renamed_into_place, write_text_atomically
from whisperslim.core.families.whisper.tokens import load_tokens
from whisperslim.core.store.checkpoint import (
    assign_weights,
    load_dense,
    load_slim,
    read_record,
    read_tensors,
    save_dense,
    save_slim,
    skeleton,
)
from whisperslim.errors import CheckpointError, UsageError


def test_what_is_loaded_is_what_was_saved(shop: Workshop, folder: Path) -> None:
    speech, record = slimmed(shop)
    again = replace(speech, model=load_slim(folder))
    first, second = parameters(speech.model), parameters(again.model)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    batch = one_batch(shop)
    assert torch.equal(logits(speech, batch), logits(again, batch))
    assert read_record(folder) == record
    assert again.groups() == speech.groups()


def test_a_loaded_model_is_in_evaluation_mode_tied_and_whole(folder: Path) -> None:
    model = load_slim(folder)
    assert not model.training
    assert model.proj_out.weight is model.model.decoder.embed_tokens.weight
    assert all(p.device.type == "cpu" for p in model.parameters())
    assert not list(b for b in model.buffers() if b.is_meta)
    dense = tiny_model()
    expected = {n for n, p in dense.named_parameters() if p.requires_grad}
    assert {n for n, p in model.named_parameters() if p.requires_grad} == expected


def test_the_head_keeps_being_the_embedding_when_trained(folder: Path) -> None:
    model = load_slim(folder)
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight.add_(1.0)
    assert torch.equal(model.proj_out.weight, model.model.decoder.embed_tokens.weight)


def test_statistics_of_a_norm_are_saved_as_they_are(shop: Workshop, tmp_path: Path) -> None:
    """Buffers keep their number format: a variance beyond float16 survives a float16 folder."""
    speech, record = slimmed(shop)
    norm = speech.model.model.encoder.norm = torch.nn.BatchNorm1d(3)
    norm.running_var.copy_(torch.tensor([1e-9, 1.0, 1e9]))
    norm.running_mean.copy_(torch.tensor([1.0, 1 / 3, -7.0]))
    save_slim(tmp_path / "s", speech.model, record, side_files=shop.model, dtype=torch.float16)
    again = skeleton(tmp_path / "s")
    with pytest.raises(CheckpointError, match="5 unknown"):
        load_slim(tmp_path / "s")
    with torch.device("meta"):
        again.model.encoder.norm = torch.nn.BatchNorm1d(3)
    assign_weights(again, tmp_path / "s", torch.float32)
    found = dict(again.model.encoder.norm.named_buffers())
    assert all(torch.equal(found[name], buffer) for name, buffer in norm.named_buffers())
    assert found["running_var"].dtype == torch.float32


def test_half_precision_equals_casting_by_hand(shop: Workshop, tmp_path: Path) -> None:
    speech, record = slimmed(shop)
    save_slim(tmp_path / "s", speech.model, record, side_files=shop.model, dtype=torch.float16)
    rounded = {name: p.half().float() for name, p in parameters(speech.model).items()}
    again = load_slim(tmp_path / "s")
    assert all(torch.equal(p, rounded[name]) for name, p in parameters(again).items())
    by_hand = replace(speech, model=deepcopy(speech.model))
    by_hand.model.half().float()
    batch = one_batch(shop)
    assert torch.equal(logits(replace(speech, model=again), batch), logits(by_hand, batch))
    stored = read_tensors(tmp_path / "s" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert load_slim(tmp_path / "s", torch.float16).dtype == torch.float16


def test_a_dense_folder_is_one_transformers_can_load(shop: Workshop, tmp_path: Path) -> None:
    speech = shop.student()
    save_dense(tmp_path / "dense", speech.model, side_files=shop.model)
    stock = WhisperForConditionalGeneration.from_pretrained(tmp_path / "dense")
    ours = parameters(load_dense(tmp_path / "dense"))
    assert all(torch.equal(p, ours[name]) for name, p in stock.named_parameters())
    assert load_tokens(tmp_path / "dense").prompt("hi") == speech.tokens.prompt("hi")


def test_a_folder_transformers_wrote_is_one_we_can_load(shop: Workshop, tmp_path: Path) -> None:
    tiny_model(seed=4).save_pretrained(tmp_path / "stock")
    ours, theirs = parameters(load_dense(tmp_path / "stock")), parameters(tiny_model(seed=4))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_extra_files_and_tokenizer_travel_along(shop: Workshop, tmp_path: Path) -> None:
    speech, record = slimmed(shop)
    extra = {"recipe.yaml": "name: x\n"}
    save_slim(tmp_path / "s", speech.model, record, side_files=shop.model, extra=extra)
    assert (tmp_path / "s" / "recipe.yaml").read_text() == "name: x\n"
    tokens = load_tokens(tmp_path / "s")
    assert tokens.decode(tokens.encode("नमस्ते")) == "नमस्ते"


def test_an_unknown_language_is_refused(shop: Workshop) -> None:
    with pytest.raises(UsageError, match="'xx'"):
        shop.student().tokens.prompt("xx")


def test_a_failed_save_leaves_the_old_folder_and_no_litter(
    shop: Workshop, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    speech, record = slimmed(shop)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("whisperslim.core.store.checkpoint.save_file", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_slim(folder, speech.model, record, side_files=shop.model)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.fixture
def small_files() -> object:
    """The kernel refuses files over 20 kB, as a full disk would: safetensors has its own error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_refuses_is_said_so(
    shop: Workshop, tmp_path: Path, small_files: object
) -> None:
    speech, record = slimmed(shop)
    with pytest.raises(CheckpointError, match=r"could not be written.*[Mm]ake room"):
        save_slim(tmp_path / "slim", speech.model, record, side_files=shop.model)
    with pytest.raises(CheckpointError, match=r"could not be written.*[Mm]ake room"):
        save_dense(tmp_path / "dense", shop.student().model, side_files=shop.model)
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(KeyError), renamed_into_place(tmp_path / "new") as temporary:
        (temporary / "file").write_text("x")
        assert not (tmp_path / "new").exists()
        raise KeyError
    assert not list(tmp_path.iterdir())
    with renamed_into_place(tmp_path / "new") as temporary:
        (temporary / "file").write_text("x")
    with renamed_into_place(tmp_path / "new") as temporary:
        (temporary / "other").write_text("y")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["other"]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert (tmp_path / "new").stat().st_mode == tmp_path.stat().st_mode


def test_a_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "plan.json"
    write_text_atomically(path, "first")
    write_text_atomically(path, "द्वितीय")
    assert path.read_text("utf-8") == "द्वितीय"
    assert [p.name for p in path.parent.iterdir()] == ["plan.json"]


def test_a_record_is_plain_values(shop: Workshop) -> None:
    speech, record = slimmed(shop)
    assert json.loads(json.dumps(asdict(record))) == asdict(record)
    assert record.counts == {g.key: g.count for g in speech.groups()}
    assert record.dense_counts == {g.key: g.count for g in shop.student().groups()}
    assert record.dense_parameters == sum(p.numel() for p in tiny_model().parameters())
