"""A slim model on disk, and the only strict way back.

Stock `from_pretrained` cannot load a cut model, and with `ignore_mismatched_sizes` it silently
fills in random weights. Here the dense skeleton is built without memory, given the recorded
shapes, and every tensor is assigned by name; anything missing, extra or of another shape is an
error.

    config.json           the dense model's configuration; of the vocabulary, what is left
    slim.json             format, unit counts, plan, provenance
    model.safetensors     the cut weights; what is mostly zeros as `sparse` has it
    tokenizer, preprocessor and generation files as in any Hugging Face folder
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.disk.files import renamed_into_place
from whisperslim.core.disk.untrusted import MOST_JSON_BYTES, read_plain, typed
from whisperslim.core.disk.weight_files import INDEX, read_head, sharded_tensors, weight_files
from whisperslim.core.disk.weight_files import WEIGHTS as WEIGHTS_FILE
from whisperslim.core.families import Family, family_named, family_of
from whisperslim.core.families.configuration import CONFIG_FILE, read_configuration
from whisperslim.core.store.record import (
    FORMAT,
    SLIM_FILE,
    SlimRecord,
    VocabularyFacts,
    check_vocabulary,
    describe_cut,
    read_record,
)
from whisperslim.core.store.sparse import decode, encode, whole_shapes
from whisperslim.core.surgery.shrink import resize
from whisperslim.errors import CheckpointError, PlanError, UsageError

__all__ = [
    "EXPORT_DTYPES",
    "FORMAT",
    "SLIM_FILE",
    "VOCABULARY_FILE",
    "WEIGHTS_FILE",
    "SlimRecord",
    "VocabularyFacts",
    "assign_weights",
    "copy_side_files",
    "count_parameters",
    "dense_skeleton",
    "describe_cut",
    "empty_model",
    "family_in",
    "load_dense",
    "load_slim",
    "read_record",
    "read_shapes",
    "read_tensors",
    "read_weights",
    "save_dense",
    "save_slim",
    "skeleton",
    "write_tensors",
]

EXPORT_DTYPES = {"float16": torch.float16, "float32": torch.float32}
VOCABULARY_FILE = "vocabulary.json"
_SIDE_FILES = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "normalizer.json",
    "added_tokens.json", "special_tokens_map.json", "preprocessor_config.json",
    "generation_config.json", VOCABULARY_FILE,
)  # fmt: skip


def count_parameters(model: nn.Module) -> int:
    """Elements of all parameters; the tied output projection is counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def save_slim(
    folder: Path,
    model: PreTrainedModel,
    record: SlimRecord,
    *,
    side_files: Path,
    dtype: torch.dtype = torch.float32,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write a slim folder beside its place and rename it there.

    Args:
        folder: Where it goes; replaced as a whole when it exists.
        model: The cut model.
        record: Its shapes and provenance.
        side_files: A model folder to copy tokenizer and preprocessor files from.
        dtype: Precision on disk; float16 halves the file and rounds the weights.
        extra: File name -> text, stored along (recipe, plan).

    Raises:
        CheckpointError: when the disk refuses; a folder that was there is untouched.
    """
    with _written_whole(folder) as temporary:
        _write_weights(temporary, model, dtype, sparse=True)
        model.config.to_json_file(temporary / "config.json", use_diff=False)
        (temporary / SLIM_FILE).write_text(json.dumps(asdict(record), indent=1), "utf-8")
        copy_side_files(side_files, temporary)
        for name, text in (extra or {}).items():
            (temporary / name).write_text(text, "utf-8")


def save_dense(
    folder: Path,
    model: PreTrainedModel,
    *,
    side_files: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write an uncut model as an ordinary Hugging Face folder; raises as `save_slim` does."""
    with _written_whole(folder) as temporary:
        _write_weights(temporary, model, dtype)
        model.config.to_json_file(temporary / "config.json", use_diff=False)
        copy_side_files(side_files, temporary)


def load_slim(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Rebuild a slim model exactly.

    Raises:
        CheckpointError: for a missing file, another format, or any tensor that does not fit.
    """
    model = _slim_skeleton(folder)
    assign_weights(model, folder, dtype)
    return model


def load_dense(folder: Path, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load an ordinary Hugging Face folder, as strictly as a slim one."""
    model = empty_model(folder)
    assign_weights(model, folder, dtype)
    return model


def skeleton(folder: Path) -> PreTrainedModel:
    """The shapes of a model folder, cut or whole, on the meta device: no weight is read.

    Raises:
        CheckpointError: as `load_slim` does of what is not the weights.
    """
    return _slim_skeleton(folder) if (folder / SLIM_FILE).is_file() else empty_model(folder)


def dense_skeleton(folder: Path) -> PreTrainedModel:
    """The dense model of a folder on the meta device: before any cut, with all of its tokens.

    Raises:
        CheckpointError: as `load_slim` does of what is not the weights.
    """
    facts = read_record(folder).vocabulary if (folder / SLIM_FILE).is_file() else None
    return empty_model(folder, facts.dense_size if facts else None)


def family_in(folder: Path) -> Family:
    """The family of the model in a folder, by its `config.json`.

    Raises:
        CheckpointError: the file is missing or damaged, or models of its type are not supported.
    """
    try:
        return family_named(typed(read_configuration(folder)["model_type"], str))
    except UsageError as error:
        raise CheckpointError(f"{folder} cannot be used: {error}") from error
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder / CONFIG_FILE} is not a usable configuration: {error}"
        ) from error


