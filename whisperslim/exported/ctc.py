"""What a model that scores frames (CTC) has written: its tokens, and when each word was said.

Text is read off the greedy path: the likeliest token of every frame, repeats and blanks dropped
(Graves et al., ICML 2006, section 3.2). Nothing is searched.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

# Seconds are numbers of samples divided: 0.02 s may be a little more.
_TOLERANCE = 1e-6


class FrameTokens(Protocol):
    """Tokens of a model that scores frames."""

    @property
    def blank(self) -> int:
        """The id that stands for no token."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        ...

    def is_gap(self, token: int) -> bool:
        """Whether a token is the space between words and nothing else."""
        ...

    def begins_word(self, token: int) -> bool:
        """Whether a token has the space before a word in it."""
        ...


@dataclass(frozen=True)
class FrameTiming:
    """Which frames hear something of a clip; what follows them hears only what pads the window.

    Attributes:
        stride: Seconds from one encoder position to the next.
        lead: Seconds of sound beyond its stride that a position must have heard; 0 where positions
            are counted that have begun within the clip.
        pool: Positions averaged for one frame that is scored.
    """

    stride: float
    lead: float = 0.0
    pool: int = 1

    def positions(self, seconds: float) -> int:
        """Encoder positions of a clip."""
        return max(0, math.ceil((seconds - self.lead - _TOLERANCE) / self.stride))

    def frames(self, seconds: float) -> int:
        """Frames scored of a clip: whole pools. An odd position at the end is almost all
        silence."""
        return self.positions(seconds) // self.pool

    @property
    def frame_seconds(self) -> float:
        """From one frame to the next."""
        return self.stride * self.pool


@dataclass(frozen=True)
class CTCRules:
    """What a family whose head scores frames states of a model, for engines that run an export.

    Attributes:
        blank: Id of the blank.
        stride, lead, pool: As of `FrameTiming`.
    """

    blank: int
    stride: float
    lead: float
    pool: int

    @property
    def timing(self) -> FrameTiming:
        """Which frames belong to a clip."""
        return FrameTiming(self.stride, self.lead, self.pool)


@dataclass(frozen=True)
class Word:
    """A word and when it was said.

    Attributes:
        text: As in the transcript.
        start: Where the first frame of its first token begins, in seconds.
        end: Where the last frame of its last token ends, in seconds.
        confidence: Mean probability, over the frames of the greedy path that wrote it, or over its
            tokens. How sure the model was, which is not how often it is right.
    """

    text: str
    start: float
    end: float
    confidence: float

    def later(self, seconds: float) -> "Word":
        """The same word in a recording that begins so much earlier."""
        return Word(self.text, self.start + seconds, self.end + seconds, self.confidence)


DECODING = "greedy CTC, repeats and blanks dropped"
"""How text is read off, for reports."""


@dataclass(frozen=True)
class Path:
    """A greedy path.

    Attributes:
        ids: The tokens written.
        words: The words they make. Times are those of the frames on the path; a model trained
            with CTC tends to write a token in few frames, somewhere within its sound.
    """

    ids: tuple[int, ...]
    words: tuple[Word, ...]


@dataclass
class _Open:
    """A word that is not complete yet."""

    ids: list[int]
    first: int
    last: int
    chances: list[float]


def read_path(
    best: Sequence[int],
    chances: Sequence[float],
    tokens: FrameTokens,
    timing: FrameTiming,
    seconds: float,
) -> Path:
    """Collapse the part of a greedy path that covers a clip of so many seconds.

    Args:
        best: The likeliest token of every frame.
        chances: Its probability.
        tokens: Which of them are blank or spaces.
        timing: Which frames belong to the clip, and when they are.
        seconds: Length of the clip.
    """
    best, frame_seconds = best[: timing.frames(seconds)], timing.frame_seconds
    ids: list[int] = []
    words: list[_Open] = []
    inside = False
    for token, run in groupby(range(len(best)), key=lambda frame: best[frame]):
        if token == tokens.blank:
            continue
        frames = list(run)
        ids.append(token)
        if tokens.is_gap(token):
            inside = False
            continue
        if not inside or tokens.begins_word(token):
            words.append(_Open([], frames[0], frames[0], []))
            inside = True
        word = words[-1]
        word.ids.append(token)
        word.last = frames[-1]
        word.chances += [chances[frame] for frame in frames]
    return Path(tuple(ids), tuple(_closed(word, tokens.decode, frame_seconds) for word in words))


def _closed(word: _Open, decode: Callable[[Sequence[int]], str], frame_seconds: float) -> Word:
    return Word(
        decode(word.ids),
        word.first * frame_seconds,
        (word.last + 1) * frame_seconds,
        sum(word.chances) / len(word.chances),
    )
