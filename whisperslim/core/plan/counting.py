"""What a removal target is a share of: the names of currencies, and their words. Needs no torch."""

from dataclasses import dataclass

WEIGHTS, FLOPS, LATENCY = "weights", "flops", "latency"
CURRENCIES = (WEIGHTS, FLOPS, LATENCY)
"""What a removal target can be a share of: `target.currency`."""

NOT_OWN = "parameters"
OWN_CURRENCIES = (NOT_OWN, FLOPS, LATENCY)
"""What a method's own `currency` may be; `parameters` leaves it to `target.currency`."""

WORKLOAD = "5 s of speech"
"""What operations are counted on."""

OF_WEIGHTS = "the prunable weights"
"""What a target counts unless a recipe says otherwise."""


@dataclass(frozen=True)
class Counting:
    """How one removal target is counted.

    Attributes:
        currency: One of `CURRENCIES`.
        by_run: Of `latency`: the method itself measures times, in PyTorch, as it begins.
        engine, quantize: Of `latency` otherwise: where times are taken from a profile.
    """

    currency: str
    by_run: bool
    engine: str
    quantize: str

    @staticmethod
    def of(currency: str, own: str, engine: str, quantize: str) -> "Counting":
        """From a recipe's values.

        Args:
            currency: `target.currency`.
            own: The method's own currency, which goes first.
            engine: `export.engine`.
            quantize: `export.quantize`.
        """
        by_run = own != NOT_OWN
        return Counting(own if by_run else currency, by_run, engine, quantize)

    @property
    def words(self) -> str:
        """What a target is a share of; ends a sentence that says "30 % of"."""
        if self.currency == WEIGHTS:
            return OF_WEIGHTS
        if self.currency == FLOPS:
            return f"the operations of all heads and FFN units on {WORKLOAD}"
        numbers = "" if self.quantize == "none" else f", {self.quantize}"
        where = "torch, by the run itself" if self.by_run else f"{self.engine}{numbers}"
        return f"the time of all heads and FFN units, measured in {where}"
