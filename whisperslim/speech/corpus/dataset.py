"""Lists of recordings with their texts: from a manifest, a corpus folder or a hub data set."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.corpus.formats import (
    NEMO_PATH_COLUMN,
    PATH_COLUMNS,
    SPEAKER_COLUMNS,
    TEXT_COLUMNS,
    Table,
    common_voice_splits,
    find_manifest,
    read_common_voice,
    read_manifest,
)
from whisperslim.speech.corpus.hub import is_hub, read_hub
from whisperslim.speech.corpus.parts import Cut
from whisperslim.speech.corpus.source import Source, parse_source

SCORED_SPLIT = "test"
_SHARED_CELLS = 10_000  # of one column that are looked for in every line; our choice


@dataclass(frozen=True, slots=True)
class Item:
    """One recording. There may be a million: nothing is stored twice.

    Attributes:
        key: Its path as the manifest writes it, of a stretch followed by `@` and where it begins;
            unique within a list of items.
        file: Where it is, in `folder`.
        text: What is said.
        speaker: Who says it; "" when the manifest does not say.
        split: The part of the data it belongs to; "" likewise.
        duration: In seconds as the manifest says, None when it does not.
        columns: The manifest's other columns, in order.
        folder: What `file` is relative to.
        cut: Which stretch of `file` it is; None is all of it.
    """

    key: str
    file: str
    text: str
    speaker: str = ""
    split: str = ""
    duration: float | None = None
    columns: tuple[tuple[str, str], ...] = ()
    folder: Path = Path()
    cut: Cut | None = None

    @property
    def path(self) -> Path:
        """Where the recording is."""
        return self.folder / self.file


def load_items(source: str) -> list[Item]:
    """The recordings of `PATH`, `PATH#SPLIT` or of the hub, in file order.

    Of the hub: `hub:OWNER/NAME[:CONFIG][@REVISION]#SPLIT`. After any of them, `?text=COLUMN`,
    `?audio=COLUMN` or `?text=COLUMN&audio=COLUMN` says which columns to take.

    PATH is a manifest (.tsv, .csv, JSON lines), a folder with one, or a Common Voice release
    folder. Without a split, all of a manifest. Nothing is decoded here and audio files may be
    missing: `report.examine` looks. A hub split may be a slice, as `train[:100]`. Raises
    `DataError`, or `UsageError` when `source` itself is malformed.
    """
    asked = parse_source(source)
    return _items(_read(asked.location, asked.split), asked)


def scored_source(source: str) -> str:
    """What is scored of a source: the split it names, else `test`, else all of it.

    All of it only where there are no splits. Raises as `load_items`; a set with splits and no
    `test` is refused by that.
    """
    asked = parse_source(source)
    if asked.split:
        return source
    tested = str(replace(asked, split=SCORED_SPLIT))
    if is_hub(asked.location) or _is_common_voice(Path(asked.location).expanduser()):
        return tested
    return tested if any(item.split for item in load_items(source)) else source


def hold_out(
    items: Sequence[Item], fraction: float, by: str, seed: int
) -> tuple[list[Item], list[Item]]:
    """Divide into (train, dev), about `fraction` of the clips in dev, keeping groups whole.

    `by` is what makes a group: "speaker", "text", "key" (each clip by itself), "split" or any
    other column. Which groups go depends on their names and `seed`, not on the order of items.
    Raises `DataError` when the column is missing, empty somewhere, or has one value only.
    """
    if not 0.0 < fraction < 1.0:
        raise UsageError(f"the fraction held out is {fraction}; it must be between 0 and 1")
    groups: dict[str, int] = {}
    for item in items:
        group = group_of(item, by)
        groups[group] = groups.get(group, 0) + 1
    if len(groups) < 2:
        raise DataError(f"all {len(items)} clips have the same {by!r}: nothing to divide")
    held = _choose_groups(groups, fraction * len(items), seed)
    dev = [item for item in items if group_of(item, by) in held]
    return [item for item in items if group_of(item, by) not in held], dev


def group_of(item: Item, by: str) -> str:
    """The value of `by` for one clip. Raises `DataError` when there is none."""
    own = {"speaker": item.speaker, "text": item.text, "key": item.key, "split": item.split}
    values = {**dict(item.columns), **own}
    if not values.get(by):
        known = ", ".join(sorted(name for name, value in values.items() if value))
        raise DataError(
            f"clip {item.key} has no {by!r} to group by; it has: {known}. Where nobody says who "
            "speaks, hold out by text"
        )
    return values[by]


def manifest_hash(items: Sequence[Item]) -> str:
    """SHA-256 (hex) over what the items say, in their order; not over where they lie on disk.

    The order counts, as the sampler numbers clips by it. Audio content is not read.
    """
    digest = hashlib.sha256()
    for i in items:
        record = [i.key, i.text, i.speaker, i.split, i.duration, i.columns]
        digest.update(json.dumps(record, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def _read(location: str, split: str) -> Table:
    if is_hub(location):
        return read_hub(location, split)
    path = Path(location).expanduser()
    if path.is_file():
        return read_manifest(path)
    if not path.is_dir():
        raise DataError(f"{location}: no such file or folder; give a manifest or a corpus folder")
    if _is_common_voice(path):
        return read_common_voice(path, split)
    return read_manifest(find_manifest(path))


def _is_common_voice(path: Path) -> bool:
    return not any(path.glob("manifest.*")) and bool(common_voice_splits(path))


def _items(table: Table, asked: Source) -> list[Item]:
    split, by_lower = asked.split, {name.lower(): name for name in table.columns}
    path = _named(asked.audio, table) or _pick(PATH_COLUMNS, by_lower)
    text = _named(asked.text, table) or _pick(TEXT_COLUMNS, by_lower)
    if not path or not text:
        missing, names = ("text", TEXT_COLUMNS) if path else ("audio path", PATH_COLUMNS)
        raise DataError(
            f"{table.source}: no column for the {missing}; found: {', '.join(table.columns)}; "
            f"accepted: {', '.join(names)}, or the one that ?text= or ?audio= names"
        )
    used = {
        "path": path,
        "text": text,
        "speaker": _pick(SPEAKER_COLUMNS, by_lower),
        "split": _pick(("split",), by_lower) if not table.splits else "",
        "duration": _pick(("duration",), by_lower),
    }
    if path.lower() == NEMO_PATH_COLUMN:
        used["offset"] = _pick(("offset",), by_lower)
    items: list[Item] = []
    first: dict[str, int] = {}
    known, shared = set(), _Shared()
    for line, columns, cells in table.rows:
        row = dict(zip(columns, cells, strict=True))
        item = _item(table, line, row, used, split if table.splits else "", shared)
        known.add(item.split)
        if split and item.split != split:
            continue
        if first.setdefault(item.key, line) != line:
            raise DataError(
                f"{table.source}: {item.key} is on lines {first[item.key]} and {line}; "
                "keep one of them"
            )
        items.append(item)
    if not items:
        raise _no_split(table, split, sorted(known - {""}))
    return items


class _Shared:
    """Cells that lines have in common, kept once: a speaker, a split, an age."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, tuple[str, str]]] = {}

    def pair(self, name: str, value: str) -> tuple[str, str]:
        """(name, value), the one given before if there is one."""
        known = self._known.setdefault(name, {})
        # Of a column in which every cell is another, the first are enough.
        if value not in known and len(known) < _SHARED_CELLS:
            known[value] = (name, value)
        return known.get(value) or (name, value)


