"""What a removal target is a share of, in words. Loads no model code."""

from typing import TYPE_CHECKING

from whisperslim.engines import registry

if TYPE_CHECKING:
    from whisperslim.jobs.recipe.recipe import Recipe

WEIGHTS = "the prunable weights"
"""What a target counts unless a recipe says otherwise."""


def counted_in(recipe: "Recipe") -> str:
    """What `target.removed` of a recipe is a share of; ends a sentence that says "30 % of"."""
    own = getattr(recipe.options, "currency", "parameters")
    return words_for(recipe.target.currency, own, recipe.export.engine, recipe.export.quantize)


def words_for(
    currency: str,
    own: str = "parameters",
    engine: str = registry.OWN,
    quantize: str = registry.FULL,
) -> str:
    """As `counted_in`, of a recipe's values.

    Args:
        currency: `target.currency`.
        own: The method's own currency, which goes first; `parameters` is none.
        engine: `export.engine`, where times of `target.currency` are measured.
        quantize: `export.quantize`.
    """
    if "flops" in (own, currency):
        return "the operations of all heads and FFN units on 5 s of speech"
    if own == "latency":
        return _time(f"{registry.OWN}, by the run itself")
    if currency == "latency":
        return _time(engine if quantize == registry.FULL else f"{engine}, {quantize}")
    return WEIGHTS


def _time(where: str) -> str:
    return f"the time of all heads and FFN units, measured in {where}"
