"""What a run's removal target is a share of: the price of a unit in every place."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from whisperslim.core.cost.unit_costs import unit_costs
from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.untrusted import fitting, read_json
from whisperslim.core.families import UnitGroup
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.counting import FLOPS, WEIGHTS
from whisperslim.errors import RunError
from whisperslim.jobs.pricing.profiles import find_profile
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.recipe.recipe import Recipe
from whisperslim.jobs.run.folder import RunDir

PRICES_FILE = "prices.json"


def run_prices(run: RunDir, recipe: Recipe, speech: SpeechModel) -> dict[str, float] | None:
    """Place -> price of a unit, as at the start of the run; None for prunable weights.

    The first prices are kept in the run: a later profile would move the target.

    Raises:
        PlanError: latency is requested, but there is no profile of the engine on this machine.
        RunError: the stored prices cannot be read.
    """
    if recipe.target.currency == WEIGHTS:
        return None
    path = run.path / PRICES_FILE
    if not path.exists():
        groups = speech.groups()
        costs = _unit_costs(recipe, groups, lambda: unit_costs(speech.model, groups, FLOPS))
        write_prices(run.path, {group.place: costs[group.key] for group in groups})
    try:
        found: dict[str, float] = fitting(read_json(path), dict[str, float])
        return found
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); restore it, or start a new run: without it the "
            "target would mean something else"
        ) from error


def write_prices(folder: Path, prices: dict[str, float]) -> None:
    """Keep prices in a run's folder."""
    write_text_atomically(folder / PRICES_FILE, json.dumps(prices, indent=1))


def costs_under(
    terms: Terms,
    recipe: Recipe,
    groups: Sequence[UnitGroup],
    own: Mapping[str, float] | None,
    flops: Mapping[str, int],
) -> Mapping[str, float] | None:
    """Group key -> cost of one unit, for another size of a run; None: prunable weights.

    Args:
        terms: The requested terms.
        recipe: The run's, with `terms` in it.
        groups: Of the tuned model.
        own: Costs of the run's own target; kept where `terms` set nothing.
        flops: Group key -> operations of one unit.

    Raises:
        PlanError: latency is requested but was not measured in that engine on this machine.
    """
    if not terms.currency and not terms.timed_anew(recipe):
        return own
    if recipe.target.currency == WEIGHTS:
        return None
    return _unit_costs(recipe, groups, lambda: {key: float(n) for key, n in flops.items()})


def _unit_costs(
    recipe: Recipe, groups: Sequence[UnitGroup], flops: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Group key -> cost of one unit, in operations or seconds as the target is counted."""
    if recipe.target.currency == FLOPS:
        return flops()
    profile = find_profile(recipe.export.engine, recipe.export.quantize, groups)
    return {group.key: profile.seconds_per_unit[group.place] for group in groups}
