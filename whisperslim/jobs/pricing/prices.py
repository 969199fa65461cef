"""What a run's removal target is a share of: the price of a unit in every place, found once."""

import json
from pathlib import Path

from whisperslim.core.cost.unit_costs import unit_costs
from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.loading import SpeechModel
from whisperslim.errors import RunError
from whisperslim.jobs.pricing.profiles import find_profile
from whisperslim.jobs.recipe.recipe import Recipe
from whisperslim.jobs.run.folder import RunDir

PRICES_FILE = "prices.json"


def run_prices(run: RunDir, recipe: Recipe, speech: SpeechModel) -> dict[str, float] | None:
    """Place -> price of a unit, as the run began with; None for prunable weights.

    What was found first is kept in the run: a later profile would move the target.

    Raises:
        PlanError: latency is asked for, and there is no profile of the engine on this machine.
        RunError: what was kept cannot be read.
    """
    if recipe.target.currency == "weights":
        return None
    path = run.path / PRICES_FILE
    if not path.is_file():
        write_prices(run.path, _found(recipe, speech))
    try:
        return {place: float(price) for place, price in json.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); put it back, or start the run anew: without it "
            "the target means something else"
        ) from error


def write_prices(folder: Path, prices: dict[str, float]) -> None:
    """Keep prices in a run's folder."""
    write_text_atomically(folder / PRICES_FILE, json.dumps(prices, indent=1))


def _found(recipe: Recipe, speech: SpeechModel) -> dict[str, float]:
    groups = speech.groups()
    if recipe.target.currency == "flops":
        costs = unit_costs(speech.model, groups, "flops")
        return {group.place: costs[group.key] for group in groups}
    profile = find_profile(recipe.export.engine, recipe.export.quantize, groups)
    return {group.place: profile.seconds_per_unit[group.place] for group in groups}
