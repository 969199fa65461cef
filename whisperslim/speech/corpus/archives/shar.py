"""Lhotse Shar: `cuts.000000.jsonl.gz` beside `recording.000000.tar`, shard by shard.

Read here and not by lhotse: what a list of lhotse says of a recording may be a command that it
would run, or an address that it would fetch. Only texts and lengths are taken from it.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from whisperslim.errors import DataError
from whisperslim.speech.corpus.archives.shards import check_shard
from whisperslim.speech.corpus.archives.tar import Member, members
from whisperslim.speech.corpus.formats import Row, Table, counted, plain_text
from whisperslim.speech.plain_file import open_file

_CUTS = re.compile(r"cuts\.(\d{1,12})\.jsonl(?:\.gz)?", re.ASCII)
_LONGEST_LINE = 1 << 20  # bytes; our choice
_NO_SOUND = (".nodata", ".nometa")


def is_shar(folder: Path) -> bool:
    """Whether the folder is one of Lhotse Shar."""
    return any(_CUTS.fullmatch(path.name) for path in folder.glob("cuts.*.jsonl*"))


def read_shar(folder: Path) -> Table:
    """The recordings of such a folder with text, speaker and length. Raises `DataError`."""
    lists = sorted(path for path in folder.glob("cuts.*.jsonl*") if _CUTS.fullmatch(path.name))
    rows = list(counted(folder, _all_rows(lists)))
    if not rows:
        raise DataError(f"{folder}: its cuts have no recordings")
    columns = tuple(dict.fromkeys(name for names in {r.names: 0 for r in rows} for name in names))
    return Table(str(folder), folder, columns, rows, in_archives=True)


def _all_rows(lists: list[Path]) -> Iterator[Row]:
    number = 0
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for path in lists:
        check_shard(path)
        tar = path.with_name(f"recording.{path.name.split('.')[1]}.tar")
        check_shard(tar)
        sounds = _sounds(tar)
        for cut in _cuts(path):
            number += 1
            sound = next(sounds, None)
            name = str(cut.get("id", ""))
            if sound is None or str(PurePosixPath(sound.name).with_suffix("")) != name:
                found = "ends" if sound is None else f"has {sound.name!r}"
                raise DataError(
                    f"{path}: {tar.name} {found} where {name!r} belongs; fetch both again"
                )
            if sound.name.endswith(_NO_SOUND):
                continue
            cells = {"path": f"{tar.name}/{sound.name}", **_cells(cut)}
            names = known.setdefault(tuple(cells), tuple(cells))
            yield Row(number, names, tuple(cells.values()), sound.span, tar.name)


def _sounds(tar: Path) -> Iterator[Member]:
    """Every first of two members: the second says what lhotse knows of it."""
    for index, member in enumerate(members(tar)):
        if index % 2 == 0:
            yield member


def _cells(cut: dict[str, Any]) -> dict[str, str]:
    """What is said in a cut. Its own `start` is 0: a shard holds no more than the cut."""
    said = [each for each in cut.get("supervisions") or () if isinstance(each, dict)]
    cells = {"text": " ".join(plain_text(each.get("text")) for each in said).strip()}
    speakers = {plain_text(each.get("speaker")) for each in said}
    cells["speaker"] = speakers.pop() if len(speakers) == 1 else ""
    cells["duration"] = plain_text(cut.get("duration"))
    custom = cut.get("custom")
    cells |= {k: plain_text(v) for k, v in custom.items()} if isinstance(custom, dict) else {}
    return cells


def _cuts(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open_file(path) as raw:
            file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), 1):
                yield _cut(line, f"{path}, line {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch it again") from error


def _cut(line: bytes, where: str) -> dict[str, Any]:
    if len(line) > _LONGEST_LINE:
        raise DataError(f"{where}: has over {_LONGEST_LINE:,} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(found, dict):
        raise DataError(f"{where}: not a JSON object, as a cut is")
    return found
