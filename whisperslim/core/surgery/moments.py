"""First and second moments of what goes into modules, gathered while a model runs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

Counted = Callable[[str, torch.Tensor], torch.Tensor]


class Watched(Protocol):
    """A module whose input is watched; a `UnitSite` is one.

    Attributes:
        key: Names what is found.
        stack: Stack of the states that go in.
        gate: The module.
        gate_axis: Axis of its input that the channels lie along; the batch is axis 0.
    """

    @property
    def key(self) -> str: ...
    @property
    def stack(self) -> str: ...
    @property
    def gate(self) -> str: ...
    @property
    def gate_axis(self) -> int: ...


@dataclass(frozen=True)
class WatchedInput:
    """The states that go into one module, their channels along the last axis: a `Watched`."""

    key: str
    stack: str
    gate: str
    gate_axis: int = -1


@dataclass(frozen=True)
class Moments:
    """Of a gate module's input `x`, over the positions that were counted.

    Attributes:
        count: Positions.
        mean: Mean of `x`, `(channels,)`, float64.
        square: Mean of `x x^T`, `(channels, channels)`, float64.
    """

    count: int
    mean: torch.Tensor
    square: torch.Tensor

    @property
    def covariance(self) -> torch.Tensor:
        """Of `x`, `(channels, channels)`."""
        return self.square - torch.outer(self.mean, self.mean)


class MomentWatch:
    """Hooks on gate modules that add up what goes in. The output stays the same.

    Products of one pass are in the model's float32, about the first pass's mean, so that what
    varies little about a large mean is not lost; sums over passes are in float64. A site of 2,048
    channels takes 34 MB.

    Attributes:
        counted: Given a stack and states `(batch, positions, channels)` of the pass under way, the
            rows of those that count, `(places, channels)`. All do at first.
    """

    def __init__(self, sites: Sequence[Watched]) -> None:
        self._sites = tuple(sites)
        self._handles: list[RemovableHandle] = []
        self._sums: dict[str, tuple[int, torch.Tensor, torch.Tensor]] = {}
        self._centers: dict[str, torch.Tensor] = {}
        self.counted: Counted = lambda stack, states: states.flatten(0, -2)

    def attach(self, model: nn.Module) -> None:
        """Start watching."""
        for site in self._sites:
            module = model.get_submodule(site.gate)
            self._handles.append(module.register_forward_pre_hook(self._hook(site)))

    def detach(self) -> None:
        """Remove the hooks; the sums stay."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def moments(self) -> dict[str, Moments]:
        """Group key -> what was found, for every site that was passed."""
        found = {}
        for key, (count, total, square) in self._sums.items():
            center = self._centers[key].double()
            off = total / count
            across = torch.outer(center, off)
            about_zero = square / count + across + across.T + torch.outer(center, center)
            found[key] = Moments(count, center + off, about_zero)
        return found

    def _hook(self, site: Watched) -> Any:
        @torch.no_grad()
        def add(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            states = inputs[0].movedim(site.gate_axis, -1)
            rows = self.counted(site.stack, states)
            if not len(rows):
                return
            rows = rows - self._centers.setdefault(site.key, rows.mean(0))
            count, total, square = self._sums.get(site.key, (0, 0.0, 0.0))
            self._sums[site.key] = (
                count + len(rows),
                total + rows.double().sum(0),
                square + (rows.T @ rows).double(),
            )

        return add
