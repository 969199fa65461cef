"""Unit arithmetic: which elements of a tensor belong to which unit. Changes no model."""

import math
from collections.abc import Mapping, Sequence

import torch

from whisperslim.core.families.base import Slice, UnitSite


def as_units(tensor: torch.Tensor, part: Slice) -> torch.Tensor:
    """View a contiguous tensor as `(before, units, block, after)`, repeats in the first axis."""
    before = math.prod(tensor.shape[: part.dim]) * part.repeats
    after = math.prod(tensor.shape[part.dim + 1 :])
    return tensor.view(before, -1, part.block, after)


def unit_elements(part: Slice, units: Sequence[int], length: int) -> torch.Tensor:
    """Indices along `part.dim`, `length` long, of all that `units` own, ascending as they are."""
    repeats = torch.arange(part.repeats) * (length // part.repeats)
    starts = torch.tensor(list(units), dtype=torch.long) * part.block
    return (repeats[:, None, None] + starts[:, None] + torch.arange(part.block)).flatten()


def kept_of(tensor: torch.Tensor, part: Slice, units: Sequence[int]) -> torch.Tensor:
    """What of `tensor` stays when `units` do; a new tensor without gradient."""
    index = unit_elements(part, units, tensor.shape[part.dim])
    return tensor.detach().index_select(part.dim, index.to(tensor.device)).contiguous()


def matrices(sites: Sequence[UnitSite]) -> list[tuple[UnitSite, Slice]]:
    """Every prunable matrix, with the site whose units own it."""
    return [(site, part) for site in sites for part in site.slices if part.prunable]


def zeros_per_unit(
    tensors: Mapping[str, torch.Tensor], sites: Sequence[UnitSite]
) -> dict[str, tuple[int, ...]]:
    """Group key -> elements that are exactly zero in each unit's prunable weights.

    Every prunable element belongs to one unit, so the sum over the units that stay is what a cut
    leaves of the zeros.

    Args:
        tensors: Parameters by name.
        sites: Of the model they are of.
    """
    found = {site.key: torch.zeros(site.count, dtype=torch.long) for site in sites}
    for site, part in matrices(sites):
        zero = tensors[part.parameter] == 0
        found[site.key] += as_units(zero, part).sum(dim=(0, 2, 3)).cpu()
    return {key: tuple(counts.tolist()) for key, counts in found.items()}
