"""What engines can hold, said apart from the code that keeps plans to it."""

from collections.abc import Sequence

from whisperslim.core.families import UnitGroup
from whisperslim.core.plan.plan import PruningPlan


def holds(groups: Sequence[UnitGroup], plan: PruningPlan) -> bool:
    """What CTranslate2 can hold: one number of heads in a stack, where there are any."""
    for stack in {group.stack for group in groups}:
        own = [group for group in groups if group.stack == stack and group.kind == "heads"]
        if len({len(plan.keep[group.key]) for group in own} - {0}) != 1:
            return False
    return True
