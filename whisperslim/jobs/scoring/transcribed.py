"""A folder of recordings transcribed in shards, on one machine or on many.

A shard is one file of JSON lines, renamed into place when it is whole: first what its texts depend
on, then a line for each recording. In the end one file has the lines of all, in the order of the
recordings' names. Loads no torch.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from whisperslim.core.disk.files import written_atomically
from whisperslim.core.disk.untrusted import open_plain
from whisperslim.errors import AudioError, DataError, UsageError
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.jobs.scoring.shard import Shard, missing
from whisperslim.speech.audio.audio import SOUND_SUFFIXES

TRANSCRIPTS = "transcripts.jsonl"
Hear = Callable[[Sequence[Path]], Iterable[tuple[Path, dict[str, Any] | AudioError]]]
"""Recordings -> each with what is kept of it, or why it cannot be read; in their order."""


def recordings_in(folder: Path) -> list[str]:
    """Recordings below a folder at any depth, as paths in it with `/`, sorted.

    Raises `UsageError` when it is no folder or has none.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: in shards, a folder of recordings is transcribed; name one")
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SOUND_SUFFIXES)
    found = sorted(path.relative_to(folder).as_posix() for path in files if path.is_file())
    if not found:
        endings = ", ".join(sorted(SOUND_SUFFIXES))
        raise UsageError(f"{folder}: has no recordings; looked for names ending in {endings}")
    return found


def transcribe_shard(
    folder: Path, shard: Shard, out: Path, hear: Hear, depends_on: dict[str, Any]
) -> bool:
    """Transcribe one shard of the recordings of `folder`; False when it is there already.

    A recording that cannot be read has a line with `error`. `depends_on` is written first: plain
    values, the same for all shards.

    Raises:
        UsageError: its file is there and depends on something else; the folder has no recordings.
        DataError: its file is there and damaged.
        RunError: the file cannot be written.
    """
    path = out / shard.name
    if path.exists():
        _check_same(path, depends_on)
        return False
    names = [name for name in recordings_in(folder) if shard.holds(name)]
    with disk_errors(out), written_atomically(path) as file:
        _write(file, depends_on)
        for path_heard, found in hear([folder / name for name in names]):
            kept = {"error": str(found)} if isinstance(found, AudioError) else found
            _write(file, {"file": path_heard.relative_to(folder).as_posix(), **kept})
    return True


def join_shards(shards: int, out: Path) -> tuple[int, int]:
    """Write the lines of all shards into one file; recordings, and those that could not be read.

    Raises `UsageError` when a shard is missing or depends on something else than the first, and
    `DataError`, `RunError` as `transcribe_shard`.
    """
    if absent := missing(shards, out):
        numbers = ", ".join(str(shard.number) for shard in absent)
        raise UsageError(f"{out} lacks shards of {shards}; make each with --shard: {numbers}")
    paths = [out / Shard(number, shards).name for number in range(1, shards + 1)]
    first = _head(paths[0])
    for path in paths[1:]:
        _check_same(path, first)
    count = failed = 0
    with ExitStack() as files, disk_errors(out), written_atomically(out / TRANSCRIPTS) as joined:
        rows = [_rows(path, files) for path in paths]
        for row in heapq.merge(*rows, key=lambda row: str(row["file"])):
            _write(joined, row)
            count, failed = count + 1, failed + ("error" in row)
    return count, failed


def _check_same(path: Path, depends_on: dict[str, Any]) -> None:
    there = _head(path)
    differing = sorted(
        name for name in {*there, *depends_on} if there.get(name) != depends_on.get(name)
    )
    if differing:
        shown = "; ".join(
            f"{name}: {there.get(name)} there, {depends_on.get(name)} here" for name in differing
        )
        raise UsageError(
            f"{path} was made otherwise ({shown}); give another --out, or delete that file"
        )


def _head(path: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        return next(_lines(path, stack), {})


def _rows(path: Path, stack: ExitStack) -> Iterator[dict[str, Any]]:
    lines = _lines(path, stack)
    next(lines, None)
    return lines


def _lines(path: Path, stack: ExitStack) -> Iterator[dict[str, Any]]:
    try:
        for line in stack.enter_context(open_plain(path)):
            yield dict(json.loads(line))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as a shard ({error}); delete it and make that shard again"
        ) from error


def _write(file: BinaryIO, value: dict[str, Any]) -> None:
    file.write(json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def transcribe_in_shards(
    folder: Path,
    shards: int,
    out: Path,
    hear: Hear,
    depends_on: dict[str, Any],
    only: int = 0,
    announce: Callable[[str], None] = lambda message: None,
) -> tuple[int, int] | None:
    """All shards that are not there yet, then the file of all; with `only`, that shard alone.

    Returns what `join_shards` does, None with `only`. Raises as it and `transcribe_shard`.
    """
    numbers: Sequence[int] = [only] if only else range(1, shards + 1)
    for shard in [Shard(number, shards) for number in numbers]:
        new = transcribe_shard(folder, shard, out, hear, depends_on)
        announce(f"shard {shard.number} of {shards}: {'transcribed' if new else 'there already'}")
    return None if only else join_shards(shards, out)
