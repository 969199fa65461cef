"""Layers of a run beside those of another size, for pictures and tables."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from whisperslim.jobs.sizes.planned import PlannedRun

if TYPE_CHECKING:  # torch; loaded when a run is looked at, not when the app starts
    from whisperslim.core.families.base import UnitGroup
    from whisperslim.core.plan.plan import PruningPlan

BEFORE_WORDS = "before this run"
"""Name in pictures and tables of the model that a run cut: it may have been slim already."""


@dataclass(frozen=True)
class LayerRow:
    """One unit group of one run.

    `count` are its units in the tuned model, which is what the run cuts. `kept` and `moved` are
    units kept by the run and at the slider's position. `zeroed` is the share of the run's remaining
    weights that is zero, None when the run has not measured it.

    `weights` are the prunable ones before the run cut: of a slim model compressed again, fewer than
    the dense model had. `left` are those that the run keeps, `there` those at the slider.
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
    weights: int
    left: int
    there: int

    @property
    def name(self) -> str:
        """Layer and place, unique within a stack."""
        return f"{self.layer} {self.place}"


def layer_rows(
    planned: PlannedRun, zeroed: Mapping[str, float], moved: "PruningPlan"
) -> tuple[LayerRow, ...]:
    """One row per group, encoder first, as the run and as `moved` have it.

    `zeroed` is the share of what is left of each group that is zero, as far as it is measured.
    """
    return tuple(_row(group, planned, zeroed, moved) for group in planned.groups)


def _row(
    group: "UnitGroup", planned: PlannedRun, zeroed: Mapping[str, float], moved: "PruningPlan"
) -> LayerRow:
    stack, layer, place = group.key.split(".", 2)
    kept, there = planned.plan.keep[group.key], moved.keep[group.key]
    return LayerRow(
        key=group.key,
        stack=stack,
        kind=group.kind,
        layer=int(layer),
        place=place.replace("_", "-").replace(".", " "),
        count=group.count,
        weights_per_unit=group.weights_per_unit,
        kept=kept,
        moved=there,
        zeroed=zeroed.get(group.key),
        weights=group.weights(range(group.count)),
        left=group.weights(kept),
        there=group.weights(there),
    )
