"""Lists of recordings with their texts: from a manifest, a corpus folder or a hub data set."""

import gc
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from whisperslim.errors import DataError, UsageError
from whisperslim.speech.corpus.archives.nemo import read_listed
from whisperslim.speech.corpus.archives.parquet import parquet_splits, read_parquet
from whisperslim.speech.corpus.archives.shar import is_shar, read_shar
from whisperslim.speech.corpus.archives.shards import is_pattern, shards
from whisperslim.speech.corpus.archives.webdataset import read_tars
from whisperslim.speech.corpus.formats import (
    NEMO_PATH_COLUMN,
    PATH_COLUMNS,
    SPEAKER_COLUMNS,
    TEXT_COLUMNS,
    Row,
    Table,
    common_voice_splits,
    find_manifest,
    has_lists,
    read_common_voice,
)
from whisperslim.speech.corpus.hub import is_hub, read_hub
from whisperslim.speech.corpus.parts import Cut, Part
from whisperslim.speech.corpus.remote.mozilla import is_mozilla, mozilla_folder
from whisperslim.speech.corpus.source import Source, is_remote, parse_source

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
        part: Where in `file` the recording is, when that is an archive; None: it is the file.
        cut: Which stretch of the recording it is; None is all of it.
    """

    key: str
    file: str
    text: str
    speaker: str = ""
    split: str = ""
    duration: float | None = None
    columns: tuple[tuple[str, str], ...] = ()
    folder: Path = Path()
    part: Part | None = None
    cut: Cut | None = None

    @property
    def is_file(self) -> bool:
        """Whether the clip is a whole file."""
        return self.part is None and self.cut is None

    @property
    def path(self) -> Path:
        """Where the recording is."""
        return self.folder / self.file


def load_items(source: str, keep: Callable[[str], bool] = lambda key: True) -> list[Item]:
    """The recordings of `PATH`, `PATH#SPLIT` or of the hub, in file order.

    Of the hub: `hub:OWNER/NAME[:CONFIG][@REVISION]#SPLIT`; of the Mozilla Data Collective:
    `mdc:ID#SPLIT`. After any of them, `?text=COLUMN`,
    `?audio=COLUMN` or `?text=COLUMN&audio=COLUMN` says which columns to take.

    PATH is a manifest (.tsv, .csv, JSON lines, NeMo's), a folder with one, a Common Voice release
    folder, tars of WebDataset, parquet files or a folder of them, or a folder of Lhotse Shar. A
    name such as `train-{0000..0127}.tar` or `train-*.tar` is several. Without a split, all of a
    manifest. Nothing is decoded here and audio files may be missing: `report.examine` looks. A hub
    split may be a slice, as `train[:100]`. `keep` is asked for each key, in file order, and says
    whether its clip is wanted; of the others nothing is kept. Raises `DataError`, or `UsageError`
    when `source` itself is malformed.
    """
    asked = parse_source(source)
    with _uncollected():
        return _items(_read(asked), asked, keep)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no circles of objects in the block: rows form none, and of a million, looking takes
    as long as reading them."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def scored_source(source: str) -> str:
    """What is scored of a source: the split it names, else `test`, else all of it.

    All of it only where there are no splits. Raises as `load_items`; a set with splits and no
    `test` is refused by that.
    """
    asked = parse_source(source)
    if asked.split:
        return source
    tested, path = str(replace(asked, split=SCORED_SPLIT)), Path(asked.location).expanduser()
    if is_remote(asked.location) or _is_common_voice(path) or _parquet_of(path):
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
    for item in items:
        digest.update(manifest_line(item_record(item)))
    return digest.hexdigest()


def item_record(item: Item) -> list[Any]:
    """What an item says, as plain values: its key, its text, and the rest of its line."""
    return [item.key, item.text, item.speaker, item.split, item.duration, item.columns]


def manifest_line(record: list[Any]) -> bytes:
    """What `manifest_hash` takes of one item."""
    return json.dumps(record, ensure_ascii=True).encode() + b"\n"


def _read(asked: Source) -> Table:
    if is_hub(asked.location):
        return read_hub(asked.location, asked.split, asked.audio)
    if is_mozilla(asked.location):
        return read_common_voice(mozilla_folder(asked.location), asked.split)
    path = Path(asked.location).expanduser()
    if is_pattern(path):
        return _read_shards(shards(path), asked)
    if path.is_file():
        return _read_shards([path], asked)
    if not path.is_dir():
        raise DataError(
            f"{asked.location}: no such file or folder; give a manifest, an archive or a corpus "
            "folder"
        )
    if _is_common_voice(path):
        return read_common_voice(path, asked.split)
    if not has_lists(path) and is_shar(path):
        return read_shar(path)
    if files := _parquet_of(path):
        return _read_parquet_folder(path, files, asked)
    return read_listed(find_manifest(path))


def _read_shards(files: Sequence[Path], asked: Source) -> Table:
    """Tars, or parquet files, or one manifest."""
    endings = {file.suffix.lower() for file in files}
    if endings == {".tar"}:
        return read_tars(files, asked.location, asked.audio)
    if endings == {".parquet"}:
        return read_parquet(files, asked.location, asked.audio)
    if len(files) > 1:
        raise DataError(
            f"{asked.location}: names {len(files)} files that are neither .tar nor .parquet all; "
            "name one manifest, or archives of one kind"
        )
    return read_listed(files[0])


def _parquet_of(path: Path) -> dict[str, list[Path]]:
    return {} if has_lists(path) else parquet_splits(path)


def _read_parquet_folder(folder: Path, files: dict[str, list[Path]], asked: Source) -> Table:
    if asked.split not in files:
        wrong = f"has no split {asked.split!r}" if asked.split else "needs a split"
        raise DataError(
            f"{folder}: this folder of parquet files {wrong}; known: {', '.join(files)}. Write for "
            f"example {folder}#{next(iter(files))}"
        )
    table = read_parquet(files[asked.split], asked.location, asked.audio)
    return replace(table, splits=tuple(files))


def _is_common_voice(path: Path) -> bool:
    return not any(path.glob("manifest.*")) and bool(common_voice_splits(path))


def _items(table: Table, asked: Source, keep: Callable[[str], bool]) -> list[Item]:
    split, by_lower = asked.split, {name.lower(): name for name in table.columns}
    # Of archives, the column has been asked for where they were read.
    audio = "" if table.in_archives else asked.audio
    path = _named(audio, table) or _pick(PATH_COLUMNS, by_lower)
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
        "offset": _pick(("offset",), by_lower) if path.lower() == NEMO_PATH_COLUMN else "",
    }
    items: list[Item] = []
    first: dict[str, int] = {}
    known, shared, left_out = set(), _Shared(), False
    layouts: dict[tuple[str, ...], _Layout] = {}
    for row in table.rows:
        layout = layouts.get(row.names) or layouts.setdefault(row.names, _layout(row.names, used))
        item = _item(table, row, layout, split if table.splits else "", shared)
        known.add(item.split)
        if split and item.split != split:
            continue
        if not keep(item.key):
            left_out = True
            continue
        if item.key in first:
            raise DataError(
                f"{table.source}: {item.key} is on lines {first[item.key]} and {row.number}; "
                "keep one of them"
            )
        first[item.key] = row.number
        items.append(item)
    if not items and not left_out:
        raise _no_split(table, split, sorted(known - {""}))
    return items


class _Shared:
    """Cells that lines have in common, kept once: a speaker, a split, an age."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, tuple[str, str]]] = {}

    def pair(self, name: str, value: str) -> tuple[str, str]:
        """(name, value), the one given before if there is one."""
        known = self._known.setdefault(name, {})
        found = known.get(value)
        if found is None:
            found = (name, value)
            # Of a column in which every cell is another, the first are enough.
            if len(known) < _SHARED_CELLS:
                known[value] = found
        return found


@dataclass(frozen=True)
class _Layout:
    """Places of cells in rows that have the same columns; -1 for what is not there."""

    path: int
    text: int
    speaker: int
    split: int
    duration: int
    offset: int
    others: tuple[tuple[int, str], ...]


def _layout(names: tuple[str, ...], used: dict[str, str]) -> _Layout:
    place = {name: index for index, name in enumerate(names)}
    places = {what: place.get(column, -1) for what, column in used.items()}
    taken = set(used.values())
    others = tuple((index, name) for index, name in enumerate(names) if name not in taken)
    return _Layout(**places, others=others)


def _pick(wanted: tuple[str, ...], by_lower: dict[str, str]) -> str:
    """The first of `wanted` that is there: hand-made tables often hold two, as path and file."""
    return next((by_lower[name] for name in wanted if name in by_lower), "")


def _named(column: str, table: Table) -> str:
    if column and column not in table.columns:
        raise DataError(
            f"{table.source}: has no column {column!r}; found: {', '.join(table.columns)}"
        )
    return column


def _item(table: Table, row: Row, layout: _Layout, split: str, shared: _Shared) -> Item:
    cells = row.cells
    path, begin = _cell(cells, layout.path), _cell(cells, layout.offset)
    if not row.part:
        _check_relative(path, table, row)
    duration = _seconds(_cell(cells, layout.duration), "duration", table, row)
    return Item(
        key=f"{path}@{begin}" if begin else path,
        file=row.archive or path,
        text=_cell(cells, layout.text),
        speaker=shared.pair("speaker", _cell(cells, layout.speaker))[1],
        split=split or shared.pair("split", _cell(cells, layout.split))[1],
        duration=duration,
        columns=tuple([shared.pair(name, cells[index]) for index, name in layout.others]),
        folder=table.audio_root,
        part=row.part,
        cut=_cut(begin, duration, table, row) if begin else None,
    )


def _cell(cells: tuple[str, ...], place: int) -> str:
    return cells[place].strip() if place >= 0 else ""


def _where(table: Table, row: Row) -> str:
    return f"{table.source}, line {row.number}"


def _cut(begin: str, seconds: float | None, table: Table, row: Row) -> Cut:
    start = _seconds(begin, "offset", table, row)
    if start is None or not seconds:
        raise DataError(
            f"{_where(table, row)}: has an offset of {begin} s and no duration; a stretch of a "
            "recording needs both, or leave the offset out"
        )
    return Cut(start, seconds)


def _check_relative(path: str, table: Table, row: Row) -> None:
    # `folder / "/x"` is "/x": a manifest from another machine could have any file read.
    if not path:
        raise DataError(f"{_where(table, row)}: the audio path is empty")
    # Only such paths can be absolute; to look at all of a million takes seconds.
    if (path[0] in "/\\" or ":" in path) and Path(path).is_absolute():
        raise DataError(
            f"{_where(table, row)}: {path!r} is absolute; paths are relative to the manifest"
        )


def _seconds(text: str, what: str, table: Table, row: Row) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise DataError(f"{_where(table, row)}: {what} {text!r} is not a number of seconds")
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
