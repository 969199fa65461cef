"""`events.jsonl`: one event a line, append only, readable while it grows."""

import os
from pathlib import Path

from whisperslim import events
from whisperslim.events import Event

# Events after which a crash of the machine must not lose the log.
_SYNCED = (events.CheckpointSaved, events.Stopped, events.Failed, events.Finished)


class EventLog:
    """Appends events to a file that others read meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event) -> None:
        """Write one whole line. A half line left by a kill is ended first, so it stays alone."""
        line = event.to_json().encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            # One write call: a reader sees the line grow at worst, never another in between.
            file.write(line if _ends_whole(file.fileno()) else b"\n" + line)
            file.flush()
            if isinstance(event, _SYNCED):
                os.fsync(file.fileno())


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """Events from byte `offset` on, and the offset to go on from. A missing file has none.

    Only whole lines are taken: the rest of a line being written comes with the next call. Kinds
    of a newer version, and half lines left by a kill, are passed over.
    """
    if not path.is_file():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    found = [event for line in whole.splitlines() if (event := _parse(line))]
    return found, offset + len(whole)


def last_event(path: Path, tail_bytes: int = 1 << 16) -> Event | None:
    """The last event in the file, found without reading all of it; None when there is none."""
    if not path.is_file():
        return None
    start = max(0, path.stat().st_size - tail_bytes)
    found, _ = read_events(path, start)
    return found[-1] if found else None


def _parse(line: bytes) -> Event | None:
    try:
        return events.parse(line.decode())
    except (ValueError, TypeError):  # not JSON; or JSON that lacks a field this version needs
        return None


def _ends_whole(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
