"""Units of the layers of wav2vec 2.0 and of Conformers: heads, feed-forward units, channels.

Where a sub-layer was taken out, a module stands that holds no tensor.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from whisperslim.core.families.base import Slice, UnitSite
from whisperslim.core.families.factors import elements, prunable_in, with_factors


class AbsentAttention(nn.Module):
    """Adds nothing to the residual stream."""

    def forward(
        self, hidden_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, None]:
        """Nothing to add: a zero of no dimensions, and no attention weights."""
        return hidden_states.new_zeros(()), None


class AbsentBlock(nn.Module):
    """Where a feed-forward block or a convolution module was taken out."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """A zero of no dimensions."""
        return hidden_states.new_zeros(())


class AbsentLayer(nn.Module):
    """A layer all of whose sub-layers were taken out."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """The input itself."""
        return hidden_states


@dataclass(frozen=True)
class Part:
    """A sub-layer as an architecture has it.

    Attributes:
        kind: `heads`, `ffn` or `channels`.
        name: Its module in the layer.
        norm: The norm before it, which goes with it; empty: it is inside, or stays.
        key: The last part of the group's key.
    """

    kind: str
    name: str
    norm: str
    key: str


ABSENT: dict[str, type[nn.Module]] = {
    "heads": AbsentAttention,
    "ffn": AbsentBlock,
    "channels": AbsentBlock,
}


def is_present(layer: nn.Module, part: Part) -> bool:
    """Whether a layer has the sub-layer still."""
    return not isinstance(layer, AbsentLayer) and not isinstance(
        getattr(layer, part.name), ABSENT[part.kind]
    )


def drop_part(layer: nn.Module, part: Part) -> None:
    """Put a module that adds nothing in the place of a sub-layer, and of its norm."""
    setattr(layer, part.name, ABSENT[part.kind]())
    if part.norm:
        setattr(layer, part.norm, nn.Identity())


def receptive_field(config: Any) -> int:
    """Samples that one position hears."""
    field, step = 1, 1
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


class LayerUnits(ABC):
    """The part of a family that knows the units of one stack of layers."""

    @property
    @abstractmethod
    def stack(self) -> str:
        """Name of the list of layers in the model."""

    @abstractmethod
    def parts(self, model: nn.Module) -> tuple[Part, ...]:
        """The sub-layers of a layer, in the order they act."""

    @abstractmethod
    def site(self, model: nn.Module, part: Part, index: int) -> UnitSite:
        """The units of one sub-layer of layer `index`."""

    @abstractmethod
    def norm_stays(self, model: nn.Module) -> bool:
        """Whether a layer without sub-layers still norms."""

    def unit_groups(self, model: nn.Module) -> tuple[UnitSite, ...]:
        """One group for each sub-layer that is present; or those of its opened linear layers."""
        found = (
            self.site(model, part, index)
            for index, layer in enumerate(self.modules(model))
            for part in self.parts(model)
            if is_present(layer, part)
        )
        return with_factors(model, tuple(found))

    def prunable_weights(self, model: nn.Module) -> dict[str, str]:
        """The matrices of all units."""
        return prunable_in(self.unit_groups(model))

    def drop(self, model: nn.Module, group: UnitSite) -> None:
        """Take out a sub-layer and the norm before it; a norm behind it stays."""
        layers, parts = self.modules(model), self.parts(model)
        layer = layers[group.layer]
        for part in parts:
            if group.key.endswith(f".{part.key}"):
                drop_part(layer, part)
        stays = any(is_present(layer, part) for part in parts) or self.norm_stays(model)
        if not stays:
            layers[group.layer] = AbsentLayer()

    def layers(self, model: nn.Module) -> Mapping[str, Sequence[nn.Module]]:
        """Those of the one stack."""
        return {"encoder": tuple(self.modules(model))}

    def modules(self, model: nn.Module) -> nn.ModuleList:
        """The list itself, to put other modules in."""
        return cast(nn.ModuleList, model.get_submodule(self.stack))


def head_site(
    model: nn.Module, attention: str, projections: Sequence[str], out: str, index: int, key: str
) -> UnitSite:
    """The heads of an attention module, with what relative positions give to each.

    Args:
        model: Has a module `attention`.
        attention: Its name.
        projections: Names of its projections to queries, keys and values, and of its relative
            positions where there are any.
        out: Name of the projection back.
        index: Its layer.
        key: Of the group.
    """
    module: Any = model.get_submodule(attention)
    width = int(getattr(module, "head_dim", 0) or module.head_size)
    rows = int(getattr(module, projections[0]).out_features)
    slices: list[Slice] = []
    for name in projections:
        slices.append(Slice(f"{attention}.{name}.weight", 0, width, prunable=True))
        if getattr(module, name).bias is not None:
            slices.append(Slice(f"{attention}.{name}.bias", 0, width, prunable=False))
    slices += [
        Slice(f"{attention}.{name}", 0, 1, prunable=False)
        for name, _ in module.named_parameters(recurse=False)
    ]
    slices.append(Slice(f"{attention}.{out}.weight", 1, width, prunable=True))
    return _site(model, slices, f"{attention}.{out}", "heads", rows // width, width, index, key)


def ffn_site(
    model: nn.Module, block: str, inner: str, outer: str, index: int, key: str
) -> UnitSite:
    """The units of a feed-forward block."""
    first = cast(nn.Linear, model.get_submodule(f"{block}.{inner}"))
    slices = [Slice(f"{block}.{inner}.weight", 0, 1, prunable=True)]
    if first.bias is not None:
        slices.append(Slice(f"{block}.{inner}.bias", 0, 1, prunable=False))
    slices.append(Slice(f"{block}.{outer}.weight", 1, 1, prunable=True))
    return _site(model, slices, f"{block}.{outer}", "ffn", first.out_features, 1, index, key)


def channel_site(model: nn.Module, block: str, norm: str, index: int, key: str) -> UnitSite:
    """The channels of a Conformer's convolution module.

    A channel owns two rows of the first pointwise convolution (value and gate), a filter of the
    depthwise one, its entries in the BatchNorm, and a column of the second pointwise one.
    """
    module: Any = model.get_submodule(block)
    first, middle = module.pointwise_conv1, module.depthwise_conv
    slices = [Slice(f"{block}.pointwise_conv1.weight", 0, 1, prunable=True, repeats=2)]
    if first.bias is not None:
        slices.append(Slice(f"{block}.pointwise_conv1.bias", 0, 1, prunable=False, repeats=2))
    slices.append(Slice(f"{block}.depthwise_conv.weight", 0, 1, prunable=True))
    if middle.bias is not None:
        slices.append(Slice(f"{block}.depthwise_conv.bias", 0, 1, prunable=False))
    slices += [Slice(f"{block}.{norm}.{name}", 0, 1, prunable=False) for name in ("weight", "bias")]
    slices.append(Slice(f"{block}.pointwise_conv2.weight", 1, 1, prunable=True))
    buffers = tuple(
        Slice(f"{block}.{norm}.{name}", 0, 1, prunable=False)
        for name in ("running_mean", "running_var")
    )
    count = int(middle.weight.shape[0])
    gate = f"{block}.pointwise_conv2"
    return _site(model, slices, gate, "channels", count, 1, index, key, 1, buffers)


def set_channels(model: nn.Module, group: UnitSite, count: int, norm: str) -> None:
    """Give the modules of a convolution the numbers of `count` channels."""
    module: Any = model.get_submodule(group.gate.removesuffix(".pointwise_conv2"))
    module.pointwise_conv1.out_channels = 2 * count
    middle = module.depthwise_conv
    middle.in_channels = middle.out_channels = middle.groups = count
    getattr(module, norm).num_features = count
    module.pointwise_conv2.in_channels = count


def _site(
    model: nn.Module,
    slices: Sequence[Slice],
    gate: str,
    kind: str,
    count: int,
    width: int,
    index: int,
    key: str,
    axis: int = -1,
    buffers: tuple[Slice, ...] = (),
) -> UnitSite:
    owned = [(part, elements(model, part.parameter) // count) for part in slices]
    return UnitSite(
        key=f"encoder.{index}.{key}",
        kind=kind,
        stack="encoder",
        count=count,
        width=width,
        weights_per_unit=sum(elements for part, elements in owned if part.prunable),
        parameters_per_unit=sum(elements for _, elements in owned),
        layer=index,
        slices=tuple(slices),
        gate=gate,
        gate_axis=axis,
        buffers=buffers,
    )
