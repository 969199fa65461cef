"""Weights in several safetensors files with an index, as `save_pretrained` splits large models."""

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperForConditionalGeneration

from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim.core.cost.cost import inspect_model
from whisperslim.core.disk.weight_files import weight_files, weights_bytes
from whisperslim.core.fetch import hub, sources
from whisperslim.core.fetch.sources import resolve, verify
from whisperslim.core.loading import load_model
from whisperslim.core.store.checkpoint import load_dense
from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.errors import CheckpointError, SourceError
from whisperslim.jobs.report.bytes import dense_file
from whisperslim.jobs.run.room import model_parameters
from whisperslim.jobs.scoring.evaluation import evaluate_model

INDEX = "model.safetensors.index.json"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return tiny_model_folder(tmp_path / "whole")


@pytest.fixture
def sharded(whole: Path, tmp_path: Path) -> Path:
    """The model of `whole` as transformers splits it, with the files beside its weights."""
    folder = tmp_path / "sharded"
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("model.safetensors"))
    config = (whole / "config.json").read_text("utf-8")
    stock = WhisperForConditionalGeneration.from_pretrained(whole, dtype=torch.float32)
    stock.save_pretrained(folder, max_shard_size="100KB")
    (folder / "config.json").write_text(config, "utf-8")
    assert len(shards(folder)) > 2 and not (folder / "model.safetensors").exists()
    return folder


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("model-*.safetensors"))


def change_index(folder: Path, tensor: str, file: object) -> None:
    index = json.loads((folder / INDEX).read_text("utf-8"))
    index["weight_map"][tensor] = file
    (folder / INDEX).write_text(json.dumps(index), "utf-8")


def test_shards_load_as_the_same_weights(whole: Path, sharded: Path) -> None:
    one, several = load_dense(whole).state_dict(), load_dense(sharded).state_dict()
    assert one.keys() == several.keys()
    assert all(torch.equal(one[name], several[name]) for name in one)


def test_the_checksum_is_of_every_shard(sharded: Path) -> None:
    together = b"".join(file.read_bytes() for file in shards(sharded))
    found = resolve(str(sharded))
    assert (found.kind, found.path) == ("hf", sharded)
    assert found.weights_sha256 == hashlib.sha256(together).hexdigest()
    for file in shards(sharded):
        before = file.read_bytes()
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert resolve(str(sharded)).weights_sha256 != found.weights_sha256
        file.write_bytes(before)


def test_whatever_counts_the_weights_counts_all_shards(
    whole: Path, sharded: Path, tmp_path: Path
) -> None:
    size = sum(file.stat().st_size for file in shards(sharded))
    assert weights_bytes(sharded) == size
    one, several = inspect_model(str(whole)), inspect_model(str(sharded))
    assert several.parameters == one.parameters and several.bytes_on_disk == size
    assert model_parameters(str(sharded)) == model_parameters(str(whole))
    dense, before = dense_file(str(sharded)), dense_file(str(whole))
    assert dense is not None and before is not None
    assert (dense.bytes, dense.elements) == (size, before.elements)
    record = evaluate_model(
        str(sharded), str(tiny_corpus(tmp_path / "corpus")), limit=1, cache_folder=tmp_path / "c"
    ).to_record()
    assert record["bytes_on_disk"] == size
    assert record["weights_sha256"] == resolve(str(sharded)).weights_sha256


def test_a_sharded_model_can_be_trimmed(sharded: Path, tmp_path: Path) -> None:
    speech = load_model(str(sharded))
    save_trimmed(tmp_path / "trimmed", speech, vocabulary_for(speech, ["hi"]), "hi")
    assert load_model(str(tmp_path / "trimmed")).info.kind == "slim"


def test_one_file_goes_before_shards(whole: Path, sharded: Path) -> None:
    shutil.copy(whole / "model.safetensors", sharded)
    assert weight_files(sharded) == (sharded / "model.safetensors",)
    assert resolve(str(sharded)).weights_sha256 == resolve(str(whole)).weights_sha256


