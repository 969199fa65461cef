"""Whole layers go, maximally spaced ones stay, and the rest is tuned.

As distil-whisper makes its students (Gandhi et al., arXiv 2311.00430): `keep` of `n` layers are
those nearest below `i * (n - 1) / (keep - 1)`, first and last among them, and a single one is the
last. It keeps the encoder whole; so do we as long as the decoder alone meets the target. That the
target decides how many stay, and every order of layers below, is ours.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch

from whisperslim.core.families import UnitGroup, total_price
from whisperslim.core.plan.plan import share_of
from whisperslim.errors import PlanError
from whisperslim.methods.base import Target
from whisperslim.methods.layer_drop.options import LayerDropOptions
from whisperslim.methods.magnitude.method import Magnitude
from whisperslim.methods.magnitude.rounds import MaskedPruning, Schedule, below_one
from whisperslim.methods.shared.reach import frozen_note

Layer = tuple[str, int]
"""Stack and index in it."""

_STACKS = ("decoder", "encoder")


class LayerDrop(MaskedPruning):
    """The method behind `LayerDropOptions`; layers are masked from the second step on.

    What stays is the fewest layers whose removal meets the target, or as many as the options say.
    Elements, when the target asks for zeros, go by magnitude from the layers that stay.
    """

    whole = True

    def __init__(self, options: LayerDropOptions, target: Target) -> None:
        super().__init__(target, Schedule(1, 0.0), Magnitude())
        self._options = options

    def _units(self) -> Mapping[str, torch.Tensor]:
        """A layer's place in the order of removal, and within it the units by their norm."""
        sizes = _layer_sizes(self._tuned)
        order = death_order(_by_stack(sizes), self._kept_counts(sizes))
        place = {layer: float(index) for index, layer in enumerate(order)}
        return {
            group.key: place[group.stack, group.layer] + below_one(norms)
            for group, norms in zip(self._tuned, super()._units().values(), strict=True)
        }

    def _aim(self) -> Target:
        """The asked-for target, rounded up to whole layers."""
        sizes = _layer_sizes(self._tuned)
        return Target(self._share(sizes, self._kept_counts(sizes)), self._target.zeroed)

    def _kept_counts(self, sizes: Mapping[Layer, float]) -> dict[str, int]:
        """Layers that stay of each stack; raises `PlanError` when no choice meets the target."""
        layers = _by_stack(sizes)
        for keep in self._choices(layers):
            reached = self._share(sizes, keep)
            if reached >= self._target.removed * (1 - 1e-12):
                return keep
        raise PlanError(
            f"a removal target of {self._target.removed:g} cannot be met: dropping layers reaches "
            f"0 to {reached:.4f} of {share_of(self._groups)}, with {_in_words(keep)} kept"
            f"{frozen_note(len(self._frozen))}; lower the target or keep fewer layers"
        )

    def _choices(self, layers: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
        """Kept counts from most to fewest: decoder layers go first, and the ends of a stack
        last."""
        fixed = {
            "decoder": self._options.keep_decoder_layers,
            "encoder": self._options.keep_encoder_layers,
        }
        for stack, count in fixed.items():
            if count > len(layers[stack]):
                raise PlanError(
                    f"cannot keep {count} layers of the {stack}: it has {len(layers[stack])} that "
                    f"can be dropped{frozen_note(len(self._frozen))}; keep fewer, or 0 to let the "
                    "target decide"
                )
        keep = {stack: fixed[stack] or len(layers[stack]) for stack in _STACKS}
        yield dict(keep)
        for fewest in (2, 1):
            for stack in _STACKS:
                while not fixed[stack] and keep[stack] > fewest:
                    keep[stack] -= 1
                    yield dict(keep)

    def _share(self, sizes: Mapping[Layer, float], keep: Mapping[str, int]) -> float:
        dropped = dropped_layers(_by_stack(sizes), keep)
        return sum(sizes[layer] for layer in dropped) / total_price(self._groups)


def spaced(count: int, keep: int) -> tuple[int, ...]:
    """Positions of `keep` maximally spaced ones of `count`: first and last, or the last alone."""
    if keep <= 1:
        return (count - 1,) if keep else ()
    return tuple(i * (count - 1) // (keep - 1) for i in range(keep))


def stack_order(count: int, keep: int) -> tuple[int, ...]:
    """All positions of a stack, the first to go first.

    The dropped ones go before the kept. Seen backwards, the dropped return one by one to where
    they are farthest from what is there, the earlier of equals first. Of the kept, the one whose
    neighbors are closest goes first, the later of equals first, and the first and last go last.
    """
    kept = spaced(count, keep)
    present, returned = set(kept), []
    while kept and len(present) < count:
        absent = [i for i in range(count) if i not in present]
        farthest = max(absent, key=lambda i: min(abs(i - j) for j in present))
        present.add(farthest)
        returned.append(farthest)
    return (*reversed(returned), *_thinned(list(kept)))


def death_order(layers: Mapping[str, Sequence[int]], keep: Mapping[str, int]) -> tuple[Layer, ...]:
    """Every layer of both stacks, the first to go first: those dropped, then those kept.

    Within either, the decoder's go before the encoder's, but the last two of each stack stay
    until nothing else is left.
    """
    order = {
        stack: [(stack, own[i]) for i in stack_order(len(own), keep[stack])]
        for stack, own in layers.items()
    }
    parts = [slice(None, -2), slice(-2, -1), slice(-1, None)]
    every = [layer for part in parts for stack in _STACKS for layer in order[stack][part]]
    dropped = dropped_layers(layers, keep)
    return (*(la for la in every if la in dropped), *(la for la in every if la not in dropped))


def dropped_layers(
    layers: Mapping[str, Sequence[int]], keep: Mapping[str, int]
) -> frozenset[Layer]:
    """The layers that go when `keep` of each stack stay."""
    return frozenset(
        (stack, layer)
        for stack, own in layers.items()
        for position, layer in enumerate(own)
        if position not in spaced(len(own), keep[stack])
    )


def _thinned(left: list[int]) -> Iterator[int]:
    while len(left) > 2:
        inner = range(len(left) - 2, 0, -1)
        yield left.pop(min(inner, key=lambda i: left[i + 1] - left[i - 1]))
    yield from left


def _layer_sizes(groups: Sequence[UnitGroup]) -> dict[Layer, float]:
    """Price of every layer that is present, in prunable weights if nothing else is said."""
    sizes: dict[Layer, float] = {}
    for group in groups:
        layer = (group.stack, group.layer)
        sizes[layer] = sizes.get(layer, 0.0) + group.count * group.unit_price
    return sizes


def _by_stack(layers: Mapping[Layer, float]) -> dict[str, list[int]]:
    return {name: sorted(i for stack, i in layers if stack == name) for name in _STACKS}


def _in_words(keep: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {stack} layers" for stack, count in keep.items())
