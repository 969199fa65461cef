"""Words written as one or as several: बातचीत and बात चीत, भारत-पाक and भारतपाक."""

import itertools
from collections.abc import Sequence

MOST_PARTS = 4
"""Words that one word may be divided into. Our choice."""


def respaced(reference: str, hypothesis: str) -> str:
    """The hypothesis, with the reference's word boundaries wherever only these differ.

    A word of the one may stand for two to `MOST_PARTS` of the other that have the same letters. Of
    the ways to do that, one with the fewest word errors is taken. Both texts are normalized
    already; the reference's words stay, so that all systems are scored over equally many.
    """
    refs, hyps = reference.split(), hypothesis.split()
    if reference == hypothesis or not _may_differ_in_spaces(refs, hyps):
        return hypothesis
    written: list[str] = []
    i, j = len(refs), len(hyps)
    steps = _steps(refs, hyps)
    while i or j:
        left, right = steps[i][j]
        same = left and right and (left, right) != (1, 1)
        # Backwards, so the words of a stretch are, too.
        written += reversed(refs[i - left : i] if same else hyps[j - right : j])
        i, j = i - left, j - right
    return " ".join(reversed(written))


def _may_differ_in_spaces(refs: Sequence[str], hyps: Sequence[str]) -> bool:
    """Whether two neighbors of one side make a piece of a word on the other."""
    return any(
        first + second in word
        for words, others in ((refs, hyps), (hyps, refs))
        for first, second in itertools.pairwise(words)
        for word in others
    )


def _steps(refs: Sequence[str], hyps: Sequence[str]) -> list[list[tuple[int, int]]]:
    """How many words of each side the last step of a best alignment takes, for all beginnings."""
    cost = [[0] * (len(hyps) + 1) for _ in range(len(refs) + 1)]
    steps = [[(0, 0)] * (len(hyps) + 1) for _ in range(len(refs) + 1)]
    for i in range(len(refs) + 1):
        for j in range(len(hyps) + 1):
            ways = [
                (cost[i - left][j - right] + price, (left, right))
                for left, right, price in _ways(refs, hyps, i, j)
            ]
            if ways:
                cost[i][j], steps[i][j] = min(ways, key=lambda way: way[0])
    return steps


def _ways(refs: Sequence[str], hyps: Sequence[str], i: int, j: int) -> list[tuple[int, int, int]]:
    """Words of the reference, of the hypothesis, and errors, of each step that may end here."""
    found = []
    if i and j:
        found.append((1, 1, int(refs[i - 1] != hyps[j - 1])))
        for parts in range(2, MOST_PARTS + 1):
            if parts <= i and "".join(refs[i - parts : i]) == hyps[j - 1]:
                found.append((parts, 1, 0))
            if parts <= j and "".join(hyps[j - parts : j]) == refs[i - 1]:
                found.append((1, parts, 0))
    if i:
        found.append((1, 0, 1))
    if j:
        found.append((0, 1, 1))
    return found
