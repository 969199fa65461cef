"""What planning needs of a run's tuned model: shapes, scores, costs, zeros.

Its weights are read only once, to count the zeros.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from whisperslim.core.cost.cost import count_places
from whisperslim.core.cost.flops import WORKLOADS
from whisperslim.core.disk.untrusted import read_json, record_of, typed
from whisperslim.core.families import UnitGroup, UnitSite, family_of, prunable_total
from whisperslim.core.fetch.model_folder import weights_sha256
from whisperslim.core.plan.arithmetic import MOST_PRUNED
from whisperslim.core.plan.plan import PruningPlan, check_scores, reachable
from whisperslim.core.plan.rules import constrain
from whisperslim.core.store.checkpoint import (
    SLIM_FILE,
    WEIGHTS_FILE,
    count_parameters,
    dense_skeleton,
    read_tensors,
    skeleton,
)
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.core.surgery.units import zeros_per_unit
from whisperslim.engines import registry
from whisperslim.errors import RunError
from whisperslim.jobs.pricing.prices import costs_under
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.recipe.recipe import Recipe, with_values
from whisperslim.jobs.run.disk import write_text_checked
from whisperslim.jobs.run.folder import RunDir

FACTS_FILE = "tuned.json"


@dataclass(frozen=True)
class TunedFacts:
    """Facts about the tuned model that take long to compute, stored in `tuned.json`.

    Attributes:
        weights_sha256: Of the weights file, in hexadecimal.
        weights_bytes, weights_mtime_ns: Of the file when it was read, to notice another file.
        workload: What the operations below are counted for.
        groups: Its unit groups.
        parameters: Its elements, tied ones counted once.
        parameters_beside: Group key -> elements that go with the last of its units: the norm and
            the output bias of the sub-layer.
        flops: Of one pass of the tuned model.
        flops_per_unit: Group key -> operations that go with one of its units. The count is linear
            in the units: every product of a group has its width as one factor.
        dense_flops: Of the model before any cut, which differs only when a slim model was tuned.
        dense_parameters: Its elements, tied ones counted once.
        zeros_per_unit: Group key -> elements of each unit's prunable weights that are zero after
            tuning, by the method or by chance. They stay zero at any target.
        model_type: Its architecture.
    """

    weights_sha256: str
    weights_bytes: int
    weights_mtime_ns: int
    workload: str
    groups: tuple[UnitGroup, ...]
    parameters: int
    parameters_beside: Mapping[str, int]
    flops: int
    flops_per_unit: Mapping[str, int]
    dense_flops: int
    dense_parameters: int
    zeros_per_unit: Mapping[str, Sequence[int]]
    model_type: str = "whisper"

    def describes(self, weights: Path) -> bool:
        """Whether the file is the one that was read, by its size and time."""
        found = weights.stat()
        return (
            self.weights_bytes == found.st_size
            and self.weights_mtime_ns == found.st_mtime_ns
            and self.workload == WORKLOADS[0].describe()
        )


@dataclass(frozen=True)
class TunedRun:
    """A run whose tuned model has been scored. Made by `open_tuned`.

    `recipe` includes the requested terms, `costs` is what a target is counted in: group key ->
    cost of one unit, or None for prunable weights.
    """

    run: RunDir
    recipe: Recipe
    scores: ScoreMap
    facts: TunedFacts
    costs: Mapping[str, float] | None = None

    @property
    def folder(self) -> Path:
        """The tuned model."""
        return tuned_folder(self.run)

    @property
    def groups(self) -> tuple[UnitGroup, ...]:
        """Its removable units, limited to what the engine can hold.

        For planning; a cut needs those of the loaded model.
        """
        return constrain(self.facts.groups, registry.get(self.recipe.export.engine).ties)

    def zeros_left(self, plan: PruningPlan) -> int:
        """Elements in what `plan` keeps that are zero after tuning."""
        found = self.facts.zeros_per_unit
        return sum(found[key][unit] for key, units in plan.keep.items() for unit in units)

    def lacks_zeros(self, plan: PruningPlan, share: float) -> bool:
        """Whether `share` of the prunable weights exceeds the zeros that `plan` keeps."""
        return round(share * prunable_total(self.groups)) > self.zeros_left(plan)

    def reachable_range(self) -> tuple[float, float]:
        """Least and largest `target.removed` that a recipe can have."""
        limit = reachable(self.groups, self.scores.whole, self.costs)
        return 0.0, min(limit, MOST_PRUNED)

    def recipe_for(
        self, removed: float, zeroed: float | None = None, recover_steps: int | None = None
    ) -> Recipe:
        """The run's recipe with another target; None leaves a value. Raises `RecipeError`."""
        values: dict[str, float | int] = {"target.removed": removed}
        if zeroed is not None:
            values["target.zeroed"] = zeroed
        if recover_steps is not None:
            values["recover.steps"] = recover_steps
        data = self.recipe.data
        if recover_steps and not data.dev and not data.dev_fraction:
            values["recover.evaluate_every"] = 0  # no dev set to evaluate on
        return with_values(self.recipe, values)


