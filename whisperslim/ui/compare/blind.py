"""Votes on hidden sides: which side is A is random, and the votes are counted."""

import math
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace

from whisperslim.ui.compare.record import ROLES, SAME, Compared
from whisperslim.ui.parts.markup import number, table, text, words
from whisperslim.ui.parts.quantities import interval, percent

_Z = 1.959964  # of the normal curve, for 95 %


@dataclass(frozen=True)
class Tally:
    """Blind votes on one pair of models."""

    dense: int = 0
    slim: int = 0
    same: int = 0

    @property
    def decided(self) -> int:
        """Votes that prefer a side."""
        return self.dense + self.slim


def hide(compared: Compared) -> Compared:
    """The comparison with its sides in random order, for a vote."""
    dense, slim, _ = ROLES
    order = (dense, slim) if secrets.randbits(1) else (slim, dense)
    return replace(compared, blind=order)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, JASA 1927), which also holds for few trials.

    Raises `ValueError` unless 0 <= successes <= trials and there is a trial.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials}")
    share, z2 = successes / trials, _Z * _Z
    center = share + z2 / (2 * trials)
    spread = _Z * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    scale = 1 + z2 / trials
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


def tallies(comparisons: Iterable[Compared]) -> dict[tuple[str, str], Tally]:
    """(dense, slim) as chosen, with their engines -> blind votes on that pair."""
    found: dict[tuple[str, str], Tally] = {}
    for each in comparisons:
        if each.blind and each.vote is not None:
            pair = _pair(each)
            tally = found.get(pair, Tally())
            found[pair] = replace(tally, **{each.vote: getattr(tally, each.vote) + 1})
    return found


def tally_html(comparisons: Iterable[Compared]) -> str:
    """The blind votes as a table; empty when there are none."""
    found = tallies(comparisons)
    if not found:
        return ""
    headers = ("models", "dense better", SAME, "slim better", "slim's share, 95 % interval")
    rows = [
        [
            words(f"{slim} against {dense}"),
            number(tally.dense),
            number(tally.same),
            number(tally.slim),
            number(_share(tally)),
        ]
        for (dense, slim), tally in found.items()
    ]
    said = (
        "Share of the votes that prefer a side, with Wilson's binomial interval. An interval that "
        "contains 50 % favors neither side."
    )
    return (
        '<div class="ws-card ws-figures">'
        f'{table(headers, rows, caption="Blind votes")}<p class="ws-small">{text(said)}</p></div>'
    )


def _share(tally: Tally) -> str:
    if not tally.decided:
        return "–"
    low, high = wilson(tally.slim, tally.decided)
    return f"{percent(tally.slim / tally.decided, 0)} ({interval(low, high)})"


def _pair(compared: Compared) -> tuple[str, str]:
    dense, slim = (compared.side(role) for role in ROLES[:2])
    return f"{dense.model} in {dense.runs_in}", f"{slim.model} in {slim.runs_in}"
