"""Groups of weights: their norms, scaling one, whether it is trained, and elements held at zero.

Nothing here copies the model.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from whisperslim.core.families import UnitGroup


def as_units(weight: torch.Tensor, dim: int, block: int) -> torch.Tensor:
    """View a parameter as `(before, units, block, after)` with the unit axis second.

    Args:
        weight: A vector or matrix.
        dim: The axis units are laid out along.
        block: Elements of that axis per unit.
    """
    before = weight.shape[0] if dim == 1 else 1
    after = weight[0].numel() if dim == 0 else 1
    return weight.view(before, -1, block, after)


def unit_norms(model: nn.Module, group: UnitGroup) -> torch.Tensor:
    """Euclidean norm of everything each unit owns, biases included; shape `(count,)`."""
    total = torch.zeros(group.count, device=_device(model, group))
    for part in group.slices:
        weight = model.get_parameter(part.parameter).detach()
        total += as_units(weight, part.dim, part.block).float().square().sum(dim=(0, 2, 3))
    return total.sqrt()


def scale_units(model: nn.Module, group: UnitGroup, factor: torch.Tensor) -> None:
    """Multiply everything each unit owns by its factor, in place; `factor` is `(count,)`."""
    for part in group.slices:
        weight = model.get_parameter(part.parameter).data
        as_units(weight, part.dim, part.block).mul_(factor[:, None, None])


def matrices(groups: Sequence[UnitGroup]) -> list[tuple[str, str]]:
    """(parameter name, stack) of every prunable weight matrix."""
    return [
        (part.parameter, group.stack)
        for group in groups
        for part in group.slices
        if part.parameter.endswith(".weight")
    ]


def is_trained(model: nn.Module, group: UnitGroup) -> bool:
    """Whether nothing of the group is frozen."""
    return all(model.get_parameter(part.parameter).requires_grad for part in group.slices)


def _device(model: nn.Module, group: UnitGroup) -> torch.device:
    return model.get_parameter(group.slices[0].parameter).device


@torch.no_grad()
def hold_zeros(model: nn.Module, zeros: Mapping[str, torch.Tensor]) -> None:
    """Set elements back to zero, in place. `zeros` has, by parameter, which they are.

    To be done after each step: an optimizer with momentum moves weights that have no gradient, too.
    """
    for name, where in zeros.items():
        model.get_parameter(name).masked_fill_(where, 0.0)
