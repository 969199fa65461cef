"""The event log: whole lines only, whatever a kill has left."""

from pathlib import Path

import pytest

from whisperslim.events import CheckpointSaved, Event, Notice, StepDone
from whisperslim.jobs.run.eventlog import EventLog, last_event, read_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def messages(found: list[Event]) -> list[str]:
    return [event.message for event in found if isinstance(event, Notice)]


def test_what_is_appended_is_read(path: Path) -> None:
    written = [
        Notice("नमस्ते\u2028दुनिया"),
        StepDone("tune", 1, 9, {"ce": 2.5}, 1e-5, 0.1, 0.5, 10),
        CheckpointSaved("tune", 1, "x"),
    ]
    for event in written:
        EventLog(path).append(event)
    found, offset = read_events(path)
    assert found == written and offset == path.stat().st_size


def test_reading_goes_on_from_the_offset(path: Path) -> None:
    log = EventLog(path)
    log.append(Notice("one"))
    first, offset = read_events(path)
    log.append(Notice("two"))
    second, _ = read_events(path, offset)
    assert (messages(first), messages(second)) == (["one"], ["two"])


def test_a_line_being_written_comes_when_it_is_whole(path: Path) -> None:
    EventLog(path).append(Notice("one"))
    line = Notice("हाँ").to_json().encode() + b"\n"
    with path.open("ab") as file:
        file.write(line[:-10])
    found, offset = read_events(path)
    assert messages(found) == ["one"]
    with path.open("ab") as file:
        file.write(line[-10:])
    assert messages(read_events(path, offset)[0]) == ["हाँ"]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_half_line_left_by_a_kill_costs_only_itself(path: Path, cut: int) -> None:
    log = EventLog(path)
    log.append(Notice("one"))
    half = Notice("two").to_json().encode()[:-cut]
    with path.open("ab") as file:
        file.write(half)
    log.append(Notice("three"))
    assert messages(read_events(path)[0]) == ["one", "three"]


def test_a_whole_line_without_its_newline_is_kept(path: Path) -> None:
    path.write_text(Notice("one").to_json(), encoding="utf-8")
    EventLog(path).append(Notice("two"))
    assert messages(read_events(path)[0]) == ["one", "two"]


def test_kinds_and_shapes_of_other_versions_are_passed_over(path: Path) -> None:
    path.write_text('{"kind": "later"}\n{"kind": "notice"}\n[1]\n\n', encoding="utf-8")
    EventLog(path).append(Notice("one"))
    assert messages(read_events(path)[0]) == ["one"]


def test_no_file_has_no_events(path: Path) -> None:
    assert read_events(path) == ([], 0)
    assert last_event(path) is None


def test_the_last_event_is_found_in_the_tail(path: Path) -> None:
    log = EventLog(path)
    for number in range(50):
        log.append(Notice(f"event {number}"))
    with path.open("ab") as file:
        file.write(b'{"kind": "noti')
    last = last_event(path, tail_bytes=200)
    assert isinstance(last, Notice) and last.message == "event 49"
