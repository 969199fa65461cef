"""What a plan must heed besides scores: the shapes an engine can hold, and what units count for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from whisperslim.errors import PlanError

if TYPE_CHECKING:  # torch; recipes need the names below, and do without it
    from whisperslim.core.families.base import Family, Group, UnitGroup

ENGINES = ("torch", "ctranslate2", "onnx", "hf")
"""Where a model can run; those that hold every shape among them."""

CURRENCIES = ("weights", "flops", "latency")
"""What a removal target can be a share of."""


@dataclass(frozen=True)
class PlanRules:
    """Limits and prices of a model's groups.

    Attributes:
        engine: One of `ENGINES`.
        prices: Place -> cost of one unit, positive; None: its prunable weights.
    """

    engine: str = "torch"
    prices: Mapping[str, float] | None = None

    def applied(self, family: "Family", groups: Sequence["Group"]) -> tuple["Group", ...]:
        """`groups` with labels and prices. Raises `PlanError` when a place has no price."""
        limited = family.limited(groups, self.engine)
        prices = self.prices
        if prices is None:
            return limited
        bad = sorted({g.place for g in groups if not prices.get(g.place, 0.0) > 0.0})
        if bad:
            raise PlanError(f"there is no price of a unit of {bad[0]}; measure or count it anew")
        return tuple(replace(group, price=float(prices[group.place])) for group in limited)


def constrain(family: "Family", groups: Sequence["Group"], engine: str) -> tuple["Group", ...]:
    """`groups` tied as `engine` needs them; prices stay."""
    free = [replace(group, tied="") for group in groups]
    return family.limited(free, engine)


def costs_of(groups: Sequence["UnitGroup"]) -> dict[str, float] | None:
    """Group key -> price of one unit; None when all are priced by their weights."""
    if not any(group.price for group in groups):
        return None
    return {group.key: group.unit_price for group in groups}
