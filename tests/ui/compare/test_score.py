"""The running score of a pair of models, counted by hand."""

from dataclasses import replace

from tests.ui.compare.test_history import SPOKEN, made, wrote
from whisperslim.ui.compare.record import Compared
from whisperslim.ui.compare.score import running_score, score_html

BAD = "एक दो"


def kept() -> list[Compared]:
    """Slim is right twice, dense once, and once both are right; a fifth text is not known."""
    return [
        wrote(SPOKEN, BAD, SPOKEN, vote="slim"),
        wrote(SPOKEN, BAD, SPOKEN),
        wrote(SPOKEN, SPOKEN, BAD, vote="same"),
        wrote(SPOKEN, SPOKEN, SPOKEN, vote="slim"),
        made(),
    ]


def test_clips_and_votes_are_counted() -> None:
    score = running_score(made(), kept())
    assert score.heard == {"slim": 2, "dense": 1, "no winner": 1}
    assert score.votes == {"slim": 2, "same": 1}


def test_other_models_and_hidden_sides_do_not_count() -> None:
    others = [replace(each, sides=made(slim="other").sides) for each in kept()]
    hidden = [replace(wrote(SPOKEN, BAD, SPOKEN), blind=("slim", "dense"))]
    score = running_score(made(), [*others, *hidden])
    assert not score.heard and not score.votes


def test_nothing_is_shown_that_could_reveal_hidden_sides() -> None:
    assert score_html(replace(made(), blind=("slim", "dense")), kept()) == ""
    assert score_html(made(), []) == ""
    page = score_html(made(), kept())
    assert "slim <b>2</b>" in page and "dense <b>1</b>" in page and "no winner <b>1</b>" in page
    assert "same <b>1</b>" in page
