"""Linear layers that are opened into components, or stored as two matrices, and their units.

An opened layer computes what it did, to the bit, and its components have gates. Each is a direction
of the output: of `y` less its mean `m`, component `i` is `up_i (down_i . (y - m))`. Those up to the
last rank at which two factors are smaller than the matrix are units of width 1; what is left of
`y - m` is one more unit, the last, which has to leave before any of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from whisperslim.core.families.base import Slice, UnitSite

RANKS = "ranks"
"""The kind of groups of components."""


class OpenedLinear(nn.Linear):
    """A linear layer whose output has components that can be gated.

    Attributes:
        down, up: Rows and columns of the components, `(components, outputs)` and `(outputs,
            components)`; `down @ up` is the identity.
        mean: Of the output without its bias, `(outputs,)`. It stays when components go.
        units: Its input has a channel for each component and a last one for what they are not:
            `(..., components + 1)`. What comes out in their place is what is left of them.
    """

    down: torch.Tensor
    up: torch.Tensor
    mean: torch.Tensor

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs, bias=bias)
        components = most_units(inputs, outputs) - 1
        self.register_buffer("down", torch.zeros(components, outputs))
        self.register_buffer("up", torch.zeros(outputs, components))
        self.register_buffer("mean", torch.zeros(outputs))
        self.units = nn.Identity()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(..., inputs)` -> `(..., outputs)`."""
        whole = super().forward(hidden)
        if not self.units._forward_pre_hooks:
            return whole
        varying = whole - self.mean if self.bias is None else whole - (self.mean + self.bias)
        parts = functional.linear(varying, self.down)
        behind = varying - functional.linear(parts, self.up)
        left = self.units(torch.cat([parts, torch.ones_like(parts[..., :1])], -1))
        # Differences, so that gates that stand at one change nothing, to the bit.
        changed = functional.linear(left[..., :-1] - parts, self.up)
        return whole + changed + (left[..., -1:] - 1.0) * behind


class FactoredLinear(nn.Module):
    """A linear layer of low rank: two matrices in place of one, and the bias behind the second.

    Attributes:
        first: `(rank, inputs)`.
        second: `(outputs, rank)`.
        bias: `(outputs,)`, or None.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, bias: bool) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(rank, inputs))
        self.second = nn.Parameter(torch.zeros(outputs, rank))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @property
    def in_features(self) -> int:
        """Of the first matrix."""
        return self.first.shape[1]

    @property
    def out_features(self) -> int:
        """Of the second matrix."""
        return self.second.shape[0]

    @property
    def rank(self) -> int:
        """What lies between both."""
        return self.first.shape[0]

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(..., inputs)` -> `(..., outputs)`."""
        return functional.linear(functional.linear(hidden, self.first), self.second, self.bias)

    def extra_repr(self) -> str:
        """As of a linear layer."""
        return f"{self.in_features} -> {self.rank} -> {self.out_features}"


def most_units(inputs: int, outputs: int) -> int:
    """Units of a matrix: components at which two factors are smaller, and the last unit."""
    return -(-inputs * outputs // (inputs + outputs))


def factored(model: nn.Module) -> dict[str, int]:
    """Name of each linear layer that is stored as two matrices -> its rank."""
    found = {n: m for n, m in model.named_modules() if isinstance(m, FactoredLinear)}
    return {name: module.rank for name, module in found.items()}


def opened(model: nn.Module) -> tuple[str, ...]:
    """Names of the linear layers that are opened."""
    return tuple(n for n, m in model.named_modules() if isinstance(m, OpenedLinear))


def linears_of(model: nn.Module, site: UnitSite) -> tuple[str, ...]:
    """Names of a sub-layer's linear layers whose matrices are prunable, in order."""
    owners = dict.fromkeys(
        part.parameter.rpartition(".")[0] for part in site.slices if part.prunable
    )
    return tuple(name for name in owners if isinstance(model.get_submodule(name), nn.Linear))


def elements(model: nn.Module, parameter: str) -> int:
    """Elements of a parameter; of the weight of a layer of two matrices, those of the one."""
    owner, _, leaf = parameter.rpartition(".")
    module = model.get_submodule(owner)
    if isinstance(module, FactoredLinear) and leaf == "weight":
        return module.in_features * module.out_features
    return model.get_parameter(parameter).numel()


def prunable_in(sites: Sequence[UnitSite]) -> dict[str, str]:
    """Parameter name -> stack, of the matrices that groups own together."""
    return {
        name: site.stack
        for site in sites
        for name in (
            *(part.parameter for part in site.slices if part.prunable),
            *site.common,
            *((f"{site.matrix}.weight",) if site.matrix else ()),
        )
    }


def with_factors(model: nn.Module, sites: Sequence[UnitSite]) -> tuple[UnitSite, ...]:
    """The groups of a model whose linear layers may be opened or stored as two matrices.

    Args:
        model: Any model.
        sites: Its groups as if all of its linear layers were of the usual kind; nothing but their
            names and places need be right.

    Returns:
        Opened layers have groups of components in place of their sub-layer's. Of layers of two
        matrices, a unit owns its rows of the second one, or its columns of the first.
    """
    found: list[UnitSite] = []
    for site in sites:
        owners = dict.fromkeys(part.parameter.rpartition(".")[0] for part in site.slices)
        modules = {name: model.get_submodule(name) for name in owners}
        inside = [name for name in modules if isinstance(modules[name], OpenedLinear)]
        if inside:
            found += (_components(model, site, name) for name in inside)
        elif any(isinstance(module, FactoredLinear) for module in modules.values()):
            found.append(_in_factors(model, site, modules))
        else:
            found.append(site)
    return tuple(found)


def _components(model: nn.Module, site: UnitSite, name: str) -> UnitSite:
    linear = cast(OpenedLinear, model.get_submodule(name))
    inputs, outputs = linear.in_features, linear.out_features
    count, each = most_units(inputs, outputs), inputs + outputs
    return UnitSite(
        key=f"{site.stack}.{site.layer}.{_place(site, name)}.{RANKS}",
        kind=RANKS,
        stack=site.stack,
        count=count,
        width=1,
        weights_per_unit=each,
        parameters_per_unit=each,
        layer=site.layer,
        rest=inputs * outputs - (count - 1) * each,
        slices=(),
        gate=f"{name}.units",
        matrix=name,
    )


def _place(site: UnitSite, name: str) -> str:
    """What a linear layer is called within its layer."""
    return name.rpartition(f".{site.layer}.")[2]


def _in_factors(model: nn.Module, site: UnitSite, modules: dict[str, nn.Module]) -> UnitSite:
    slices: list[Slice] = []
    common: list[str] = []
    for part in site.slices:
        owner, _, leaf = part.parameter.rpartition(".")
        if isinstance(modules[owner], FactoredLinear) and leaf == "weight":
            mine, other = ("second", "first") if part.dim == 0 else ("first", "second")
            part = replace(part, parameter=f"{owner}.{mine}")
            common.append(f"{owner}.{other}")
        slices.append(part)
    sizes = {part: model.get_parameter(part.parameter).numel() // site.count for part in slices}
    return replace(
        site,
        slices=tuple(slices),
        common=tuple(common),
        shared=sum(model.get_parameter(name).numel() for name in common),
        weights_per_unit=sum(size for part, size in sizes.items() if part.prunable),
        parameters_per_unit=sum(sizes.values()),
    )
