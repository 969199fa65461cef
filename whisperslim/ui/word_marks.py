"""Two texts as one line of marked words."""

from collections.abc import Iterable
from typing import Protocol

from whisperslim.ui.markup import text


class Difference(Protocol):
    """One step of a word alignment, as `speech.wer.WordDifference`."""

    @property
    def kind(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def hypothesis(self) -> str: ...


def marked_words(differences: Iterable[Difference]) -> str:
    """The hypothesis with what is inserted, deleted and replaced marked.

    Marks differ in shape as in colour. Words are marked whole: splitting one would tear a vowel
    sign from its letter.
    """
    return " ".join(_marked(difference) for difference in differences)


def marks_legend() -> str:
    """What the marks mean."""
    return (
        '<div class="ws-marked ws-marks-legend"><ins>inserted</ins> <del>left out</del> '
        "<mark><s>expected</s> → written</mark></div>"
    )


def _marked(step: Difference) -> str:
    expected, written = text(step.reference), text(step.hypothesis)
    if step.kind == "equal":
        return f"<span>{written}</span>"
    if step.kind == "insert":
        return f'<ins title="inserted">{written}</ins>'
    if step.kind == "delete":
        return f'<del title="left out">{expected}</del>'
    return f'<mark title="replaced"><s>{expected}</s> → {written}</mark>'
