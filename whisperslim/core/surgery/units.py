"""Which units hold how many elements that are exactly zero."""

from collections.abc import Mapping, Sequence

import torch

from whisperslim.core.families.base import Slice, UnitGroup


def zeros_per_unit(
    tensors: Mapping[str, torch.Tensor], groups: Sequence[UnitGroup]
) -> dict[str, tuple[int, ...]]:
    """Group key -> zeros in each unit's prunable weights.

    Every prunable element belongs to one unit, so the sum over the units that stay is what a cut
    leaves of the zeros.

    Args:
        tensors: Parameters by name.
        groups: Of the model they are of, with their slices.
    """
    found = {}
    for group in groups:
        parts = [part for part in group.slices if part.parameter.endswith(".weight")]
        counts = sum(_of_part(tensors[part.parameter], part) for part in parts)
        found[group.key] = tuple(int(count) for count in torch.as_tensor(counts).tolist())
    return found


def _of_part(weight: torch.Tensor, part: Slice) -> torch.Tensor:
    others = [dim for dim in range(weight.dim()) if dim != part.dim]
    return (weight == 0).sum(dim=others).reshape(-1, part.block).sum(dim=1)
