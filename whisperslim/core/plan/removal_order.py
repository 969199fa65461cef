"""In which order units leave: one order for the whole model, of single units and of bundles.

What an engine can hold ties groups (`UnitGroup.tied`). Tied units leave as a bundle, the j-th worst
of every group at once, so that every prefix of the order is a model the engine can hold. A
bundle's score is the mean of its units' scores, and no bundle comes before the one that uncovered
it. Free units are bundles of one. All of it is ours.

Of the components of one matrix (`UnitGroup.rest`) the last unit, which is all that the others are
not, leaves first. With it go at once, one by one, the others that are worth less per weight than
what goes before them: dropping them lowers the mean, so no better moment for them comes. They share
its score. This is the lower convex hull of what is lost over what is saved.
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
        """Group key -> rank of each unit, `(count,)` float64; infinite for those that stay."""
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
    a tied group may also leave at once, when the turn of its best unit has come.

    Args:
        scores: Group key -> importance of its units, `(count,)`, finite.
        groups: All groups of the model.
        whole: Whether a group may lose its last unit.
    """
    cpu = {group.key: scores[group.key].detach().to("cpu", torch.float64) for group in groups}
    cpu |= {group.key: _rest_first(group, cpu[group.key]) for group in groups if group.rest}
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
    if group.rest:
        # Ties leave in this order.
        others = torch.argsort(scores[group.key][:-1], stable=True)
        return torch.cat([torch.tensor([group.count - 1]), others[others != stay]])
    if whole and index != _best_of_place(group.place, scores, groups):
        return torch.arange(group.count)
    return torch.tensor([u for u in range(group.count) if u != stay], dtype=torch.long)


def _rest_first(group: UnitGroup, scores: torch.Tensor) -> torch.Tensor:
    """Scores by which the last unit leaves first, and with it what is worth less per weight.

    The best of the others stays the best.
    """
    best = int(torch.argmax(scores[:-1]))
    order = torch.argsort(scores[:-1], stable=True)
    others = order[order != best]
    lost, saved, gone = float(scores[-1]) * group.rest, float(group.rest), 0
    for value in scores[others].tolist():
        if value * saved >= lost:
            break
        lost += value * group.weights_per_unit
        saved += group.weights_per_unit
        gone += 1
    found, mean = scores.clone(), lost / saved
    found[-1] = found[others[:gone]] = mean
    found[best] = max(float(scores[best]), math.nextafter(mean, math.inf))
    return found


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
        self._groups, self._whole = groups, whole
        # Worst last, so that the next to leave is popped.
        self._queue: dict[int, list[tuple[float, int]]] = {}
        self._best: dict[int, float] = {}
        for index, group in enumerate(groups):
            if group.tied:
                own = scores[group.key]
                order = torch.argsort(own, stable=True).flip(0)
                self._queue[index] = list(zip(own[order].tolist(), order.tolist(), strict=True))
                self._best[index] = float(own.max())

    def leave(self) -> Iterator[tuple[float, Members]]:
        """Each bundle with the score at which it leaves; scores never fall."""
        surplus = [member for own in self._ties() for member in self._level(own)]
        if surplus:
            yield -math.inf, surplus
        now = -math.inf
        while moves := self._moves():
            score, level, own = min(moves)
            now = max(now, score)
            yield now, self._next_of(own) if level else self._drop(own[0])

    def _ties(self) -> list[tuple[int, ...]]:
        """Groups that are there, by label."""
        labels: dict[str, tuple[int, ...]] = {}
        for index in self._queue:
            label = self._groups[index].tied
            labels[label] = (*labels.get(label, ()), index)
        return list(labels.values())

    def _level(self, own: Sequence[int]) -> Members:
        """What groups have more than the smallest one with their label; it leaves first of all."""
        least = min(len(self._queue[index]) for index in own)
        return [
            (index, self._queue[index].pop()[1])
            for index in own
            for _ in range(len(self._queue[index]) - least)
        ]

    def _moves(self) -> list[tuple[float, bool, tuple[int, ...]]]:
        """What may leave next, with its score: a group as a whole, or a unit of all tied ones."""
        wholes = [(self._best[index], False, (index,)) for index in self._dispensable()]
        levels = [
            (self._score(own), True, own)
            for own in self._ties()
            if len(self._queue[own[0]]) > 1 and not self._waits(own)
        ]
        return wholes + levels

    def _score(self, own: Sequence[int]) -> float:
        return math.fsum(self._queue[index][-1][0] for index in own) / len(own)

    def _waits(self, own: Sequence[int]) -> bool:
        """Whether groups should go first, all of whose units are worth less than the others' next.

        Their worthless units would otherwise take good ones of other groups along.
        """
        gone: list[int] = []
        for index in sorted(own, key=lambda index: self._best[index]):
            if index in self._dispensable(gone):
                gone.append(index)
                rest = [other for other in own if other not in gone]
                if self._best[index] < self._score(rest):
                    return True
        return False

    def _dispensable(self, gone: Sequence[int] = ()) -> list[int]:
        """Groups that may go as a whole after `gone`: another one of their place is left."""
        if not self._whole:
            return []
        left = [index for index in self._queue if index not in gone]
        places = [self._groups[index].place for index in left]
        return [i for i, place in zip(left, places, strict=True) if places.count(place) > 1]

    def _drop(self, index: int) -> Members:
        return [(index, unit) for _, unit in self._queue.pop(index)]

    def _next_of(self, own: Sequence[int]) -> Members:
        return [(index, self._queue[index].pop()[1]) for index in own]
