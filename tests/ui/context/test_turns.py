"""Who is heard when, by models that many ask for at once."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.scripted import Scripted, until, wav
from whisperslim.errors import AudioError, ExportError, UsageError
from whisperslim.ui.context.cache import ModelCache
from whisperslim.ui.context.models import Listening
from whisperslim.ui.context.side_choice import SideChoice
from whisperslim.ui.context.turns import Asked, Turns

DENSE, SLIM = SideChoice("dense"), SideChoice("slim")


def asked(name: str, language: str = "hi", *, alone: bool = False) -> Asked:
    return Asked(name, (DENSE, SLIM), np.zeros(1, np.float32), language, None, alone)


def names(found: list[Asked]) -> list[str]:
    return [each.recording for each in found]


def test_those_alike_are_taken_with_the_first_and_no_other_loses_its_place() -> None:
    turns = Turns()
    waiting = [asked("a"), asked("b", "mr"), asked("c"), asked("d", alone=True), asked("e")]
    for each in [*waiting, replace(asked("f"), sides=(SLIM, DENSE)), asked("g")]:
        turns.ask(each)
    first = turns.first()
    assert first is not None and first.recording == "a"
    assert names(turns.like(first, 2)) == ["c", "e"]
    left = [turns.first() for _ in range(5)]
    assert [each.recording if each else None for each in left] == ["b", "d", "f", "g", None]


def test_nobody_is_heard_with_one_that_is_to_be_alone() -> None:
    turns = Turns()
    turns.ask(asked("b"))
    assert turns.like(asked("a", alone=True), 8) == []
    assert turns.like(asked("a"), 0) == []


def test_other_work_waits_for_every_comparison() -> None:
    turns, done = Turns(), list[str]()
    turns.later(lambda: done.append("times"))
    turns.ask(asked("a"))
    assert turns.spare() is None
    turns.first()
    work = turns.spare()
    assert work is not None
    work()
    assert done == ["times"] and turns.spare() is None


@dataclass
class Room:
    """The app's models, which a test holds up, and people who compare."""

    folder: Path
    engines: dict[str, Scripted] = field(default_factory=dict)
    people: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16))

    def __post_init__(self) -> None:
        self.listening = Listening(models=ModelCache(self.open, capacity=3))

    def open(self, side: SideChoice) -> Scripted:
        self.engines[side.path] = Scripted(together=side.path == "dense")
        self.engines[side.path].gate.set()
        return self.engines[side.path]

    def recording(self, seconds: float) -> str:
        path = self.folder / f"{seconds}.wav"
        path.write_bytes(wav(seconds))
        return str(path)

    def compare(self, seconds: float, language: str = "hi", **how: Any) -> Future[Any]:
        """Somebody else compares; returns once they wait."""
        before = len(self.listening._turns._asked)
        recording = self.recording(seconds)
        ask = self.listening.compare
        found = self.people.submit(ask, DENSE, SLIM, recording, language, None, **how)
        until(lambda: found.done() or len(self.listening._turns._asked) > before)
        return found

    def hold(self) -> Future[Any]:
        """A comparison that goes on until `go`."""
        self.engines["dense"].gate.clear()
        heard = len(self.engines["dense"].heard)
        first = self.people.submit(
            self.listening.compare, DENSE, SLIM, self.recording(0.3), "hi", None
        )
        until(lambda: len(self.engines["dense"].heard) > heard)
        return first

    def go(self) -> None:
        self.engines["dense"].gate.set()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    made.compare(0.2).result(60)  # models that have not worked yet hear nobody together
    yield made
    made.go()
    made.people.shutdown()


def texts(found: Future[Any]) -> tuple[str, str]:
    comparison = found.result(60)
    return comparison.dense.transcript.text, comparison.slim.transcript.text


def test_comparisons_that_wait_together_are_heard_in_one_pass(room: Room) -> None:
    first = room.hold()
    waiting = [room.compare(seconds) for seconds in (0.5, 0.6, 0.7)]
    room.go()
    assert [texts(each) for each in waiting] == [("0.5",) * 2, ("0.6",) * 2, ("0.7",) * 2]
    assert room.engines["dense"].heard[-1] == (0.5, 0.6, 0.7)
    # The slim engine hears one at a time, and so it is given one at a time.
    assert room.engines["slim"].heard[-3:] == [(0.5,), (0.6,), (0.7,)]
    assert [each.result().together for each in waiting] == [3, 3, 3]
    assert first.result().together == 1


def test_who_is_to_be_heard_alone_is(room: Room) -> None:
    room.hold()
    folder = room.compare(0.5, alone=True)
    others = [room.compare(0.6), room.compare(0.7, "mr"), room.compare(0.8)]
    room.go()
    assert [each.result(60).together for each in (folder, *others)] == [1, 2, 1, 2]


def test_of_a_pass_only_what_cannot_be_heard_fails(room: Room) -> None:
    room.hold()
    good, bad = room.compare(0.5), room.compare(0.6)
    dense = room.engines["dense"]

    def picky(given: Any, seconds: Any, language: str) -> Any:
        if any(round(each, 1) == 0.6 for each in seconds):
            raise ExportError("not this one")
        return Scripted.hear_many(dense, given, seconds, language)

    object.__setattr__(dense, "hear_many", picky)
    room.go()
    assert texts(good) == ("0.5", "0.5")
    with pytest.raises(ExportError, match="not this one"):
        bad.result(60)


def test_an_error_of_all_reaches_all(room: Room) -> None:
    room.hold()
    waiting = [room.compare(0.5, "zz"), room.compare(0.6, "zz")]
    room.go()
    for each in waiting:
        with pytest.raises(UsageError, match="unknown language"):
            each.result(60)
    assert texts(room.compare(0.5)) == ("0.5", "0.5"), "the next is heard"


def test_word_times_are_made_while_no_comparison_waits(room: Room) -> None:
    room.hold()
    dense = room.engines["dense"]
    times = room.people.submit(room.listening.timed, DENSE, room.recording(0.9), "hi")
    until(lambda: bool(room.listening._turns._spare))
    later = room.compare(0.5)
    room.go()
    assert times.result(60).words
    assert later.result(60)
    assert dense.heard[-2:] == [(0.5,), (0.9,)]


def test_a_bad_recording_is_refused_before_it_waits(room: Room) -> None:
    with pytest.raises(AudioError):
        room.listening.compare(DENSE, SLIM, str(room.folder / "none.wav"), "hi", None)
