"""What a plan must respect besides scores: which units leave together, and what units count for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from whisperslim.errors import PlanError

if TYPE_CHECKING:  # torch; recipes need the names below, and do without it
    from whisperslim.core.families.base import Group, UnitGroup

Ties = Callable[["UnitGroup"], str]
"""The label `tied` of a group, by what the place where a model is to run can hold."""


@dataclass(frozen=True)
class PlanRules:
    """Limits and prices of a model's groups.

    Attributes:
        ties: Of the engine that the model is planned for; None: it holds every shape.
        prices: Place -> cost of one unit, positive; None: its prunable weights.
    """

    ties: Ties | None = None
    prices: Mapping[str, float] | None = None

    def applied(self, groups: Sequence["Group"]) -> tuple["Group", ...]:
        """`groups` with labels and prices. Raises `PlanError` when a place has no price."""
        limited = constrain(groups, self.ties)
        prices = self.prices
        if prices is None:
            return limited
        bad = sorted({g.place for g in groups if not prices.get(g.place, 0.0) > 0.0})
        if bad:
            raise PlanError(f"there is no price of a unit of {bad[0]}; measure or count it again")
        return tuple(replace(group, price=float(prices[group.place])) for group in limited)


def constrain(groups: Sequence["Group"], ties: Ties | None) -> tuple["Group", ...]:
    """`groups` tied by `ties` and by nothing else; prices stay."""
    return tuple(replace(group, tied="" if ties is None else ties(group)) for group in groups)


def costs_of(groups: Sequence["UnitGroup"]) -> dict[str, float] | None:
    """Group key -> price of one unit; None when all are priced by their weights."""
    if not any(group.price for group in groups):
        return None
    return {group.key: group.unit_price for group in groups}
