"""What the comparisons of the same models come to so far: clips heard better, and votes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from whisperslim.speech.scoring.verdict import judge_sides
from whisperslim.ui.compare.record import SAME, Compared, title_of
from whisperslim.ui.parts.markup import text

_NOBODY = "no winner"
_MOST_CLIPS = 200  # our choice: the latest; more would be read for every comparison


@dataclass(frozen=True)
class RunningScore:
    """Counts by what a side is called; `heard` of clips whose text is known, `votes` of all."""

    heard: Counter[str]
    votes: Counter[str]


def running_score(compared: Compared, kept: Iterable[Compared]) -> RunningScore:
    """Of the comparisons of the same models in the same engines; hidden ones do not count yet."""
    models = _models(compared)
    heard: Counter[str] = Counter()
    votes: Counter[str] = Counter()
    alike = [each for each in kept if not each.hidden and _models(each) == models]
    for each in alike[:_MOST_CLIPS]:
        if each.reference:
            texts = tuple((title_of(side), side.text) for side in each.sides)
            heard[_winner(texts, each.reference, each.language) or _NOBODY] += 1
        if each.vote is not None:
            votes[SAME if each.vote == SAME else title_of(each.side(each.vote))] += 1
    return RunningScore(heard, votes)


def score_html(compared: Compared, kept: Iterable[Compared]) -> str:
    """Both counts in one line; empty while sides are hidden, or nothing is counted yet."""
    if compared.hidden:
        return ""
    score, names = running_score(compared, kept), [title_of(side) for side in compared.sides]
    lines = [
        _line("Heard better so far", score.heard, [*names, _NOBODY]),
        _line("Votes", score.votes, [*names, SAME]),
    ]
    shown = "".join(line for line in lines if line)
    return f'<div class="ws-score" role="status">{shown}</div>' if shown else ""


def _line(title: str, counts: Counter[str], names: Sequence[str]) -> str:
    if not counts:
        return ""
    parts = "".join(f"<span>{text(name)} <b>{counts[name]}</b></span>" for name in names)
    return f"<p><strong>{text(title)}</strong>{parts}</p>"


def _models(compared: Compared) -> tuple[tuple[str, str], ...]:
    return tuple((side.model, side.runs_in) for side in compared.sides)


# Each comparison is judged again for every one that follows.
@lru_cache(maxsize=1024)
def _winner(texts: tuple[tuple[str, str], ...], reference: str, language: str) -> str:
    return judge_sides(dict(texts), reference, language).winner
