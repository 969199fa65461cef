"""What another size of a run is planned for, and the currency of its target."""

from dataclasses import dataclass
from typing import Any

from whisperslim.core.plan.counting import CURRENCIES, LATENCY, NOT_OWN
from whisperslim.engines import registry
from whisperslim.errors import UsageError
from whisperslim.jobs.recipe.recipe import Recipe


@dataclass(frozen=True)
class Terms:
    """Where a size differs from its run's recipe; empty: nowhere.

    Raises `UsageError` for unknown values.

    Attributes:
        engine: Where it will run.
        quantize: Number format there.
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
        """Dotted recipe name -> value, of values that differ from `recipe`."""
        found: dict[str, Any] = {}
        if self.engine:
            found["export.engine"] = self.engine
            if not registry.get(self.engine).exporter:
                found["export.quantize"] = registry.FULL  # nothing is written for it
        if self.quantize:
            found["export.quantize"] = self.quantize
        if self.currency:
            found["target.currency"] = self.currency
        if (self.currency or self.timed_anew(recipe)) and hasattr(recipe.options, "currency"):
            # Training is over, so only the section `target` decides how the target is counted.
            found["method.currency"] = NOT_OWN
        return found

    def timed_anew(self, recipe: Recipe) -> bool:
        """Whether a latency target moves to another engine, whose times differ."""
        moved = bool(self.engine or self.quantize)
        return moved and not self.currency and recipe.target.currency == LATENCY