def empty_model(folder: Path, tokens: int | None = None) -> PreTrainedModel:
    """The architecture of `config.json` on the meta device: shapes without weights.

    `tokens` stands in for the vocabulary size of the configuration. Raises `CheckpointError`.
    """
    return family_in(folder).skeleton(folder, tokens)


def assign_weights(model: PreTrainedModel, folder: Path, dtype: torch.dtype) -> None:
    """Give `model` the weights of `folder`; every parameter must be there with its exact shape."""
    older = family_of(model).older_names
    file = folder / (INDEX if sharded_tensors(folder) else WEIGHTS_FILE)
    tied = family_of(model).tied
    expected = {name: p for name, p in model.named_parameters() if name not in tied}
    buffers = stored_buffers(model)
    # By the heads of the files, before anything is taken into memory.
    wanted = {name: tuple(each.shape) for name, each in (expected | buffers).items()}
    found = {older.get(name, name): each for name, each in read_shapes(folder).items()}
    optional = {name: wanted[source] for name, source in tied.items() if name in found}
    _check_names(wanted | optional, found, file)
    tensors = {older.get(name, name): each for name, each in read_weights(folder).items()}
    copies = {name: tensors.pop(name) for name in tied if name in tensors}
    trainable = {name: parameter.requires_grad for name, parameter in expected.items()}
    tensors = {
        name: tensor if name in buffers else tensor.to(dtype).contiguous()
        for name, tensor in tensors.items()
    }
    for name, copy in copies.items():
        if not torch.equal(copy.to(dtype), tensors[tied[name]]):
            raise CheckpointError(f"{file}: {name} is not {tied[name]}; it must be the same")
    tensors |= {name: tensors[source] for name, source in tied.items()}
    model.load_state_dict(tensors, strict=True, assign=True)
    model.tie_weights()
    _fill_buffers(model)
    for name, trains in trainable.items():
        model.get_parameter(name).requires_grad_(trains)
    model.eval()


def _fill_buffers(model: PreTrainedModel) -> None:
    """Buffers that no file holds, such as tables of positions, as transformers computes them."""
    for module in model.modules():
        lost = [name for name, each in module.named_buffers(recurse=False) if each.is_meta]
        for name in lost:
            setattr(module, name, torch.empty_like(getattr(module, name), device="cpu"))
        if lost:
            model._init_weights(module)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model folder, of its one file or of the shards that its index names.

    Raises:
        SourceError: the index is not one.
        CheckpointError: a file is missing or damaged, or holds other tensors than the index says.
    """
    listed, tensors = sharded_tensors(folder), dict[str, torch.Tensor]()
    for file in weight_files(folder):
        found = read_tensors(file)
        _check_listed(file, found, listed)
        tensors |= found
    return tensors


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors of a model folder, sparse ones whole, by the heads of its files.

    Raises as `read_weights`, of what the heads say.
    """
    listed, shapes = sharded_tensors(folder), dict[str, tuple[int, ...]]()
    for file in weight_files(folder):
        try:
            head = read_head(file)
            found = whole_shapes(head.shapes, head.metadata)
        except (OSError, ValueError, CheckpointError) as error:
            raise _damaged(file, error) from error
        _check_listed(file, found, listed)
        shapes |= found
    return shapes


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file, sparse ones whole. Raises `CheckpointError` when it is damaged."""
    try:
        head = read_head(file)
        return decode(load_file(file), head.metadata)
    except (OSError, ValueError, SafetensorError, CheckpointError) as error:
        raise _damaged(file, error) from error


def write_tensors(
    file: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file that is as readable as any new file of this user."""
    file.touch()
    mode = file.stat().st_mode  # what the umask grants; safetensors itself leaves 0600
    save_file(dict(tensors), file, metadata=dict(metadata))
    file.chmod(mode)