def tuned_folder(run: RunDir) -> Path:
    """Where a run keeps its tuned model."""
    return run.path / "tuned" / "model"


def open_tuned(run: RunDir, terms: Terms | None = None) -> TunedRun:
    """The tuned model of a run and its score map, checked against each other.

    Args:
        run: A run whose stage `plan` is done.
        terms: What sizes are planned for where that differs from the run's recipe.

    Raises:
        PlanError: no profile of the engine, when the terms count in latency.
        RecipeError: the terms do not fit the recipe.
        RunError: stage `plan` is not done yet, or the recipe cannot be read.
        CheckpointError: the map or the model is damaged, or they do not belong together.
    """
    if not run.stage_done("plan"):
        raise RunError(
            f"the run {run.name} has no score map yet: its status is {run.status()}, and stage "
            "plan is not done; let it finish that stage, or choose another run"
        )
    scores = ScoreMap.load(run.scores_path)
    facts = find_facts(run)
    scores.check_scored(facts.weights_sha256)
    check_scores(scores.scores, facts.groups)
    terms, recipe = terms or Terms(), run.recipe()
    recipe = with_values(recipe, terms.values(recipe))
    costs = costs_under(terms, recipe, facts.groups, scores.costs, facts.flops_per_unit)
    return TunedRun(run, recipe, scores, facts, costs)


def find_facts(run: RunDir) -> TunedFacts:
    """The contents of `tuned.json`; computed again when it is for another weights file or
    incomplete.

    Raises:
        RunError: there is no tuned model, `tuned.json` is damaged, or it cannot be written.
        CheckpointError: the tuned weights are damaged.
    """
    path, weights = run.path / FACTS_FILE, tuned_folder(run) / WEIGHTS_FILE
    if not weights.is_file():
        raise RunError(
            f"the run {run.name} has no tuned model any more ({weights}); restore it, or start a "
            "new run"
        )
    stored = _read(path)
    if stored is None or not stored.describes(weights):
        stored = _found(weights)
        write_text_checked(path, _to_json(stored))
    return stored


def _read(path: Path) -> TunedFacts | None:
    if not path.is_file():
        return None
    try:
        raw = typed(read_json(path), dict)
        if "zeros_per_unit" not in raw:  # from an older version
            return None
        found: TunedFacts = record_of(TunedFacts, raw)
        return found
    except (OSError, ValueError, KeyError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); delete it, and it is made again"
        ) from error


def _to_json(facts: TunedFacts) -> str:
    # No indent: every unit's count would get a line, and larger models have 300,000 units.
    return json.dumps(asdict(facts))


def _found(weights: Path) -> TunedFacts:
    folder, stat = weights.parent, weights.stat()
    tuned, dense = skeleton(folder), dense_skeleton(folder)
    count = count_places(tuned, WORKLOADS[0])
    is_cut, groups = (folder / SLIM_FILE).is_file(), _groups(tuned)
    return TunedFacts(
        weights_sha256=weights_sha256(folder),
        weights_bytes=stat.st_size,
        weights_mtime_ns=stat.st_mtime_ns,
        workload=WORKLOADS[0].describe(),
        groups=tuple(group.facts for group in groups),
        model_type=family_of(tuned).model_type,
        parameters=count_parameters(tuned),
        flops=count.total,
        flops_per_unit={
            g.key: count.places[g.key] * g.weights_per_unit // g.weights(range(g.count))
            for g in groups
        },
        dense_flops=count_places(dense, WORKLOADS[0]).total if is_cut else count.total,
        dense_parameters=count_parameters(dense),
        parameters_beside=_beside(tuned),
        zeros_per_unit=zeros_per_unit(read_tensors(weights), groups),
    )


def _beside(model: nn.Module) -> dict[str, int]:
    """Remove one sub-layer after another from a skeleton to see what goes besides its units."""
    found = {}
    for group in _groups(model):
        if group.rest:  # no matrix goes as a whole
            found[group.key] = 0
            continue
        before = count_parameters(model)
        family_of(model).drop(model, group)
        gone = before - count_parameters(model)
        found[group.key] = gone - group.count * group.parameters_per_unit
    return found


def _groups(model: nn.Module) -> tuple[UnitSite, ...]:
    return family_of(model).unit_groups(model)
