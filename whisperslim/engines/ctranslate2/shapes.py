"""Which shapes CTranslate2 can hold, and the nearest one it can to a model that it cannot.

Its file has one number of heads for the encoder and one for the decoder, which the decoder's self-
and cross-attention share. With other numbers it runs and is silently wrong. Every width of the
feed-forward blocks is fine, and so are absent layers and sub-layers.
"""

from collections.abc import Mapping, Sequence

from whisperslim.core.families import UnitGroup
from whisperslim.engines import registry
from whisperslim.errors import ExportError


def heads_per_stack(
    groups: Sequence[UnitGroup], engines: Sequence[str], stacks: Sequence[str]
) -> dict[str, int]:
    """Heads of every attention module of a stack.

    Args:
        groups: Of a model.
        engines: Those that its family is written for.
        stacks: Those that it has.

    Raises:
        ExportError: a stack has attention modules with different numbers, or none at all; the
            message names the nearest plans.
    """
    counts = {stack: _counts(groups, stack) for stack in stacks}
    ragged = [
        _nearest(stack, found) for stack, found in counts.items() if len({*found.values()}) > 1
    ]
    named = [f"the {stack}" for stack in stacks]
    if ragged:
        raise ExportError(
            f"CTranslate2 holds one number of heads for {' and one for '.join(named)}: "
            + "; ".join(ragged)
            + ". Prune with the recipe's engine set to ctranslate2, which keeps to such plans, or "
            f"export to another engine: {' and '.join(_free(engines))} hold any numbers"
        )
    empty = [stack for stack, found in counts.items() if not found]
    if empty:
        raise ExportError(f"no attention is left in the {empty[0]}; keep one layer that has some")
    return {stack: next(iter(found.values())) for stack, found in counts.items()}


def _free(engines: Sequence[str]) -> list[str]:
    made = [spec for spec in registry.specs() if spec.exporter and spec.ties is None]
    return [spec.name for spec in made if spec.name in engines]


def _counts(groups: Sequence[UnitGroup], stack: str) -> dict[str, int]:
    return {g.key: g.count for g in groups if g.stack == stack and g.kind == "heads"}


def _nearest(stack: str, counts: Mapping[str, int]) -> str:
    """What it would take to make them equal: keep the most, cut to the fewest, or least of all."""
    heads = sorted(counts.values())
    middle = heads[len(heads) // 2]  # the median: no other number takes fewer changes
    least = sum(abs(middle - count) for count in heads)
    more, fewer = sum(heads[-1] - n for n in heads), sum(n - heads[0] for n in heads)
    return (
        f"the {stack}'s attention modules have {_listed(counts)}; nearest is {middle} in each "
        f"({least} heads added back or cut), or {heads[-1]} ({more} added back), or {heads[0]} "
        f"({fewer} cut)"
    )


def _listed(counts: Mapping[str, int]) -> str:
    """ "8 7 7", or for several kinds of module "self 8 7, cross 4 1", in layer order."""
    kinds: dict[str, list[int]] = {}
    for key, count in counts.items():
        kinds.setdefault(key.split(".")[2], []).append(count)
    return ", ".join(f"{kind} {' '.join(map(str, found))}" for kind, found in kinds.items())