def _pick(wanted: tuple[str, ...], by_lower: dict[str, str]) -> str:
    """The first of `wanted` that is there: hand-made tables often hold two, as path and file."""
    return next((by_lower[name] for name in wanted if name in by_lower), "")


def _named(column: str, table: Table) -> str:
    if column and column not in table.columns:
        raise DataError(
            f"{table.source}: has no column {column!r}; found: {', '.join(table.columns)}"
        )
    return column


def _item(
    table: Table,
    line: int,
    row: dict[str, str],
    used: dict[str, str],
    split: str,
    shared: _Shared,
) -> Item:
    cell = {name: row.get(column, "").strip() for name, column in used.items()}
    where = f"{table.source}, line {line}"
    path, begin = _relative(cell["path"], where), cell.get("offset")
    return Item(
        key=f"{path}@{begin}" if begin else path,
        file=path,
        text=cell["text"],
        speaker=shared.pair("speaker", cell["speaker"])[1],
        split=split or shared.pair("split", cell["split"])[1],
        duration=_seconds(cell["duration"], where),
        columns=tuple(shared.pair(n, v) for n, v in row.items() if n not in used.values()),
        folder=table.audio_root,
        cut=_cut(begin, cell["duration"], where) if begin else None,
    )


def _cut(begin: str, length: str, where: str) -> Cut:
    start, seconds = _seconds(begin, where, "offset"), _seconds(length, where)
    if start is None or not seconds:
        raise DataError(
            f"{where}: has an offset of {begin} s and no duration; a stretch of a recording needs "
            "both, or leave the offset out"
        )
    return Cut(start, seconds)


def _relative(path: str, where: str) -> str:
    # `folder / "/x"` is "/x": a manifest from another machine could have any file read.
    if not path:
        raise DataError(f"{where}: the audio path is empty")
    if Path(path).is_absolute():
        raise DataError(f"{where}: {path!r} is absolute; paths are relative to the manifest")
    return path


def _seconds(text: str, where: str, what: str = "duration") -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError as error:
        raise DataError(f"{where}: {what} {text!r} is not a number of seconds") from error
    if not math.isfinite(seconds) or seconds < 0:
        raise DataError(f"{where}: {what} {text!r} is not a number of seconds")
    return seconds


def _no_split(table: Table, split: str, known: list[str]) -> DataError:
    if not known:
        return DataError(
            f"{table.source}: has no column `split`, and {split!r} was requested; name no split, "
            "or add the column"
        )
    return DataError(f"{table.source}: no split {split!r}; known: {', '.join(known)}")


def _choose_groups(groups: dict[str, int], wanted: float, seed: int) -> set[str]:
    names = sorted(groups)
    order = np.random.default_rng(seed).permutation(len(names))
    held: set[str] = set()
    count = 0
    # The last group always stays in train; the first that fits best is always held out.
    for index in order[:-1]:
        size = groups[names[index]]
        if abs(count + size - wanted) < abs(count - wanted):
            held.add(names[index])
            count += size
    return held or {min(names, key=lambda name: (groups[name], name))}
