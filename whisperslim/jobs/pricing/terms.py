"""What another size of a run is planned for, and in which currency its target is counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whisperslim.core.plan.rules import CURRENCIES
from whisperslim.engines import registry
from whisperslim.errors import UsageError
from whisperslim.jobs.recipe.recipe import Recipe

if TYPE_CHECKING:
    from whisperslim.core.families import UnitGroup


@dataclass(frozen=True)
class Terms:
    """Where a size departs from its run's recipe; empty: it does not.

    Raises `UsageError` for what no recipe knows.

    Attributes:
        engine: Where it will run.
        quantize: Numbers it will be written in there.
        currency: What its target is a share of.
    """

    engine: str = ""
    quantize: str = ""
    currency: str = ""

    def __post_init__(self) -> None:
        known = {
            "engine": registry.names(),
            "quantize": registry.precisions(),
            "currency": CURRENCIES,
        }
        for name, choices in known.items():
            value = getattr(self, name)
            if value and value not in choices:
                raise UsageError(f"no {name} {value!r}; choose one of: {', '.join(choices)}")

    def values(self, recipe: Recipe) -> dict[str, Any]:
        """Dotted recipe name -> value, of what departs from `recipe`."""
        found: dict[str, Any] = {}
        if self.engine:
            found["export.engine"] = self.engine
            if not registry.get(self.engine).exporter:
                found["export.quantize"] = registry.FULL  # nothing is written for it
        if self.quantize:
            found["export.quantize"] = self.quantize
        if self.currency:
            found["target.currency"] = self.currency
        timed_anew = bool(found) and recipe.target.currency == "latency"
        if (self.currency or timed_anew) and hasattr(recipe.options, "currency"):
            # Training is over, and the target is counted by the section `target` alone.
            found["method.currency"] = "parameters"
        return found


def unit_costs_for(
    terms: Terms,
    recipe: Recipe,
    groups: Sequence["UnitGroup"],
    own: Mapping[str, float] | None,
    flops: Mapping[str, int],
) -> Mapping[str, float] | None:
    """Group key -> cost of one unit; None: prunable weights.

    Args:
        terms: What is asked for.
        recipe: With `terms` in it already.
        groups: Of the tuned model.
        own: Costs the run's own target was counted in.
        flops: Group key -> operations of one unit.

    Raises:
        PlanError: latency is asked for and was not measured in that engine on this machine.
    """
    engine_moved = bool(terms.engine or terms.quantize)
    currency = terms.currency
    if not currency and engine_moved and recipe.target.currency == "latency":
        currency = "latency"  # times of the other engine say nothing of this one
    if not currency:
        return own
    if currency == "flops":
        return {key: float(count) for key, count in flops.items()}
    if currency == "weights":
        return None
    from whisperslim.jobs.pricing.profiles import find_profile

    profile = find_profile(recipe.export.engine, recipe.export.quantize, groups)
    return {group.key: profile.seconds_per_unit[group.place] for group in groups}
