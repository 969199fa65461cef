"""Nested states on disk, as `torch.save` writes them: read without running code, and within bounds.

A few bytes can claim to be gigabytes: an entry packed by compression, a tensor whose elements are
all the same one, or a list that holds another many times, which holds another many times. None of
it is in what we write.
"""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from whisperslim.errors import CheckpointError, shortage_of

_MOST_PER_WEIGHTS = 16
"""Bytes of a state for each byte of weights: the optimizer's two moments, an average, masks."""
_ALWAYS = 64_000_000
# Our choice. All but the tensors' numbers: in ours, some 100 bytes for each tensor, and counts.
# Each byte can be a list of 64 in memory.
_PICKLED, _MOST_PICKLED = "/data.pkl", 16_000_000
_FAULTS = (
    OSError, RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError,
    pickle.UnpicklingError, zipfile.BadZipFile, NotImplementedError, ArithmeticError,
)  # fmt: skip


def read_state(path: Path, weights_bytes: int, device: torch.device | str) -> dict[str, Any]:
    """The mapping that `torch.save` wrote to `path`, of tensors, numbers, texts and containers.

    Args:
        path: The file.
        weights_bytes: Size of the weights that it belongs to, which bounds its own.
        device: Where the tensors go.

    Raises:
        CheckpointError: it is missing, damaged, or not what we write.
        MemoryShortageError: there is no memory for it.
    """
    try:
        _check_file(path, _MOST_PER_WEIGHTS * weights_bytes + _ALWAYS)
        # Plain tensors and containers only: nothing in it can run code.
        state = torch.load(path, weights_only=True, map_location=device)
        if not isinstance(state, dict):
            raise ValueError("it holds no mapping")
        for tensor in _tensors(state):
            _check_tensor(tensor)
    except _FAULTS as error:
        if shortage := shortage_of(error):
            raise shortage from error
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return state


def _check_file(path: Path, most: int) -> None:
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"it has {size} bytes, and with these weights up to {most} are expected")
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size:
                raise ValueError(f"its part {entry.filename!r} is packed, or longer than the file")
            if entry.filename.endswith(_PICKLED) and entry.file_size > _MOST_PICKLED:
                raise ValueError(f"beside its tensors it has over {_MOST_PICKLED} bytes")


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    left, seen = [state], set[int]()
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))  # what is held many times is looked at once
            left.extend(value.values() if isinstance(value, Mapping) else value)


def _check_tensor(tensor: torch.Tensor) -> None:
    stored = tensor.layout is torch.strided and tensor.device.type != "meta"
    if not stored or tensor.nbytes > tensor.untyped_storage().nbytes():
        raise ValueError(f"a tensor of {tensor.numel()} elements is not stored one by one")
