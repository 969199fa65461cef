"""Multiply activations by a gate, without touching the model's classes or weights."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core.families.base import UnitGroup, UnitSite
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.shrink import changed_by, final_values
from whisperslim.core.surgery.units import kept_of, unit_elements

GateFunction = Callable[[UnitSite, torch.Tensor], torch.Tensor | None]
"""Given a group and the gate module's input with the units' axis moved to the end,
`(batch, ..., count * width)`: the gate to multiply by, of a shape that broadcasts against
`(batch, ..., count)`; None leaves the activation alone."""


def attach_gates(
    model: nn.Module, groups: Sequence[UnitSite], gate: GateFunction
) -> list[RemovableHandle]:
    """Hook every group's gate module; the caller removes the handles."""
    return [
        model.get_submodule(group.gate).register_forward_pre_hook(_hook(group, gate))
        for group in groups
    ]


def attach_output_gates(
    model: nn.Module, groups: Sequence[UnitSite], gate: GateFunction
) -> list[RemovableHandle]:
    """Hook what each group's sub-layer adds to the residual stream, its output bias included.

    `gate` is given the group and that output `(batch, ..., d_model)`, and returns a factor that
    broadcasts against it, or None. The caller removes the handles.
    """
    return [
        model.get_submodule(group.gate).register_forward_hook(_output_hook(group, gate))
        for group in groups
    ]


@contextmanager
def masked(model: nn.Module, groups: Sequence[UnitSite], plan: PruningPlan) -> Iterator[nn.Module]:
    """The dense model computing what the cut one does: units gone, the rest folded and zeroed.

    Weights that the plan changes are swapped, and put back when the block ends.
    """
    masks = plan_masks(groups, plan)
    gone = [group for group in groups if not plan.keep[group.key]]
    handles = attach_gates(model, groups, lambda group, x: masks[group.key].to(x))
    handles += attach_output_gates(model, gone, lambda group, x: x.new_zeros(()))
    before = {name: model.get_parameter(name).data for name in changed_by(plan)}
    try:
        for name in before:
            parameter = model.get_parameter(name)
            parameter.data = _dense_values(name, parameter.data, groups, plan)
        yield model
    finally:
        for name, values in before.items():
            model.get_parameter(name).data = values
        for handle in handles:
            handle.remove()


def _dense_values(
    name: str, whole: torch.Tensor, groups: Sequence[UnitSite], plan: PruningPlan
) -> torch.Tensor:
    """A parameter before the cut whose kept elements are the cut one's."""
    for group in groups:
        for part in group.slices:
            if part.parameter == name:
                units = plan.keep[group.key]
                index = unit_elements(part, units, whole.shape[part.dim]).to(whole.device)
                values = final_values(name, kept_of(whole, part, units), plan)
                return whole.clone().index_copy_(part.dim, index, values)
    return final_values(name, whole, plan)


def plan_masks(groups: Sequence[UnitGroup], plan: PruningPlan) -> Mapping[str, torch.Tensor]:
    """Group key -> hard mask of 0 and 1, shape `(count,)`."""
    masks = {}
    for group in groups:
        mask = torch.zeros(group.count)
        mask[list(plan.keep[group.key])] = 1.0
        masks[group.key] = mask
    return masks


def _hook(group: UnitSite, gate: GateFunction) -> Callable[[nn.Module, tuple[Any, ...]], Any]:
    def multiply(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        activation = inputs[0].movedim(group.gate_axis, -1)
        values = gate(group, activation)
        if values is None:
            return None
        units = activation.unflatten(-1, (group.count, group.width))
        gated = (units * values.unsqueeze(-1)).flatten(-2)
        return (gated.movedim(-1, group.gate_axis), *inputs[1:])

    return multiply


def _output_hook(group: UnitSite, gate: GateFunction) -> Callable[..., torch.Tensor | None]:
    def multiply(
        _module: nn.Module, _inputs: tuple[Any, ...], output: torch.Tensor
    ) -> torch.Tensor | None:
        values = gate(group, output)
        return None if values is None else output * values

    return multiply
