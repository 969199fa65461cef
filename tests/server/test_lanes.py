"""A lane: who is heard when, and that nothing is lost or mixed up."""

import threading
from collections.abc import Callable
from typing import Self

import numpy as np
import pytest

from tests.server.scripted import Scripted, opened, tone, until
from whisperslim.engines.base import Transcript
from whisperslim.errors import AudioError, ExportError, UsageError
from whisperslim.server.lanes import MOST_AT_ONCE, ClosedError, FullError, Job, Lane, UntimedError


class Heard:
    """What a lane says of one job."""

    def __init__(self, seconds: float, language: str = "hi", words: bool = False) -> None:
        self.parts: list[str] = []
        self.how: list[Transcript | Exception] = []
        self.job = Job(lambda: tone(seconds), language, words, self.parts.append, self.how.append)

    @property
    def text(self) -> str:
        (how,) = self.how
        assert isinstance(how, Transcript), how
        return how.text


def lane(engine: Scripted, waiting: int = 50, seconds: float = 1000.0) -> Lane:
    return Lane("m", engine, waiting, seconds)


def held(engine: Scripted, made: Lane) -> Heard:
    """A job whose only part is being heard, until the gate opens."""
    first = Heard(0.3)
    made.submit(first.job)
    until(lambda: len(engine.heard) == 1)
    return first


def test_one_job_is_heard_as_the_engine_hears_it_alone() -> None:
    engine = opened()
    made, whole = lane(engine), Heard(5.0, words=True)
    made.submit(whole.job)
    until(lambda: bool(whole.how))
    wanted = engine.telling_words().transcribe(tone(5.0))
    (found,) = whole.how
    assert isinstance(found, Transcript)
    assert (found.text, found.segments, found.words) == (
        wanted.text, wanted.segments, wanted.words,
    )  # fmt: skip
    assert len(whole.parts) > 1 and "".join(whole.parts) == found.text
    made.close()


def test_a_long_recording_holds_up_no_short_one() -> None:
    engine = Scripted()
    made = lane(engine)
    first = held(engine, made)
    long, short = Heard(9.0), Heard(0.5)
    for each in (long, short):
        made.submit(each.job)
    engine.gate.set()
    until(lambda: all(each.how for each in (first, long, short)))
    order = [each for (each,) in engine.heard]
    # The short one comes after the long one's first part, before its last.
    assert order.index(0.5) == 2 < len(order) - 1
    assert long.text == " ".join(f"{each:.1f}" for each in order if each not in (0.3, 0.5))
    made.close()


def test_what_waits_together_is_given_to_the_engine_together() -> None:
    engine = Scripted(together=True)
    made = lane(engine)
    held(engine, made)
    jobs = [Heard(0.5 + 0.1 * n) for n in range(MOST_AT_ONCE + 2)]
    for each in jobs:
        made.submit(each.job)
    engine.gate.set()
    until(lambda: all(each.how for each in jobs))
    assert [each.text for each in jobs] == [f"{0.5 + 0.1 * n:.1f}" for n in range(len(jobs))]
    assert max(map(len, engine.heard)) == MOST_AT_ONCE
    made.close()


def test_languages_and_words_are_not_mixed_in_one_batch() -> None:
    engine = Scripted(together=True)
    made = lane(engine)
    held(engine, made)
    jobs = [Heard(0.5), Heard(0.6, "mr"), Heard(0.7, words=True)]
    for each in jobs:
        made.submit(each.job)
    engine.gate.set()
    until(lambda: all(each.how for each in jobs))
    assert sorted(engine.heard[1:]) == [(0.5,), (0.6,), (0.7,)]
    assert [bool(each.how[0].words) for each in jobs] == [False, False, True]  # type: ignore[union-attr]
    made.close()


def test_of_a_batch_only_what_cannot_be_heard_fails() -> None:
    class Picky(Scripted):
        def hear_many(self, given, seconds, language):  # type: ignore[no-untyped-def]
            if any(round(each, 1) == 0.6 for each in seconds):
                raise ExportError("not this one")
            return super().hear_many(given, seconds, language)

    engine = Picky(together=True)
    made = lane(engine)
    held(engine, made)
    jobs = [Heard(0.5), Heard(0.6), Heard(0.7)]
    for each in jobs:
        made.submit(each.job)
    engine.gate.set()
    until(lambda: all(each.how for each in jobs))
    assert isinstance(jobs[1].how[0], ExportError)
    assert [jobs[0].text, jobs[2].text] == ["0.5", "0.7"]
    made.close()