def test_a_missing_shard_is_named(sharded: Path) -> None:
    gone = shards(sharded)[1]
    gone.unlink()
    with pytest.raises(SourceError, match=f"it has no {gone.name}; {INDEX} names it"):
        resolve(str(sharded))
    with pytest.raises(CheckpointError, match=f"{gone.name} is missing or damaged"):
        load_dense(sharded)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize(
    "name",
    ["../whole/model.safetensors", "/etc/model.safetensors", "sub/model.safetensors", "..",
     "..\\model.safetensors", "model.bin", "", 7, None, ["a.safetensors"]],
)  # fmt: skip
def test_an_index_names_files_of_its_own_folder_alone(
    sharded: Path, name: object, outside: bool
) -> None:
    if outside:  # all tensors, so that nothing else can be the reason
        index = json.loads((sharded / INDEX).read_text("utf-8"))
        index["weight_map"] = dict.fromkeys(index["weight_map"], name)
        (sharded / INDEX).write_text(json.dumps(index), "utf-8")
    change_index(sharded, "model.encoder.conv1.weight", name)
    for read in (lambda: resolve(str(sharded)), lambda: load_dense(sharded)):
        with pytest.raises(SourceError, match="accepted are names of safetensors files in the"):
            read()


def test_a_tensor_that_is_not_in_the_shard_the_index_says(sharded: Path) -> None:
    first, second, *_ = shards(sharded)
    tensor = next(iter(load_file(first)))
    change_index(sharded, tensor, second.name)
    with pytest.raises(CheckpointError, match=rf"disagree on 1 tensors \['{tensor}'\]"):
        load_dense(sharded)


def test_a_tensor_that_its_shard_has_lost(sharded: Path) -> None:
    first = shards(sharded)[0]
    tensors = load_file(first)
    lost = sorted(tensors)[0]
    del tensors[lost]
    save_file(tensors, first)
    with pytest.raises(CheckpointError, match=rf"disagree on 1 tensors \['{lost}'\]"):
        load_dense(sharded)


def test_a_tensor_that_neither_index_nor_shards_have(sharded: Path) -> None:
    first = shards(sharded)[0]
    tensors = load_file(first)
    lost = sorted(tensors)[0]
    del tensors[lost]
    save_file(tensors, first)
    index = json.loads((sharded / INDEX).read_text("utf-8"))
    del index["weight_map"][lost]
    (sharded / INDEX).write_text(json.dumps(index), "utf-8")
    with pytest.raises(CheckpointError, match=rf"1 tensors missing \['{lost}'\]"):
        load_dense(sharded)


@pytest.mark.parametrize(
    "content", ["{}", "[]", "null", "{", '{"weight_map": []}', '{"weight_map": {}}', "[" * 99_999]
)
def test_an_index_that_is_none(sharded: Path, content: str) -> None:
    (sharded / INDEX).write_text(content, "utf-8")
    with pytest.raises(SourceError, match="save the model again"):
        resolve(str(sharded))
    assert model_parameters(str(sharded)) is None


def test_the_hub_may_hold_shards(
    sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = ["config.json", "model.fp32-00001-of-00002.safetensors", "pytorch_model.bin"]
    names = [file.name for file in shards(sharded)] + [INDEX, *others]
    sizes = {n: (sharded / n).stat().st_size if (sharded / n).is_file() else 1 for n in names}
    siblings = [SimpleNamespace(rfilename=n, size=sizes[n], lfs=_lfs(sharded / n)) for n in names]
    asked: list[str] = []

    def download(model: str, *, allow_patterns: list[str], **options: object) -> str:
        if options.get("local_files_only"):
            raise hub.LocalEntryNotFoundError("nothing there")
        asked.extend(allow_patterns)
        shutil.copytree(sharded, Path(str(options["local_dir"])), dirs_exist_ok=True)
        return str(options["local_dir"])

    info = SimpleNamespace(sha="c0ffee", siblings=siblings)
    api = SimpleNamespace(model_info=lambda model, **options: info)
    monkeypatch.setattr(hub, "HfApi", lambda: api)
    monkeypatch.setattr(hub, "snapshot_download", download)
    monkeypatch.setattr(sources, "mirror_entry", lambda model: None)
    for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "WHISPERSLIM_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    found = resolve("someone/large", cache=tmp_path / "cache")
    assert {name for name in asked if "safetensors" in name} == {
        INDEX, *(file.name for file in shards(sharded))
    }  # fmt: skip
    assert found.weights_sha256 == verify(found.path) == resolve(str(sharded)).weights_sha256
    shards(found.path)[0].write_bytes(b"cut short")
    with pytest.raises(SourceError, match="when it was fetched"):
        resolve("someone/large", cache=tmp_path / "cache")


def _lfs(file: Path) -> SimpleNamespace | None:
    if not file.name.startswith("model-"):
        return None
    return SimpleNamespace(sha256=hashlib.sha256(file.read_bytes()).hexdigest())
