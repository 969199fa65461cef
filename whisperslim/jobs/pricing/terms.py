"""What another size of a run is planned for, and in which currency its target is counted."""

from dataclasses import dataclass
from typing import Any

from whisperslim.core.plan.counting import CURRENCIES, LATENCY, NOT_OWN
from whisperslim.engines import registry
from whisperslim.errors import UsageError
from whisperslim.jobs.recipe.recipe import Recipe


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
        if (self.currency or self.timed_anew(recipe)) and hasattr(recipe.options, "currency"):
            # Training is over, and the target is counted by the section `target` alone.
            found["method.currency"] = NOT_OWN
        return found

    def timed_anew(self, recipe: Recipe) -> bool:
        """Whether a target in latency moves to another engine: one's times say nothing of both."""
        moved = bool(self.engine or self.quantize)
        return moved and not self.currency and recipe.target.currency == LATENCY
