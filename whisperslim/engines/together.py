"""Several recordings heard at once: one part of each in a turn, so that a long one delays no other.

What an engine hears faster together is given to it together, and each has the text it has alone.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from whisperslim.engines.base import Features, Transcript
from whisperslim.engines.windowed import Heard, WindowedTranscriber, joined
from whisperslim.errors import AudioError, UsageError, WhisperSlimError, shortage_of

_MOST_SECONDS = 600.0  # of sound in a group; our choice, for the memory it takes
Key = TypeVar("Key")
Result = TypeVar("Result")
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Hearing:
    """A recording that is being heard.

    Attributes:
        engine: What hears it. Those of one and the same engine and language are heard together.
        features: All of the recording.
        language: Whisper's code.
        parts: What is heard so far, in order.
        seconds: How long the calls took that it was part of, and its features.
    """

    engine: WindowedTranscriber
    features: Features
    language: str
    parts: list[Heard] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.seconds += self.features.seconds

    @property
    def next(self) -> int:
        """Number of the next part."""
        return len(self.parts)

    @property
    def is_done(self) -> bool:
        """Whether all of it is heard."""
        return self.next == len(self.features.inputs)

    def add(self, heard: Heard) -> None:
        """Take the next part."""
        self.parts.append(heard)

    def transcript(self) -> Transcript:
        """Of a recording that is done. Its time is also that of what was heard with it."""
        return joined(self.features, self.parts, self.seconds)


Failure = tuple[Hearing, Exception]


def hear_turn(hearings: Sequence[Hearing]) -> list[Failure]:
    """Hear the next part of each, and return those that could not be heard: no other fails."""
    batches: dict[tuple[int, str], list[Hearing]] = {}
    failed: list[Failure] = []
    for each in hearings:
        if each.is_done:
            continue
        if each.features.inputs[each.next] is None:
            each.add(Heard())  # silent parts are given to no engine
        else:
            batches.setdefault((id(each.engine), each.language), []).append(each)
    for batch in batches.values():
        for some in _cut(batch, batch[0].engine.at_once):
            failed += _hear(some)
    return failed


def hear_all(hearings: Sequence[Hearing]) -> list[Failure]:
    """Hear all of each, and return those that could not be heard."""
    failed: list[Failure] = []
    left = list(hearings)
    while left:
        failed += hear_turn(left)
        gone = {id(each) for each, _ in failed}
        left = [each for each in left if not each.is_done and id(each) not in gone]
    return failed


def heard_in_groups(
    engine: WindowedTranscriber,
    recordings: Iterable[Key],
    sound: Callable[[Key], np.ndarray],
    language: str,
    at_once: int,
) -> Iterator[tuple[Key, Transcript | AudioError]]:
    """Each recording with what is heard in it, or why it cannot be used; in their order.

    With `at_once` above 1, as many are in memory and heard together: each text is the one it has
    alone, and its seconds are of all the calls that it was part of.

    Args:
        engine: What hears them.
        recordings: Whatever `sound` knows them by.
        sound: Gives mono float32 at 16 kHz; may raise `AudioError`.
        language: Whisper's code.
        at_once: Recordings heard together, 1 or more.

    Raises:
        UsageError: for another `at_once`, or an unknown language.
        ExportError: as the engine does, for the first that it cannot hear.
    """
    if at_once < 1:
        raise UsageError(f"{at_once} recordings at once: 1 or more are heard together")
    engine.check_language(language)
    group: list[tuple[Key, Hearing | AudioError]] = []
    for key in recordings:
        try:
            features = engine.features_for(sound(key))
        except AudioError as error:  # the other recordings are still wanted
            group.append((key, error))
        else:
            group.append((key, Hearing(engine, features, language)))
        hearings = [each for _, each in group if isinstance(each, Hearing)]
        held = sum(each.features.audio_seconds for each in hearings)
        if len(hearings) >= at_once or held >= _MOST_SECONDS or not hearings:
            yield from _ended(group)
            group = []
    yield from _ended(group)


def _ended(
    group: Sequence[tuple[Key, Hearing | AudioError]],
) -> Iterator[tuple[Key, Transcript | AudioError]]:
    failed = hear_all([each for _, each in group if isinstance(each, Hearing)])
    errors = {id(each): error for each, error in failed}
    for key, each in group:
        if isinstance(each, AudioError):
            yield key, each
        elif (error := errors.get(id(each))) is None:
            yield key, each.transcript()
        elif isinstance(error, AudioError):
            yield key, error
        else:
            raise error


def tried(work: Callable[[], Result]) -> Result | Exception:
    """What `work` gives, or its error: others wait that it says nothing of."""
    try:
        return work()
    except WhisperSlimError as error:
        return error
    except Exception as error:
        logger.exception("a recording could not be heard")
        return shortage_of(error) or error


def _cut(batch: list[Hearing], most: int) -> Iterator[list[Hearing]]:
    for start in range(0, len(batch), most):
        yield batch[start : start + most]


def _hear(batch: list[Hearing]) -> list[Failure]:
    started = time.perf_counter()
    heard = tried(lambda: _heard(batch))
    took = time.perf_counter() - started
    if not isinstance(heard, Exception):
        for each, part in zip(batch, heard, strict=True):
            each.seconds += took
            each.add(part)
        return []
    if len(batch) == 1:
        return [(batch[0], heard)]
    # Only the one that cannot be heard fails.
    return [failure for each in batch for failure in _hear([each])]


def _heard(batch: list[Hearing]) -> list[Heard]:
    """The next part of each."""
    given, lengths = [], []
    for each in batch:
        made = each.features.inputs[each.next]
        assert made is not None
        given.append(made)
        lengths.append(each.features.segments[each.next].seconds)
    return batch[0].engine.hear_many(given, lengths, batch[0].language)
