"""The safetensors files that a model folder's weights are in: one, or shards and their index.

    model.safetensors                     all weights; used alone where it is there
    model-00001-of-0000N.safetensors      a shard, as `save_pretrained` splits large models
    model.safetensors.index.json          `weight_map`: tensor -> the shard that holds it

Loads nothing heavy.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisperslim.core.disk.untrusted import json_of, open_plain, read_json, typed
from whisperslim.errors import SourceError

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
# Whoever sent the folder wrote its index, too: a name with a slash would lead out of the folder.
_PLAIN_NAME = re.compile(r"\w[\w.-]*\.safetensors")
# Our choice. The largest Whisper has 1,260 tensors; each is about eight values of the head.
_MOST_HEAD_BYTES, _MOST_HEAD_VALUES = 16_000_000, 400_000
_MOST_INDEX_BYTES, _MOST_INDEX_VALUES = 16_000_000, 200_000
_MOST_AXES = 8
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
BYTES_EACH = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
"""Number format, as the head of a file has it -> bytes of an element."""


@dataclass(frozen=True)
class Head:
    """What a safetensors file says of itself before its numbers.

    Attributes:
        shapes: Tensor -> its shape.
        formats: Tensor -> its number format, one of `BYTES_EACH`.
        metadata: Texts that were stored along.
    """

    shapes: Mapping[str, tuple[int, ...]]
    formats: Mapping[str, str]
    metadata: Mapping[str, str]


def read_head(file: Path) -> Head:
    """The head of a safetensors file, checked against its length.

    The library trusts what a file says of the length of its head and the number of its tensors: a
    million empty ones took 37 s and 1.9 GB.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: the head is longer than any of a model, is not one, or describes other bytes
            than those that follow, each of which belongs to one tensor.
    """
    # A model of the hub library's cache is links.
    with open_plain(file.resolve()) as opened:
        size = opened.seek(0, 2)
        opened.seek(0)
        length = int.from_bytes(opened.read(_LENGTH_BYTES), "little")
        follow = size - _LENGTH_BYTES - length
        if follow < 0 or length > _MOST_HEAD_BYTES:
            raise ValueError(
                f"its head is said to have {length} bytes; accepted are {_MOST_HEAD_BYTES}, and "
                f"the file has {size}"
            )
        found = typed(json_of(opened.read(length), _MOST_HEAD_VALUES), dict)
    metadata = typed(found.pop(_METADATA, {}), dict)
    parts = {name: _part(name, entry) for name, entry in found.items()}
    _check_cover([each[2:] for each in parts.values()], follow)
    return Head(
        {name: each[0] for name, each in parts.items()},
        {name: each[1] for name, each in parts.items()},
        {typed(key, str): typed(text, str) for key, text in metadata.items()},
    )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The weights of a folder, in the order of their names.

    `model.safetensors` when there is neither that nor an index. Files may be missing.

    Raises:
        SourceError: the index cannot be read, or names something else than files beside it.
    """
    shards = sharded_tensors(folder)
    return tuple(sorted(folder / name for name in shards)) or (folder / WEIGHTS,)


def sharded_tensors(folder: Path) -> Mapping[str, frozenset[str]]:
    """Shard -> the tensors that the index says it holds; empty where the weights are one file.

    Raises as `weight_files`.
    """
    index = folder / INDEX
    if (folder / WEIGHTS).is_file() or not index.is_file():
        return {}
    shards: dict[str, set[str]] = {}
    for tensor, name in _weight_map(index).items():
        if not isinstance(name, str) or not _PLAIN_NAME.fullmatch(name):
            raise SourceError(
                f"{index} says that {tensor} is in {name!r}; accepted are names of safetensors "
                "files in the same folder. Save the model again with transformers"
            )
        shards.setdefault(name, set()).add(tensor)
    return {name: frozenset(tensors) for name, tensors in shards.items()}


def weights_bytes(folder: Path) -> int:
    """Length of all weight files together. Raises as `weight_files`, and `OSError`."""
    return sum(file.stat().st_size for file in weight_files(folder))


def _part(name: str, entry: Any) -> tuple[tuple[int, ...], str, int, int]:
    """Shape, number format, and the first byte of a tensor and the one after its last."""
    try:
        shape = tuple(typed(length, int) for length in typed(entry["shape"], list))
        begin, end = (typed(place, int) for place in typed(entry["data_offsets"], list))
        form, elements = typed(entry["dtype"], str), math.prod(shape)
        if len(shape) > _MOST_AXES or min((begin, *shape)) < 0 or form not in BYTES_EACH:
            raise ValueError("its shape or number format is not valid")
        if end - begin != elements * BYTES_EACH[form]:
            raise ValueError(f"{end - begin} bytes are said to be {elements} elements of {form}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the entry of {name[:80]!r} cannot be read: {error}") from error
    return shape, form, begin, end


def _check_cover(spans: list[tuple[int, int]], size: int) -> None:
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise ValueError(f"bytes from {min(begin, at)} on belong to two tensors, or to none")
        at = end
    if at != size:
        raise ValueError(f"its tensors take {at} bytes, and {size} follow its head")


def _weight_map(index: Path) -> dict[str, object]:
    try:
        found = read_json(index.resolve(), most=_MOST_INDEX_BYTES, values=_MOST_INDEX_VALUES)
    except (OSError, ValueError) as error:
        raise SourceError(f"{index} cannot be read ({error}); save the model again") from error
    tensors = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(tensors, dict) or not tensors:
        raise SourceError(
            f"{index} has no weight_map of tensors and their files; save the model again with "
            "transformers"
        )
    return tensors
