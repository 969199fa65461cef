"""What a run has decided to cut: its groups and its own plan, from the files of stage `plan`.

Loads no model code before a run is read, and needs none of the run's weights.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperslim.core.disk.untrusted import read_json
from whisperslim.errors import RunError
from whisperslim.jobs.run.folder import RunDir

if TYPE_CHECKING:  # torch
    from whisperslim.core.families.base import UnitGroup
    from whisperslim.core.plan.plan import PruningPlan

GROUPS_FILE = "groups.json"
_FIELDS = ("key", "kind", "stack", "count", "width", "weights_per_unit", "parameters_per_unit",
           "tied", "shared", "rest")  # fmt: skip


@dataclass(frozen=True)
class PlannedRun:
    """A run that has a plan.

    Attributes:
        groups: Units of the tuned model, which is what the run cuts. For display; a cut needs those
            of the loaded model.
        plan: The run's own; it keeps units of every group.
        counted_in: What the plan's target is a share of, in words.
    """

    groups: tuple["UnitGroup", ...]
    plan: "PruningPlan"
    counted_in: str


def describe_groups(groups: Sequence["UnitGroup"]) -> str:
    """The contents of `groups.json`."""
    return json.dumps([{name: getattr(g, name) for name in _FIELDS} for g in groups], indent=1)


def is_planned(run: RunDir) -> bool:
    """Whether a run has a plan already."""
    return all(path.is_file() for path in (run.plan_path, run.scores_path, _groups_path(run)))


def read_planned(run: RunDir) -> PlannedRun:
    """A run's groups and plan.

    Raises:
        RunError: there is no plan yet, or a file is damaged.
        PlanError: the plan is not valid.
        RecipeError: the recipe is not valid.
    """
    from whisperslim.core.plan.files import read_units

    if not is_planned(run):
        raise RunError(f"the run {run.name} has no plan yet; wait for its stage `plan`")
    try:
        groups = _groups(read_json(_groups_path(run)))
    except (OSError, ValueError, LookupError, TypeError, OverflowError) as error:
        raise RunError(f"the run {run.name} is damaged: {error}") from error
    plan = read_units(run.plan_path)
    missing = [group.key for group in groups if group.key not in plan.keep]
    if missing:
        raise RunError(f"the run {run.name} is damaged: its plan lacks {', '.join(missing)}")
    return PlannedRun(groups, plan, run.recipe().counting.words)


def _groups_path(run: RunDir) -> Path:
    return run.path / GROUPS_FILE


def _groups(records: Sequence[Mapping[str, Any]]) -> tuple["UnitGroup", ...]:
    from whisperslim.core.families.base import UnitGroup

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
            shared=int(record.get("shared", 0)),
            rest=int(record.get("rest", 0)),
        )
        for record in records
    )
