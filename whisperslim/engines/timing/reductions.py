"""Copies of a model with less of one thing, for comparing times."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from whisperslim.core.families import UnitGroup, UnitSite
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import UsageError


@dataclass(frozen=True)
class Reduction:
    """What is left out of a copy.

    Attributes:
        name: For people and records.
        stack: Where.
        keep: Group key -> units that stay, where not all do.
        units: Place -> units left out, all layers together.
        layers: Whole layers left out.
    """

    name: str
    stack: str
    keep: Mapping[str, int]
    units: Mapping[str, int]
    layers: int = 0

    def of(self, speech: SpeechModel, groups: Sequence[UnitSite]) -> SpeechModel:
        """The copy. `groups` are the model's own."""
        model = deepcopy(speech.model)
        keep = {g.key: tuple(range(self.keep.get(g.key, g.count))) for g in groups}
        cut(model, groups, PruningPlan(keep))
        return replace(speech, model=model)


def place_reductions(groups: Sequence[UnitGroup]) -> tuple[Reduction, ...]:
    """Half the units of each place, in every layer; places that are tied go together.

    Raises:
        UsageError: a place has one unit in every layer, so there is nothing to halve.
    """
    together: dict[str, list[UnitGroup]] = {}
    for group in groups:
        together.setdefault(group.tied or group.place, []).append(group)
    return tuple(_halved(name, own) for name, own in together.items())


def stack_reductions(groups: Sequence[UnitGroup]) -> tuple[Reduction, ...]:
    """Every other layer of each stack; none of a stack of one layer."""
    found = []
    for stack in dict.fromkeys(group.stack for group in groups):
        own = [group for group in groups if group.stack == stack]
        gone = sorted({group.layer for group in own})[1::2]
        left_out = [group for group in own if group.layer in gone]
        # A place must not disappear, as it would where a cut model has it in few layers.
        stays = {group.place for group in own if group.layer not in gone}
        if gone and stays >= {group.place for group in left_out}:
            keep = {group.key: 0 for group in left_out}
            found.append(Reduction(f"{stack}.layers", stack, keep, _counted(left_out), len(gone)))
    return tuple(found)


def _halved(name: str, groups: Sequence[UnitGroup]) -> Reduction:
    keep = {group.key: max(1, group.count // 2) for group in groups}
    units = _counted(groups, keep)
    if not any(units.values()):
        raise UsageError(f"{name} has one unit in every layer: nothing to compare; profile another")
    return Reduction(name, groups[0].stack, keep, units)


def _counted(groups: Sequence[UnitGroup], keep: Mapping[str, int] | None = None) -> dict[str, int]:
    counts: dict[str, int] = {}
    for group in groups:
        gone = group.count - (keep or {}).get(group.key, 0)
        counts[group.place] = counts.get(group.place, 0) + gone
    return counts