def test_the_queue_is_bounded_and_a_cancelled_job_frees_its_place() -> None:
    engine = Scripted()
    made = lane(engine, waiting=2)
    first = held(engine, made)
    second, third, fourth = Heard(0.5), Heard(0.6), Heard(0.7)
    made.submit(second.job)
    made.submit(third.job)
    assert made.is_full
    with pytest.raises(FullError) as full:
        made.submit(fourth.job)
    assert full.value.waiting == 2 and full.value.retry_after >= 1
    assert made.cancel(second.job) and not made.cancel(first.job), "the first has begun"
    made.submit(fourth.job)
    engine.gate.set()
    until(lambda: bool(fourth.how))
    assert not first.how and not second.how, "nobody waits for these"
    assert third.text == "0.6" and (0.5,) not in engine.heard
    made.close()


def test_a_cancelled_job_is_left_after_the_part_that_is_being_heard() -> None:
    engine = Scripted()
    made, long, next_ = lane(engine), Heard(9.0), Heard(0.5)
    made.submit(long.job)
    until(lambda: len(engine.heard) == 1)
    made.cancel(long.job)
    engine.gate.set()
    made.submit(next_.job)
    until(lambda: bool(next_.how))
    assert len(engine.heard) == 2 and not long.how and not long.parts
    made.close()


def test_sound_in_work_is_bounded() -> None:
    """Features of one recording may go over the bound, and only then nothing more is decoded."""
    engine = Scripted()
    made = lane(engine, seconds=1.0)
    held(engine, made)
    decoded = threading.Event()

    def sound() -> np.ndarray:
        decoded.set()
        return tone(2.0)

    one, two, three = Heard(0.8), Heard(2.0), Heard(0.5)
    two.job.sound = sound
    for each in (one, two, three):
        made.submit(each.job)
    engine.gate.set()
    until(lambda: all(each.how for each in (one, two, three)))
    assert decoded.is_set() and [one.text, three.text] == ["0.8", "0.5"]
    # 0.8 s and 2 s are in work together, since 0.8 s are below the bound; 0.5 s come after.
    assert engine.heard.index((0.5,)) == len(engine.heard) - 1
    made.close()


def failing(error: Exception) -> Callable[[], np.ndarray]:
    def sound() -> np.ndarray:
        raise error

    return sound


def test_errors_end_their_job_and_not_the_lane(caplog: pytest.LogCaptureFixture) -> None:
    made = lane(opened())
    bad, foreign, unknown, fault = Heard(1.0), Heard(0.5, "xx"), Heard(1.0, "zz"), Heard(1.0)
    bad.job.sound = failing(AudioError("no sound"))
    fault.job.sound = failing(ZeroDivisionError("a fault"))
    good = Heard(0.5)
    for each in (bad, foreign, unknown, fault, good):
        made.submit(each.job)
    until(lambda: bool(good.how))
    kinds = [type(each.how[0]) for each in (bad, foreign, unknown, fault)]
    assert kinds == [AudioError, ExportError, UsageError, ZeroDivisionError]
    assert good.text == "0.5" and made.is_alive
    assert "ZeroDivisionError" in caplog.text, "a fault in the program is in the log"
    made.close()


def test_an_engine_that_times_no_words_is_not_named() -> None:
    class Untimed(Scripted):
        def telling_words(self) -> Self:
            raise UsageError("/home/somebody/model cannot")

    class Later(Scripted):
        def hear_many(self, given, seconds, language):  # type: ignore[no-untyped-def]
            raise UsageError("the export of /home/somebody/model cannot")

    for kind in (Untimed, Later):
        made, asked = lane(kind()), Heard(0.5, words=True)
        made.submit(asked.job)
        until(lambda: bool(asked.how))  # noqa: B023
        assert isinstance(asked.how[0], UntimedError) and "somebody" not in str(asked.how[0])
        made.close()


def test_what_is_left_when_it_closes_is_refused() -> None:
    engine = Scripted()
    made = lane(engine)
    first, second = held(engine, made), Heard(0.5)
    made.submit(second.job)
    threading.Timer(0.2, engine.gate.set).start()
    made.close()
    assert first.text == "0.3", "it had no other part"
    assert isinstance(second.how[0], ClosedError) and not made.is_alive
    with pytest.raises(ClosedError):
        made.submit(Heard(0.5).job)


def test_silence_is_given_to_no_engine() -> None:
    engine, quiet = opened(), Heard(1.0)
    quiet.job.sound = lambda: np.zeros(16_000, np.float32)
    made = lane(engine)
    made.submit(quiet.job)
    until(lambda: bool(quiet.how))
    assert quiet.text == "" and not engine.heard and not quiet.parts
    made.close()
