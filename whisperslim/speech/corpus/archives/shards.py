"""The files that `train-{0000..0127}.tar` or `train-*.tar` names.

Only the name may be a pattern, not a folder before it, and no link is followed: what is read lies
in the folder that is named.
"""

import itertools
import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from whisperslim.errors import DataError

MOST_SHARDS = 100_000  # our choice
_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}", re.ASCII)
_NEMO_BRACES = {"_OP_": "{", "_CL_": "}"}  # as NeMo writes them, for shells that expand others


def is_pattern(path: Path) -> bool:
    """Whether the path names shards by a pattern; a file of the name is itself."""
    name = _name(path)
    return bool(_RANGE.search(name) or set("*[") & set(name)) and not path.exists()


def shards(path: Path) -> list[Path]:
    """The files of a pattern in order of their numbers, or else of their names.

    Raises `DataError` when there are none, or too many, when one of a range is missing, and for one
    that is a link.
    """
    found = list(itertools.islice(_matching(path), MOST_SHARDS + 1))
    if len(found) > MOST_SHARDS:
        raise DataError(f"{path}: names over {MOST_SHARDS:,} files; name fewer at a time")
    if not found:
        raise DataError(f"{path}: no file has such a name")
    for each in found:
        check_shard(each)
    return found


def check_shard(path: Path) -> None:
    """Raise `DataError` unless the path is a file, and no link."""
    if path.is_symlink():
        raise DataError(f"{path}: is a link, and may lead anywhere; put the file itself there")
    if not path.is_file():
        raise DataError(f"{path}: no such file; fetch it again, or name the shards that are there")


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder, or a file that the pattern names."""
    return path.exists() or (is_pattern(path) and any(each.is_file() for each in _matching(path)))


def _matching(path: Path) -> Iterator[Path]:
    name = _name(path)
    if _RANGE.search(name):
        return (path.with_name(each) for each in _expanded(name))
    try:
        with os.scandir(path.parent) as entries:
            names = sorted(entry.name for entry in entries if fnmatchcase(entry.name, name))
    except OSError:
        names = []
    return (path.with_name(each) for each in names)


def _expanded(name: str) -> Iterator[str]:
    found = _RANGE.search(name)
    if not found:
        yield name
        return
    first, last = found.groups()
    for number in range(int(first), int(last) + 1):
        before, after = name[: found.start()], name[found.end() :]
        for rest in _expanded(after):
            yield f"{before}{number:0{len(first)}d}{rest}"


def _name(path: Path) -> str:
    name = path.name
    for written, meant in _NEMO_BRACES.items():
        name = name.replace(written, meant)
    return name