def copy_side_files(source: Path, folder: Path) -> None:
    """Copy tokenizer, preprocessor and generation files that `source` has.

    No link is followed, since what is copied may be given away, and a link can lead to anything.
    The folders of the hub library's cache are links to its own files, which are copied.

    Raises:
        CheckpointError: one is a link, no plain file, or longer than any.
        OSError: the disk refuses.
    """
    for name in _SIDE_FILES:
        file = source / name
        if not os.path.lexists(file):
            continue
        stored = file.resolve() if _is_of_hub_cache(file) else file
        try:
            content = read_plain(stored, MOST_JSON_BYTES)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{file} cannot be copied ({error}); accepted are plain files of up to "
                f"{MOST_JSON_BYTES // 1_000_000} MB, no links: put the file itself there"
            ) from error
        (folder / name).write_bytes(content)


def stored_buffers(model: nn.Module) -> dict[str, torch.Tensor]:
    """Buffers that belong into a file, in their own number format: a variance of float32 need not
    fit into float16."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {name: each for name, each in model.state_dict().items() if name not in parameters}


def _is_of_hub_cache(file: Path) -> bool:
    """Whether a link leads from `models--NAME/snapshots/COMMIT` to `models--NAME/blobs`."""
    snapshot = file.parent.resolve()
    if not file.is_symlink() or snapshot.parent.name != "snapshots":
        return False
    return file.resolve().parent == snapshot.parent.parent / "blobs"


def _slim_skeleton(folder: Path) -> PreTrainedModel:
    record = read_record(folder)
    model = empty_model(folder)
    check_vocabulary(folder, record, int(model.config.vocab_size))
    try:
        resize(model, record.counts, record.head_widths, record.ranks, record.opened)
    except (PlanError, TypeError) as error:
        raise CheckpointError(f"{folder / SLIM_FILE} does not fit its config: {error}") from error
    return model


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    try:
        with renamed_into_place(folder) as temporary:
            yield temporary
    except (OSError, SafetensorError) as error:
        # safetensors reports a full disk as an error of its own.
        raise CheckpointError(
            f"{folder} could not be written: {error}. Make room, or make the folder writable, and "
            "do this again"
        ) from error


def _write_weights(
    folder: Path, model: nn.Module, dtype: torch.dtype, sparse: bool = False
) -> None:
    tied = family_of(model).tied
    tensors = {
        name: parameter.detach().to("cpu", dtype).contiguous()
        for name, parameter in model.named_parameters()
        if name not in tied
    }
    tensors, shapes = encode(tensors) if sparse else (tensors, {})
    tensors |= {name: buffer.cpu().contiguous() for name, buffer in stored_buffers(model).items()}
    # One entry at most: several are written in an order that differs from file to file, and equal
    # runs are to give equal bytes.
    write_tensors(folder / WEIGHTS_FILE, tensors, shapes or {"format": "pt"})


def _check_listed(
    file: Path, found: Mapping[str, object], listed: Mapping[str, frozenset[str]]
) -> None:
    other = sorted(set(found) ^ listed[file.name]) if listed else []
    if other:
        raise CheckpointError(
            f"{file} and {INDEX} disagree on {len(other)} tensors {other[:3]}: the index lists "
            "what the file has not, or the other way round; fetch or save the model again"
        )


def _damaged(file: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{file} is missing or damaged ({error}); fetch or make it again")


def _check_names(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]], file: Path
) -> None:
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    shapes = [
        f"{name} is {found[name]}, should be {expected[name]}"
        for name in sorted(set(expected) & set(found))
        if found[name] != expected[name]
    ]
    if missing or extra or shapes:
        raise CheckpointError(
            f"{file} does not fit its model: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(extra)} unknown {extra[:3]}, {len(shapes)} of another shape {shapes[:3]}"
        )
