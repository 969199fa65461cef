"""How pages learn that a run has changed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from whisperslim.ui.runs.watch import KEPT_SECONDS, Latest


@dataclass
class Folder:
    """What is to be seen, and how often it was looked at."""

    seen: dict[str, int] = field(default_factory=dict)
    looked: list[str] = field(default_factory=list)
    may_end: threading.Event = field(default_factory=threading.Event)

    def look(self, name: str) -> object:
        self.looked.append(name)
        assert self.may_end.wait(60)
        return self.seen.get(name)


@pytest.fixture
def folder() -> Folder:
    found = Folder({"a": 1, "b": 1})
    found.may_end.set()
    return found


def test_a_mark_changes_with_what_is_seen_of_that_run(folder: Folder) -> None:
    now = [100.0]
    latest = Latest(folder.look, clock=lambda: now[0])
    before = {name: latest.mark(name) for name in "ab"}
    folder.seen["a"] = 2
    assert {name: latest.mark(name) for name in "ab"} == before, "kept for a moment"
    assert folder.looked == ["a", "b"]
    now[0] += KEPT_SECONDS
    assert latest.mark("a") != before["a"]
    assert latest.mark("b") == before["b"]
    folder.seen["a"] = 1
    now[0] += KEPT_SECONDS
    assert latest.mark("a") == before["a"]


def test_pages_that_ask_at_once_share_one_look(folder: Folder) -> None:
    latest = Latest(folder.look, clock=lambda: 0.0)
    folder.may_end.clear()
    with ThreadPoolExecutor(8) as pages:
        asked = [pages.submit(latest.mark, "a") for _ in range(8)]
        folder.may_end.set()
    assert len({each.result() for each in asked}) == 1
    assert folder.looked == ["a"]


def test_a_run_that_takes_long_delays_no_other() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def look(name: str) -> object:
        if name == "a":
            begun.set()
            assert may_end.wait(60)
        return name

    latest = Latest(look)
    with ThreadPoolExecutor(1) as page:
        slow = page.submit(latest.mark, "a")
        assert begun.wait(60)
        assert latest.mark("b") and not slow.done()
        may_end.set()
        assert slow.result()


def test_an_error_reaches_whoever_asks_and_is_not_kept(folder: Folder) -> None:
    now = [0.0]

    def look(name: str) -> object:
        raise OSError(f"{name} cannot be read")

    latest = Latest(look, clock=lambda: now[0])
    for _ in range(2):
        with pytest.raises(OSError, match="a cannot be read"):
            latest.mark("a")
        now[0] += KEPT_SECONDS
    latest.look = folder.look
    assert latest.mark("a")


@pytest.mark.parametrize("name", [None, 7, ["a"], {"a": 1}, "x" * 300, "\ud800"])
def test_names_that_are_none_are_answered(folder: Folder, name: Any) -> None:
    assert isinstance(Latest(folder.look).mark(name), str)


def test_what_was_asked_for_does_not_pile_up(folder: Folder) -> None:
    now = [0.0]
    latest = Latest(folder.look, clock=lambda: now[0])
    for name in range(50):
        latest.mark(str(name))
        now[0] += KEPT_SECONDS
    assert len(latest._marks) == 1
