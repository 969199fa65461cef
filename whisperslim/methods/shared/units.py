"""Groups of weights: norms, scaling, whether one is trained, and elements held at zero.

Nothing here copies the model.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn

from whisperslim.core.families import UnitGroup, UnitSite
from whisperslim.core.families.factors import OpenedLinear, prunable_in
from whisperslim.core.plan.plan import Scores
from whisperslim.core.surgery.units import as_units


def unit_norms(model: nn.Module, group: UnitSite) -> torch.Tensor:
    """Euclidean norm of everything each unit owns, biases included; shape `(count,)`.

    Of a component of a matrix, the norm of what it adds to the matrix.
    """
    if group.matrix:
        return _component_norms(cast(OpenedLinear, model.get_submodule(group.matrix)))
    total = torch.zeros(group.count, device=_device(model, group))
    for part in group.slices:
        weight = model.get_parameter(part.parameter).detach()
        total += as_units(weight, part).float().square().sum(dim=(0, 2, 3))
    return total.sqrt()


@torch.no_grad()
def _component_norms(layer: OpenedLinear) -> torch.Tensor:
    weight = layer.weight.float()
    rows = layer.down.float() @ weight
    behind = weight - layer.up.float() @ rows
    return torch.cat([rows.norm(dim=1) * layer.up.float().norm(dim=0), behind.norm()[None]])


def unit_weights(group: UnitGroup) -> torch.Tensor:
    """Prunable weights that each unit owns, `(count,)` float64."""
    sizes = torch.full((group.count,), float(group.weights_per_unit), dtype=torch.float64)
    if group.rest:
        sizes[-1] = group.rest
    return sizes


def per_weight(information: Scores, groups: Sequence[UnitGroup]) -> dict[str, torch.Tensor]:
    """What units are worth for each prunable weight that they own: how all methods rank them.

    A head owns a hundred times the weights of an FFN unit, and would never go for its sum.
    """
    return {
        group.key: information[group.key] / unit_weights(group).to(information[group.key])
        for group in groups
    }


def scale_units(model: nn.Module, group: UnitSite, factor: torch.Tensor) -> None:
    """Multiply everything each unit owns by its factor, in place; `factor` is `(count,)`."""
    for part in group.slices:
        weight = model.get_parameter(part.parameter).data
        as_units(weight, part).mul_(factor[:, None, None])


def is_trained(model: nn.Module, group: UnitSite) -> bool:
    """Whether nothing of the group is frozen."""
    names = [*(part.parameter for part in group.slices), *prunable_in([group])]
    return all(model.get_parameter(name).requires_grad for name in names)


def _device(model: nn.Module, group: UnitSite) -> torch.device:
    return model.get_parameter(group.slices[0].parameter).device


@torch.no_grad()
def hold_zeros(model: nn.Module, zeros: Mapping[str, torch.Tensor]) -> None:
    """Set elements back to zero, in place. `zeros` has, by parameter, which they are.

    To be done after each step: an optimizer with momentum moves weights that have no gradient, too.
    """
    for name, where in zeros.items():
        model.get_parameter(name).masked_fill_(where, 0.0)
