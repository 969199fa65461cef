"""Layers of a run beside those of another size, for pictures and tables."""

from collections.abc import Mapping, Sequence
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
    weights that is zero, None when the run has not measured it. `rest` is as of `UnitGroup`.
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
    rest: int = 0

    @property
    def name(self) -> str:
        """Layer and place, unique within a stack."""
        return f"{self.layer} {self.place}"

    @property
    def weights(self) -> int:
        """Prunable weights here before the run cut: of a slim model compressed again, fewer than
        the dense model had."""
        return self._of(range(self.count))

    @property
    def left(self) -> int:
        """Those that the run keeps."""
        return self._of(self.kept)

    @property
    def there(self) -> int:
        """Those at the slider's position."""
        return self._of(self.moved)

    def _of(self, units: Sequence[int]) -> int:
        last = self.rest > 0 and self.count - 1 in units
        return len(units) * self.weights_per_unit - last * (self.weights_per_unit - self.rest)


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
    return LayerRow(
        key=group.key,
        stack=stack,
        kind=group.kind,
        layer=int(layer),
        place=place.replace("_", "-").replace(".", " "),
        count=group.count,
        weights_per_unit=group.weights_per_unit,
        kept=planned.plan.keep[group.key],
        moved=moved.keep[group.key],
        zeroed=zeroed.get(group.key),
        rest=group.rest,
    )
