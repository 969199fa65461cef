"""Read the files that list recordings: TSV, CSV, JSON lines (also NeMo's), Common Voice folders.

Every reader returns a `Table` of texts, column names as found; `dataset` gives them meaning.
"""

import csv
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from whisperslim.errors import DataError
from whisperslim.speech.corpus.parts import Part
from whisperslim.speech.plain_file import open_file

MANIFEST_SUFFIXES = (".tsv", ".csv", ".jsonl", ".json")
NEMO_PATH_COLUMN = "audio_filepath"
"""Of a list in which `offset` and `duration` choose a stretch of the recording."""
_TARRED = "tarred_audio_manifest.json"  # as NeMo names it beside its tars
# The first that is there is taken. What was accepted first comes first, so that a list with two
# such columns is read as before.
PATH_COLUMNS = ("path", "audio", "file", "filename", "file_name", NEMO_PATH_COLUMN)
TEXT_COLUMNS = (
    "text", "sentence", "transcript", "transcription", "normalized_text", "normalized",
    "raw_transcription", "verbatim",
)  # fmt: skip
SPEAKER_COLUMNS = ("speaker", "client_id", "speaker_id")
MOST_LINES = 1_000_000
"""Of a manifest beside its header. Our choice, as what follows."""
_MOST_CELLS = 13_000_000  # of all lines together; Common Voice has thirteen columns
_LONGEST_LINE = 1 << 20  # bytes
_MOST_BYTES = 1 << 30
_SNIFFED = 1024  # bytes in which a file shows that it is JSON


class Row(NamedTuple):
    """A recording as it is listed.

    Attributes:
        number: Of the line, from 1.
        names: Of the columns: one tuple for all rows that have the same.
        cells: As many as there are names.
        part: Where in an archive the recording is; None for a file of its own.
        archive: The archive's name, relative to the root of its table.
    """

    number: int
    names: tuple[str, ...]
    cells: tuple[str, ...]
    part: Part | None = None
    archive: str = ""


@dataclass(frozen=True)
class Table:
    """A list of recordings as written.

    `rows` may be gone through once: of a large file they are read as they are asked for, which
    raises `DataError` by line. `audio_root` is what the paths in the table are relative to.
    `splits` is filled when the split is the choice of a file rather than a column. With
    `in_archives`, every row has its part of an archive, and its path only names it.
    """

    source: str
    audio_root: Path
    columns: tuple[str, ...]
    rows: Iterable[Row]
    splits: tuple[str, ...] = ()
    in_archives: bool = False


def read_manifest(path: Path) -> Table:
    """The table in one .tsv or .csv file, or in JSON lines whatever the name ends in.

    Raises `DataError` naming the line that is wrong.
    """
    readers: dict[str, Callable[[Path], tuple[tuple[str, ...], Iterator[Row]]]] = {
        ".tsv": _read_tsv,
        ".csv": _read_csv,
        ".jsonl": _read_jsonl,
        ".json": _read_jsonl,
    }
    reader = readers.get(path.suffix.lower()) or (_read_jsonl if _is_json(path) else None)
    if reader is None:
        accepted = ", ".join(MANIFEST_SUFFIXES)
        raise DataError(
            f"{path}: not a manifest; accepted are files ending in {accepted}, and JSON lines "
            "with any ending"
        )
    columns, rows = reader(path)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: lists no recordings; a header and one line for each are needed")
    return Table(str(path), path.parent, columns, itertools.chain([first], rows))


def has_lists(folder: Path) -> bool:
    """Whether `find_manifest` has something to choose from."""
    return any(
        path.name in _named_lists() or path.suffix.lower() in (".tsv", ".csv")
        for path in (folder.iterdir() if folder.is_dir() else ())
    )


def _named_lists() -> list[str]:
    return [*(f"manifest{suffix}" for suffix in MANIFEST_SUFFIXES), _TARRED]


def find_manifest(folder: Path) -> Path:
    """`manifest.*` in a folder, NeMo's own name of one, or the folder's only CSV or TSV file.

    Raises `DataError` otherwise.
    """
    named = [p for p in (folder / name for name in _named_lists()) if p.is_file()]
    if len(named) > 1:
        found = ", ".join(p.name for p in named)
        raise DataError(f"{folder}: holds {found}; name the one to use, for example {named[0]}")
    if named:
        return named[0]
    tables = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".tsv", ".csv"))
    if len(tables) == 1:
        return tables[0]
    found = ", ".join(p.name for p in tables) or "none"
    raise DataError(
        f"{folder}: needs a manifest.tsv, .csv, .jsonl or .json, or exactly one CSV or "
        f"TSV file (found: {found}); name the file itself to choose one, or tars as {folder}/*.tar"
    )


def common_voice_splits(folder: Path) -> tuple[str, ...]:
    """Names of the splits of a Common Voice release folder; empty when it is not one.

    A release has `clips/` and one TSV for each split beside tables that list no clips to train on
    (`reported.tsv`, `clip_durations.tsv`), distinguished by their header.
    """
    if not (folder / "clips").is_dir():
        return ()
    return tuple(sorted(p.stem for p in folder.glob("*.tsv") if _is_common_voice_table(p)))


