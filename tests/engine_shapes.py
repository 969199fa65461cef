"""What engines can hold, said apart from the code that keeps plans to it."""

from collections.abc import Sequence

from whisperslim.core.families import UnitGroup
from whisperslim.core.plan import PruningPlan


def holds(groups: Sequence[UnitGroup], plan: PruningPlan) -> bool:
    """What CTranslate2 can hold: each layer whole or absent, one number of heads in a stack."""
    for name in {group.stack for group in groups}:
        own = [group for group in groups if group.stack == name]
        layers = {g.layer: [len(plan.keep[o.key]) for o in own if o.layer == g.layer] for g in own}
        if any(0 in counts and any(counts) for counts in layers.values()):
            return False
        heads = {len(plan.keep[g.key]) for g in own if g.kind == "heads"} - {0}
        if len(heads) != 1:
            return False
    return True
