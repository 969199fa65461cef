"""`events.jsonl`: one event a line, append only, readable while it grows."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from whisperslim import events
from whisperslim.core.disk.untrusted import check_record, open_plain
from whisperslim.events import Event

# Events that must not be lost when the machine crashes.
_SYNCED = (events.CheckpointSaved, events.Stopped, events.Failed, events.Finished)
_BLOCK_BYTES = 1 << 16
_READ_WHOLE_BYTES = 1 << 21  # some 10,000 steps: a second of reading
_LOOKED_AT_BYTES = 1 << 29
_LONGEST_LINE = 1 << 20  # the longest are those of the method's gauges: a value per unit group
_SHORTEST_LINE = len('{"kind": ""}')
_LATEST_TIME = 253_402_300_799  # the end of the year 9999, the last in Python's calendar
# Rare, and without them the view of the run would be wrong.
_LANDMARKS = re.compile(
    rb'^\{"kind": "(?:run_started|stage_started|stage_finished|evaluated|planned|stopped|failed|'
    rb'finished)".*\n',
    re.MULTILINE,
)
_MOST_LANDMARKS = 2000


class EventLog:
    """Appends events to a file while others read it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event) -> None:
        """Write one whole line. A half line left by a kill is ended first.

        Raises `OSError` when the disk refuses, or the file is a link.
        """
        line = event.to_json().encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open_plain(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
            # One write call: a reader may see a part of the line, but never mixed lines.
            file.write(line if _ends_whole(file) else b"\n" + line)
            file.flush()
            if isinstance(event, _SYNCED):
                os.fsync(file.fileno())


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Events from byte `offset` on, and the offset to continue from. A missing file has none.

    Only whole lines are taken: the rest of a line being written comes with the next call. Kinds
    of a newer version, half lines left by a kill, and values of another type than the event's are
    skipped. Of more than 2 MB, blocks at equal distances are read, so that a log of any length
    takes a second or two; the state of the run (stages, scores, ends) is taken from all of it.
    """
    try:
        file = open_plain(path)
    except (OSError, ValueError):  # missing; or a link, a pipe or a folder, which we do not write
        return [], offset
    with file:
        size = os.fstat(file.fileno()).st_size
        start = max(offset, size - _LOOKED_AT_BYTES)
        stride = max(1, math.ceil((size - start) / _READ_WHOLE_BYTES))
        found: list[Event] = []
        end, landmarks = start, 0
        for number, lines in enumerate(_blocks(file, start, size)):
            end += len(lines)
            # The end is always read.
            if number % stride and size - end > _BLOCK_BYTES:
                kept = [match[0] for match in _LANDMARKS.finditer(lines)]
                kept = kept[: _MOST_LANDMARKS - landmarks]
                landmarks += len(kept)
            else:
                kept = lines.split(b"\n")
            found += [
                event
                for line in kept
                if _SHORTEST_LINE < len(line) <= _LONGEST_LINE and (event := _parse(line))
            ]
    return found, end


def last_event(path: Path, tail_bytes: int = 1 << 16) -> Event | None:
    """The last event in the file, without reading all of it; None when there is none."""
    try:
        with open_plain(path) as file:
            start = max(0, os.fstat(file.fileno()).st_size - tail_bytes)
    except (OSError, ValueError):
        return None
    found, _ = read_events(path, start)
    return found[-1] if found else None


def _blocks(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    """Whole lines from `start` up to `size`, in blocks; an overlong line is cut."""
    file.seek(start)
    left, carried = size - start, b""
    while left > 0 and (block := file.read(min(_BLOCK_BYTES, left))):
        left -= len(block)
        whole = block.rfind(b"\n") + 1
        if whole:
            yield carried + block[:whole]
            carried = block[whole:]
        elif len(carried) > _LONGEST_LINE:
            yield carried + block
            carried = b""
        else:
            carried += block


def _parse(line: bytes) -> Event | None:
    try:
        event = events.parse(line.decode())
        if event is None:
            return None
        check_record(event)
    # Not JSON, or nested too deep, or without a field that this version needs.
    except (ValueError, TypeError, RecursionError):
        return None
    return event if 0 <= event.at <= _LATEST_TIME else None


def _ends_whole(file: BinaryIO) -> bool:
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return True
    file.seek(size - 1)
    return file.read(1) == b"\n"