def read_common_voice(folder: Path, split: str) -> Table:
    """One split of a Common Voice release folder as downloaded."""
    splits = common_voice_splits(folder)
    if split not in splits:
        wrong = f"has no split {split!r}" if split else "needs a split (they overlap)"
        raise DataError(
            f"{folder}: this Common Voice folder {wrong}; known: {', '.join(splits)}. "
            f"Write for example {folder}#{splits[0]}"
        )
    table = read_manifest(folder / f"{split}.tsv")
    return Table(table.source, folder / "clips", table.columns, table.rows, splits)


def decode_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file without line ends and byte-order mark, read as they are asked for.

    Raises `DataError` by line: for one that is not UTF-8, and beyond the bounds of a manifest.
    """
    with _opened(path) as file:
        # Only "\n" ends a line: str.splitlines would also cut at U+2028 inside a transcript.
        lines = iter(lambda: file.readline(_LONGEST_LINE + 1), b"")
        for number, line in enumerate(lines, start=1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise DataError(f"{path}: is UTF-16; save it as UTF-8")
            if len(line) > _LONGEST_LINE or number > MOST_LINES + 1:
                raise DataError(
                    f"{path}, line {number}: a manifest has up to {MOST_LINES:,} lines of up to "
                    f"{_LONGEST_LINE:,} bytes; divide it into several"
                )
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            try:
                yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: not UTF-8 (byte 0x{line[error.start]:02x}); "
                    "save the file as UTF-8"
                ) from error


def read_bytes(path: Path) -> bytes:
    """The contents of a file. Raises `DataError` when it cannot be read."""
    with _opened(path) as file:
        return file.read()


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file to read from. Raises `DataError` for what cannot be read, in the block as well."""
    try:
        with open_file(path) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise DataError(f"{path}: has over {_MOST_BYTES:,} bytes; divide it into several")
            yield file
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _is_json(path: Path) -> bool:
    with _opened(path) as file:
        return file.read(_SNIFFED).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def _is_common_voice_table(path: Path) -> bool:
    with _opened(path) as file:
        header = file.readline(_LONGEST_LINE).decode("utf-8-sig", errors="replace")
    return {"path", "sentence"} <= set(header.rstrip("\r\n").split("\t"))


def _read_tsv(path: Path) -> tuple[tuple[str, ...], Iterator[Row]]:
    # Quotes are ordinary characters in a TSV: a transcript may open one and never close it.
    numbered = ((n, line.split("\t")) for n, line in enumerate(decode_lines(path), start=1))
    return _with_header(path, numbered)


def _read_csv(path: Path) -> tuple[tuple[str, ...], Iterator[Row]]:
    return _with_header(path, _csv_cells(path))


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((f"{line}\n" for line in decode_lines(path)), strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a correct CSV ({error})") from error


def _with_header(
    path: Path, numbered: Iterator[tuple[int, list[str]]]
) -> tuple[tuple[str, ...], Iterator[Row]]:
    filled = ((n, cells) for n, cells in numbered if any(cell.strip() for cell in cells))
    _, header = next(filled, (0, []))
    columns = tuple(name.strip() for name in header)
    if len(set(columns)) < len(columns):
        raise DataError(f"{path}: a column name is given twice in {', '.join(columns)}")
    return columns, counted(path, _rows(path, columns, filled))


def _rows(
    path: Path, columns: tuple[str, ...], numbered: Iterator[tuple[int, list[str]]]
) -> Iterator[Row]:
    for number, cells in numbered:
        if len(cells) != len(columns):
            raise DataError(
                f"{path}, line {number}: has {len(cells)} cells where the header has "
                f"{len(columns)}; a tab or comma too many, or one missing"
            )
        yield Row(number, columns, tuple(cells))


def counted(source: object, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows, as long as all of them fit into memory: few bytes of a file can be many cells."""
    cells = 0
    for row in rows:
        cells += len(row.names)
        if cells > _MOST_CELLS:
            raise DataError(
                f"{source}, line {row.number}: a list has up to {_MOST_CELLS:,} cells in all; "
                "leave out columns, or divide it into several"
            )
        yield row


def _read_jsonl(path: Path) -> tuple[tuple[str, ...], Iterator[Row]]:
    # The last line may have a column of its own, so all are read before any is understood.
    rows = list(counted(path, _json_rows(path)))
    known = dict.fromkeys(row.names for row in rows)
    return tuple(dict.fromkeys(itertools.chain.from_iterable(known))), iter(rows)


def _json_rows(path: Path) -> Iterator[Row]:
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for number, line in enumerate(decode_lines(path), start=1):
        if line.strip():
            row = json_cells(line, f"{path}, line {number}")
            names = tuple(row)
            yield Row(number, known.setdefault(names, names), tuple(row.values()))


def json_cells(text: str, where: str) -> dict[str, str]:
    """Column -> cell of a JSON object. Raises `DataError`, beginning with `where`."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(record, dict):
        raise DataError(f"{where}: not a JSON object; write {{...}} on each line")
    return {name: plain_text(value) for name, value in record.items()}


def text_of(content: bytes, where: str) -> str:
    """UTF-8 as text, without its byte-order mark. Raises `DataError`, beginning with `where`."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8; save it as UTF-8") from error


def plain_text(value: Any) -> str:
    """A value of JSON as a cell of a table: text as it is, nothing as ""."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    # As `json.dumps` writes them, in a quarter of the time; of a million rows, that is seconds.
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)
