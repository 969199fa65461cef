"""In which order units leave: one order for the whole model, of single units and of bundles.

What an engine can hold ties groups together (`UnitGroup.tied`, `UnitGroup.together`). Tied units
leave as a bundle, the j-th worst of every group at once, so that every prefix of the order is a
model the engine can hold. A bundle's score is the mean of its units' scores, and no bundle of an
order comes before the one that uncovered it. Free units are bundles of one. All of it is ours.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from whisperslim.core.families.base import UnitGroup


@dataclass(frozen=True)
class DeathOrder:
    """Every unit that may leave, and when.

    Attributes:
        owner: Index of its group, `(units,)`.
        unit: Its index in the group, `(units,)`.
        rank: Place of its bundle in the order, from 0, `(units,)`.
        when: Score at which each bundle leaves, ascending, `(bundles,)` float64; `-inf`: limits do
            not allow to keep it, whatever the target.
    """

    owner: torch.Tensor
    unit: torch.Tensor
    rank: torch.Tensor
    when: torch.Tensor

    def ranks(self, groups: Sequence[UnitGroup]) -> dict[str, torch.Tensor]:
        """Group key -> rank of each unit, `(count,)` float64; endless for those that stay."""
        found = {g.key: torch.full((g.count,), math.inf, dtype=torch.float64) for g in groups}
        for index, group in enumerate(groups):
            own = self.owner == index
            found[group.key][self.unit[own]] = self.rank[own].double()
        return found


def death_order(
    scores: Mapping[str, torch.Tensor], groups: Sequence[UnitGroup], whole: bool
) -> DeathOrder:
    """The order in which units leave, the least important first.

    The best unit of each group never leaves, or with `whole` the best of each place. With `whole`
    a layer whose groups belong together leaves at once, when the turn of its best unit has come.

    Args:
        scores: Group key -> importance of its units, `(count,)`, finite.
        groups: All groups of the model.
        whole: Whether a group may lose its last unit.
    """
    cpu = {group.key: scores[group.key].detach().to("cpu", torch.float64) for group in groups}
    singles = [_singles(index, g, cpu, groups, whole) for index, g in enumerate(groups)]
    tied = list(_Bundles(groups, cpu, whole).leave())
    owner = [torch.full((len(units),), index) for index, units in enumerate(singles)]
    unit, when = list(singles), [cpu[g.key][u] for g, u in zip(groups, singles, strict=True)]
    bundle = torch.arange(sum(map(len, singles)))
    for number, (score, members) in enumerate(tied, start=len(bundle)):
        owner.append(torch.tensor([index for index, _ in members]))
        unit.append(torch.tensor([u for _, u in members]))
        when.append(torch.tensor([score], dtype=torch.float64))
        bundle = torch.cat([bundle, torch.full((len(members),), number)])
    times = torch.cat(when)
    # Stable: ties leave in a fixed order, so equal inputs give equal plans.
    order = torch.argsort(times, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    return DeathOrder(torch.cat(owner), torch.cat(unit), rank[bundle], times[order])


def _singles(
    index: int,
    group: UnitGroup,
    scores: Mapping[str, torch.Tensor],
    groups: Sequence[UnitGroup],
    whole: bool,
) -> torch.Tensor:
    """Units of a group that leave by themselves."""
    if group.tied:
        return torch.empty(0, dtype=torch.long)
    stay = int(torch.argmax(scores[group.key]))
    if whole and not group.together and index != _best_of_place(group.place, scores, groups):
        return torch.arange(group.count)
    return torch.tensor([u for u in range(group.count) if u != stay], dtype=torch.long)


def _best_of_place(
    place: str, scores: Mapping[str, torch.Tensor], groups: Sequence[UnitGroup]
) -> int:
    """Index of the group that holds the best unit of its place, the first of equals."""
    own = [index for index, group in enumerate(groups) if group.place == place]
    return max(own, key=lambda index: float(scores[groups[index].key].max()))


Members = list[tuple[int, int]]
"""Index of the group and of the unit in it."""


class _Bundles:
    """Removes bundle after bundle from what is tied, the one with the lowest score first."""

    def __init__(
        self, groups: Sequence[UnitGroup], scores: Mapping[str, torch.Tensor], whole: bool
    ) -> None:
        self._groups = groups
        self._present = set(range(len(groups)))
        # Worst last, so that the next to leave is popped.
        self._queue: dict[int, list[tuple[float, int]]] = {}
        self._best: dict[str, float] = {}
        self._layers: dict[str, list[int]] = {}
        for index, group in enumerate(groups):
            own = scores[group.key]
            if group.tied:
                order = torch.argsort(own, stable=True).flip(0)
                self._queue[index] = list(zip(own[order].tolist(), order.tolist(), strict=True))
            if group.together and whole:
                best = float(own.max())
                self._best[group.together] = max(best, self._best.get(group.together, best))
                self._layers.setdefault(group.together, []).append(index)
        self._tops = {i: int(torch.argmax(scores[groups[i].key])) for i in self._present}

    def leave(self) -> Iterator[tuple[float, Members]]:
        """Each bundle with the score at which it leaves; scores never fall."""
        surplus = [member for label in self._labels() for member in self._level(label)]
        if surplus:
            yield -math.inf, surplus
        now = -math.inf
        while moves := self._moves():
            score, kind, label = min(moves)
            now = max(now, score)
            yield now, self._drop_layer(label) if kind == 0 else self._next_of(label)

    def _labels(self) -> list[str]:
        return sorted({self._groups[index].tied for index in self._queue})

    def _level(self, label: str) -> Members:
        """What groups have more than the smallest one with their label; it leaves first of all."""
        own = self._tied(label)
        least = min(len(self._queue[index]) for index in own)
        return [
            (index, self._queue[index].pop()[1])
            for index in own
            for _ in range(len(self._queue[index]) - least)
        ]

    def _moves(self) -> list[tuple[float, int, str]]:
        layers = [(self._best[label], 0, label) for label in self._removable()]
        bundles = [(self._score(own), 1, label) for label, own in self._open_bundles()]
        return layers + bundles

    def _tied(self, label: str) -> list[int]:
        return [i for i in sorted(self._present & set(self._queue)) if self._has(i, label)]

    def _has(self, index: int, label: str) -> bool:
        return self._groups[index].tied == label

    def _score(self, own: Sequence[int]) -> float:
        return math.fsum(self._queue[index][-1][0] for index in own) / len(own)

    def _open_bundles(self) -> list[tuple[str, list[int]]]:
        pairs = [(label, self._tied(label)) for label in self._labels()]
        left = [(label, own) for label, own in pairs if own and len(self._queue[own[0]]) > 1]
        return [(label, own) for label, own in left if not self._waits(own)]

    def _waits(self, own: Sequence[int]) -> bool:
        """Whether layers should go first, all of whose units are worth less than the others' next.

        Their worthless units would otherwise take good ones of other layers along.
        """
        going = sorted(self._removable(), key=lambda label: self._best[label])
        rest = list(own)
        for label in going:
            rest = [index for index in rest if index not in self._layers[label]]
            if len(rest) < len(own) and rest and self._best[label] < self._score(rest):
                return True
        return False

    def _removable(self) -> list[str]:
        """Layers that are there, and without which no place is empty."""
        places: dict[str, int] = {}
        for index in self._present:
            place = self._groups[index].place
            places[place] = places.get(place, 0) + 1
        return [
            label
            for label, own in self._layers.items()
            if own[0] in self._present and all(places[self._groups[i].place] > 1 for i in own)
        ]

    def _drop_layer(self, label: str) -> Members:
        """What is left of a layer: of a free group its best unit, which it kept so far."""
        own = self._layers[label]
        self._present -= set(own)
        left: Members = []
        for index in own:
            units = [unit for _, unit in self._queue.get(index, [])]
            left += [(index, unit) for unit in units or [self._tops[index]]]
        return left

    def _next_of(self, label: str) -> Members:
        return [(index, self._queue[index].pop()[1]) for index in self._tied(label)]
