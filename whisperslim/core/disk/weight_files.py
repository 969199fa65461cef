"""The safetensors files that a model folder's weights are in: one, or shards and their index.

    model.safetensors                     all weights; used alone where it is there
    model-00001-of-0000N.safetensors      a shard, as `save_pretrained` splits large models
    model.safetensors.index.json          `weight_map`: tensor -> the shard that holds it

Loads nothing heavy.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from whisperslim.core.disk.untrusted import json_of
from whisperslim.errors import SourceError

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
# Whoever sent the folder wrote its index, too: a name with a slash would lead out of the folder.
_PLAIN_NAME = re.compile(r"\w[\w.-]*\.safetensors")


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


def _weight_map(index: Path) -> dict[str, object]:
    try:
        found = json_of(index.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"{index} cannot be read ({error}); save the model again") from error
    tensors = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(tensors, dict) or not tensors:
        raise SourceError(
            f"{index} has no weight_map of tensors and their files; save the model again with "
            "transformers"
        )
    return tensors
