"""Per-layer facts of a run for the Sparsity tab, from the small files a run leaves behind."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whisperslim.errors import RunError
from whisperslim.jobs.recipe.target_words import counted_in
from whisperslim.jobs.run.folder import RunDir

if TYPE_CHECKING:  # torch; loaded when a run is looked at, not when the app starts
    from whisperslim.core.families.base import UnitGroup
    from whisperslim.core.plan.plan import PruningPlan, Scores

BEFORE_WORDS = "before this run"
"""What pictures and tables call the model that a run cut: it may have been slim already."""


@dataclass(frozen=True)
class LayerRow:
    """One unit group of one run.

    `count` are its units in the tuned model, which is what the run cuts. `kept` and `moved` are
    units kept by the run and at the slider's position. `zeroed` is the share of the run's remaining
    weights that is zero, None when the run has not measured it.
    """

    key: str
    stack: str
    kind: str
    layer: int
    place: str
    count: int
    weights_per_unit: int
    kept: tuple[int, ...]
    moved: tuple[int, ...]
    zeroed: float | None

    @property
    def name(self) -> str:
        """Layer and place, unique within a stack."""
        return f"{self.layer} {self.place}"

    @property
    def weights(self) -> int:
        """Prunable weights here before the run cut: of a slim model compressed again, fewer than
        the dense model had."""
        return self.count * self.weights_per_unit


@dataclass(frozen=True)
class PrunedRun:
    """What can be replanned: groups, scores and the run's own plan.

    `counted_in`: what its targets are shares of, in words. `whole`: a group may lose its last unit.
    `costs`: what targets are counted in, see `ScoreMap`.
    """

    name: str
    groups: tuple["UnitGroup", ...]
    scores: "Scores"
    plan: "PruningPlan"
    zeroed: Mapping[str, float]
    counted_in: str
    whole: bool = False
    costs: Mapping[str, float] | None = None

    def limit(self) -> float:
        """Largest share that can be removed."""
        from whisperslim.core.plan.plan import reachable

        return reachable(self.groups, self.whole, self.costs)

    def replanned(self, target: float) -> "PruningPlan":
        """The plan for another target, from the saved scores. Raises `PlanError`."""
        from whisperslim.core.plan.plan import plan_to_budget

        return plan_to_budget(self.scores, self.groups, target, whole=self.whole, costs=self.costs)

    def rows(self, moved: "PruningPlan") -> tuple[LayerRow, ...]:
        """One row per group, encoder first, as the run and as `moved` have it."""
        return tuple(self._row(group, moved) for group in self.groups)

    def _row(self, group: "UnitGroup", moved: "PruningPlan") -> LayerRow:
        stack, layer, place = group.key.split(".", 2)
        return LayerRow(
            key=group.key,
            stack=stack,
            kind=group.kind,
            layer=int(layer),
            place=place.replace("_", "-").replace(".", " "),
            count=group.count,
            weights_per_unit=group.weights_per_unit,
            kept=self.plan.keep[group.key],
            moved=moved.keep[group.key],
            zeroed=self.zeroed.get(group.key),
        )


def is_pruned(run: RunDir) -> bool:
    """Whether a run has got as far as having a plan to look at."""
    return all(path.is_file() for path in (run.plan_path, run.scores_path, groups_path(run)))


def groups_path(run: RunDir) -> Any:
    """Where a run keeps its unit groups."""
    return run.path / "groups.json"


def read_pruned_run(run: RunDir, zeroed: Mapping[str, float]) -> PrunedRun:
    """A run's groups, scores and plan. Raises `RunError` or `PlanError` when not usable."""
    from safetensors import SafetensorError

    from whisperslim.core.plan.plan import PruningPlan, check_scores

    if not is_pruned(run):
        raise RunError(f"the run {run.name} has no plan yet; it has one after its stage `plan`")
    try:
        groups = _groups(json.loads(groups_path(run).read_text("utf-8")))
        scores, whole, costs = _scores(run)
        planned = run.plan_path.read_text("utf-8")
    except (OSError, ValueError, LookupError, TypeError, SafetensorError) as error:
        raise RunError(f"the run {run.name} is damaged: {error}") from error
    check_scores(scores, groups)
    plan = PruningPlan.units_in(planned)
    _check_fits(run, plan, groups)
    counted = counted_in(run.recipe())
    return PrunedRun(run.name, groups, scores, plan, zeroed, counted, whole, costs)


def _scores(run: RunDir) -> tuple["Scores", bool, dict[str, float] | None]:
    from safetensors import safe_open

    with safe_open(run.scores_path, framework="pt") as file:
        scores = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        # Looking cuts nothing, so a map of an older version, which says nothing, will do.
        said = file.metadata() or {}
        return scores, said.get("whole") == "true", json.loads(said.get("costs", "null"))


def _groups(records: Sequence[Mapping[str, Any]]) -> tuple["UnitGroup", ...]:
    from whisperslim.core.families.base import UnitGroup

    # Planning reads counts and costs alone; which tensors a unit owns matters to the cut only.
    return tuple(
        UnitGroup(
            key=str(record["key"]),
            kind=str(record["kind"]),
            stack=str(record["stack"]),
            count=int(record["count"]),
            width=int(record["width"]),
            weights_per_unit=int(record["weights_per_unit"]),
            parameters_per_unit=int(record["parameters_per_unit"]),
            layer=int(str(record["key"]).split(".")[1]),
            # A run of an older version has no limits.
            tied=str(record.get("tied", "")),
        )
        for record in records
    )


def _check_fits(run: RunDir, plan: "PruningPlan", groups: Sequence["UnitGroup"]) -> None:
    missing = [group.key for group in groups if group.key not in plan.keep]
    if missing:
        raise RunError(f"the run {run.name} is damaged: its plan lacks {', '.join(missing)}")
