"""Zeroed weights on disk: one bit says whether an element is there, and only those are stored.

Inside an ordinary safetensors file, a tensor of which enough is zero takes two entries:

    NAME            its non-zero elements in row-major order, shape [n]
    NAME::nonzero   uint8 [ceil(elements / 8)]; element i is bit i % 8, from the least, of byte
                    i // 8

and its shape stands in the file's metadata: "sparse" -> JSON {NAME: shape}. Our own form: of
compressed-tensors' bitmask format only the configuration is left in its releases. The values keep
the tensor's name, so that a reader which knows nothing of this fails on the shape instead of
filling in weights of its own.

Zero is the element all of whose bits are 0. A negative zero is stored like any value, and every
tensor comes back bit for bit.
"""

import json
import math
from collections.abc import Mapping

import numpy as np
import torch

from whisperslim.core.disk.untrusted import json_of
from whisperslim.core.plan.arithmetic import stored_bytes
from whisperslim.errors import CheckpointError

SPARSE_KEY = "sparse"
MASK_SUFFIX = "::nonzero"
# What one more entry and a shape take in the file's header, rounded up.
ENTRY_BYTES = 256
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def encode(
    tensors: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What to store of `tensors` (contiguous, on the CPU), and the metadata to store with it.

    Only tensors that get smaller are changed; without any, the metadata are empty.
    """
    stored: dict[str, torch.Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        present = _bits(tensor) != 0
        if not _worth_it(tensor, int(present.sum())):
            stored[name] = tensor
            continue
        stored[name] = tensor.reshape(-1)[present]
        stored[name + MASK_SUFFIX] = _packed(present)
        shapes[name] = list(tensor.shape)
    return stored, {SPARSE_KEY: json.dumps(shapes)} if shapes else {}


def decode(
    stored: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """The tensors `encode` was given.

    Raises:
        CheckpointError: when mask, values and shape of a tensor do not fit together.
    """
    tensors = dict(stored)
    for name, shape in shapes_in(metadata).items():
        values, mask = tensors.get(name), tensors.pop(name + MASK_SUFFIX, None)
        if values is None or mask is None:
            raise CheckpointError(f"{name} is stored sparse, but its values or its mask is missing")
        tensors[name] = _unpacked(name, values, mask, shape)
    return tensors


def shapes_in(metadata: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Tensors of a file that are stored sparse, with their shapes. Raises `CheckpointError`."""
    try:
        raw = json_of(metadata.get(SPARSE_KEY, "{}").encode())
        shapes = {name: tuple(shape) for name, shape in raw.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"the list of sparse tensors cannot be read: {error}") from error
    if not all(type(n) is int and n >= 0 for shape in shapes.values() for n in shape):
        raise CheckpointError("the list of sparse tensors holds what is no shape")
    return shapes


def whole_shapes(
    entries: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]
) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor `decode` will give, from those of a file's entries.

    Raises:
        CheckpointError: when values or a mask are missing, or a list cannot be read.
    """
    shapes = shapes_in(metadata)
    masks = {name + MASK_SUFFIX for name in shapes}
    gone = sorted((masks | set(shapes)) - set(entries))
    if gone:
        raise CheckpointError(f"tensors are stored sparse, but {gone[:3]} are missing")
    return {name: shapes.get(name, shape) for name, shape in entries.items() if name not in masks}


def _worth_it(tensor: torch.Tensor, present: int) -> bool:
    dense = tensor.numel() * tensor.element_size()
    sparse = stored_bytes(tensor.numel(), tensor.numel() - present, tensor.element_size())
    return sparse + ENTRY_BYTES < dense


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Flat view of the elements as whole numbers: -0.0 is not 0, and a NaN equals itself."""
    return tensor.reshape(-1).view(_BITS[tensor.element_size()])


def _packed(present: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.packbits(present.numpy(), bitorder="little"))


def _unpacked(
    name: str, values: torch.Tensor, mask: torch.Tensor, shape: tuple[int, ...]
) -> torch.Tensor:
    count = math.prod(shape)
    if mask.dtype != torch.uint8 or mask.shape != (-(-count // 8),) or values.dim() != 1:
        raise CheckpointError(
            f"{name} of shape {shape} needs a mask of {-(-count // 8)} bytes and a list of values; "
            f"found {mask.dtype} {tuple(mask.shape)} and {tuple(values.shape)}"
        )
    bits = np.unpackbits(mask.numpy(), bitorder="little")
    present = torch.from_numpy(bits[:count].astype(bool))
    if int(bits.sum()) != len(values) or bits[count:].any() or not bool(_bits(values).all()):
        raise CheckpointError(
            f"the mask of {name} speaks of {int(bits.sum())} non-zero elements, stored are "
            f"{int(torch.count_nonzero(_bits(values)))} in {len(values)}; it is damaged"
        )
    tensor = torch.zeros(count, dtype=values.dtype)
    _bits(tensor)[present] = _bits(values)
    return tensor.reshape(shape)
