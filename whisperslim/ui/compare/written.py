"""A transcript as it was written, word by word: which words differ, and when each was said."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from whisperslim.speech.scoring.normalizer import Normalizer
from whisperslim.speech.scoring.wer import word_differences
from whisperslim.ui.parts.markup import text

Span = tuple[float, float]
"""Start and end in seconds of the recording."""


class TimedText(Protocol):
    """A word and when it was said, as `exported.ctc.Word`."""

    @property
    def text(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


@dataclass(frozen=True)
class WrittenWord:
    """A word as it stands in the transcript.

    Attributes:
        text: With its punctuation.
        differs: Whether it is not what it is compared with.
        left_out: Words that should have come before it.
    """

    text: str
    differs: bool = False
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """A transcript beside another text. `left_out` are words that should have come at its end."""

    words: tuple[WrittenWord, ...]
    left_out: tuple[str, ...] = ()


def written_beside(
    transcript: str,
    other: str,
    normalizer: Normalizer,
    respell: Callable[[str], str] = str,
) -> Written:
    """The words of `transcript` that differ from `other`, both after `normalizer`.

    `respell` comes before it, word by word. Where a normalizer joins or splits words depending on
    their neighbors, nobody knows which written word is meant: then none is marked.
    """
    plain = transcript.split()
    pieces = [normalizer(respell(word)).split() for word in plain]
    steps = word_differences(other, respell(transcript), normalizer)
    heard = [step.hypothesis for step in steps if step.kind != "delete"]
    if heard != [piece for each in pieces for piece in each]:
        return Written(tuple(WrittenWord(word) for word in plain))
    owners = iter([place for place, each in enumerate(pieces) for _ in each])
    differ: set[int] = set()
    missing: dict[int, tuple[str, ...]] = {}
    waiting: tuple[str, ...] = ()
    for step in steps:
        if step.kind == "delete":
            waiting += (step.reference,)
            continue
        place = next(owners)
        if waiting:
            missing[place] = missing.get(place, ()) + waiting
            waiting = ()
        if step.kind != "equal":
            differ.add(place)
    words = (
        WrittenWord(word, place in differ, missing.get(place, ()))
        for place, word in enumerate(plain)
    )
    return Written(tuple(words), waiting)


def written_html(written: Written, *, left_out: bool) -> str:
    """Each word in an element of its own, so that it can be highlighted while it is played.

    Words that differ are marked by shape as well as by color; with `left_out`, those that should
    have been there stand struck out.
    """
    parts = []
    for word in written.words:
        parts += _missing(word.left_out) if left_out else []
        kind, name = ("mark", "ws-word ws-differs") if word.differs else ("span", "ws-word")
        parts.append(f'<{kind} class="{name}">{text(word.text)}</{kind}>')
    parts += _missing(written.left_out) if left_out else []
    return " ".join(parts)


def spans_of(transcript: str, words: Sequence[TimedText]) -> tuple[Span, ...]:
    """When each word of `transcript`, between its spaces, was said.

    Models divide a text otherwise, so words are matched by their letters. Empty when `words` are
    not the letters of this transcript, or there are none.
    """
    letters = [(letter, word) for word in words for letter in word.text if not letter.isspace()]
    if [letter for letter, _ in letters] != [each for each in transcript if not each.isspace()]:
        return ()
    spans, at = [], 0
    for word in transcript.split():
        first, last = letters[at][1], letters[at + len(word) - 1][1]
        spans.append((first.start, last.end))
        at += len(word)
    return tuple(spans)


def _missing(left_out: Iterable[str]) -> list[str]:
    return [f'<del title="left out">{text(word)}</del>' for word in left_out]
