"""Parquet files whose rows hold encoded recordings, as data sets of the hub are kept.

Texts are read when a list is made, recordings when they are asked for.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from whisperslim.errors import AudioError, DataError, UsageError
from whisperslim.machine.extras import need
from whisperslim.speech.corpus.archives.shards import check_shard
from whisperslim.speech.corpus.formats import PATH_COLUMNS, Row, Table, counted, plain_text
from whisperslim.speech.corpus.parts import MOST_CLIP_BYTES, Cell
from whisperslim.speech.plain_file import open_file

MOST_GROUP_BYTES = 1 << 32
"""Of a row group, of which one is in memory at a time; writers put 100 to 1000 clips into one."""
_MOST_FOOTER = 1 << 26  # bytes of names and of lists in a file's own description
_ROWS_AT_ONCE = 1024
_SPLIT = re.compile(r"(?P<split>\w+?)(?:-\d+-of-\d+(?:-[0-9a-f]+)?|-\d+)?\.parquet", re.ASCII)


def parquet_splits(folder: Path) -> dict[str, list[Path]]:
    """Split -> its files, of a folder of `SPLIT-00000-of-00010.parquet` (or in its `data`).

    Empty when there are none. Raises `DataError` for a link among them.
    """
    found: dict[str, list[Path]] = {}
    for place in (folder, folder / "data"):
        for path in sorted(place.glob("*.parquet")):
            if named := _SPLIT.fullmatch(path.name):
                check_shard(path)
                found.setdefault(named["split"], []).append(path)
        if found:
            break
    return found


def read_parquet(files: Sequence[Path], source: str, audio: str = "") -> Table:
    """The recordings of parquet files, which lie in one folder, with the columns beside them.

    `audio` names the column of the recordings where there are several. Raises `DataError`, by row
    while it is gone through, and `UsageError` when the package that reads them is missing.
    """
    schema = schema_of(files[0])
    sound, columns = sound_column(schema, source, audio), tuple(text_columns(schema))
    rows = counted(source, _all_rows(files, columns, sound, source))
    return Table(source, files[0].parent, ("path", *columns), rows, in_archives=True)


def _all_rows(
    files: Sequence[Path], columns: tuple[str, ...], sound: str, source: str
) -> Iterator[Row]:
    names, number = ("path", *columns), 0
    for path in files:
        for place, (part, cells) in enumerate(rows_of(_opened(path), str(path), columns, sound)):
            number += 1
            yield Row(number, names, (f"{path.name}/{place}", *cells), part, path.name)
    if not number:
        raise DataError(f"{source}: holds no recordings")


def rows_of(
    file: Any, where: str, columns: tuple[str, ...], sound: str
) -> Iterator[tuple[Cell, tuple[str, ...]]]:
    """Where each recording of an open file is, and its cells of `columns`; no recording is read.

    Raises `DataError` for a file that is damaged or has not all of these columns.
    """
    schema = file.schema_arrow
    missing = [name for name in (*columns, sound) if name not in schema.names]
    if missing:
        raise DataError(f"{where}: has no column {missing[0]!r}; found: {', '.join(schema.names)}")
    for group in range(file.metadata.num_row_groups):
        done = 0
        with reading(where):
            for batch in file.iter_batches(_ROWS_AT_ONCE, [group], list(columns)):
                pairs = [list(map(plain_text, batch.column(n).to_pylist())) for n in columns]
                for row in range(batch.num_rows):
                    yield Cell(sound, group, done + row), tuple(each[row] for each in pairs)
                done += batch.num_rows


def read_group(path: Path, column: str, group: int) -> Any:
    """The recordings of a row group, an array of pyarrow. Raises `AudioError`."""
    try:
        file = _opened(path)
        if not 0 <= group < file.metadata.num_row_groups:
            raise DataError(f"{path}: has no row group {group}; it has changed")
        size = file.metadata.row_group(group).total_byte_size
        if size > MOST_GROUP_BYTES:
            raise DataError(
                f"{path}: row group {group} has {size:,} bytes and up to {MOST_GROUP_BYTES:,} are "
                "accepted; write it with fewer rows in each group, such as row_group_size=100"
            )
        is_struct = not _is_binary(file.schema_arrow.field(column).type)
        with reading(str(path)):
            table = file.read_row_group(group, [f"{column}.bytes" if is_struct else column])
        array = table.column(0).combine_chunks()
        return array.field("bytes") if is_struct else array
    except (DataError, LookupError) as error:
        raise AudioError(str(error)) from error


def sound_in(array: Any, row: int, where: str) -> bytes:
    """One encoded recording of what `read_group` gave. Raises `AudioError`."""
    found = array[row].as_py() if row < len(array) else None
    if not found:
        raise AudioError(f"{where}: holds no sound, at most a path to it; fetch the set with sound")
    if len(found) > MOST_CLIP_BYTES:
        raise AudioError(f"{where}: has {len(found):,} bytes; up to {MOST_CLIP_BYTES:,} are read")
    return bytes(found)


def sound_column(schema: Any, source: str, asked: str = "") -> str:
    """The column that holds encoded recordings: the one `asked` for, or the only one.

    Raises `DataError` for none, or several.
    """
    found = [field.name for field in schema if _is_sound(field.type)]
    if asked:
        if asked not in found:
            raise DataError(
                f"{source}: has no column {asked!r} of recordings; found {', '.join(found)}"
            )
        return asked
    known = [name for name in PATH_COLUMNS if name in found]
    if len(found) == 1 or known:
        return known[0] if known else found[0]
    raise DataError(
        f"{source}: needs one column of recordings; found {', '.join(found) or 'none'} among "
        f"{', '.join(schema.names)}. Name one with ?audio=COLUMN"
    )


def text_columns(schema: Any) -> Iterator[str]:
    """Names of the columns that hold one value a row, but `path`, which is where files were."""
    types = _pyarrow().types
    plain = (types.is_string, types.is_large_string, types.is_integer, types.is_floating,
             types.is_boolean)  # fmt: skip
    for field in schema:
        if field.name != "path" and any(is_kind(field.type) for is_kind in plain):
            yield field.name


def schema_of(path: Path) -> Any:
    """The schema of a file, of pyarrow. Raises `DataError`."""
    return _opened(path).schema_arrow


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what pyarrow raises for a file in the block into a `DataError`."""
    try:
        yield
    except (_pyarrow().ArrowException, OSError, MemoryError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{where}: cannot be read as parquet ({reason}); fetch the file again"
        ) from error


def open_parquet(file: Any, where: str) -> Any:
    """An open file as one of pyarrow. Raises `DataError` when it is none."""
    _pyarrow()
    from pyarrow.parquet import ParquetFile

    with reading(where):
        return ParquetFile(
            file,
            thrift_string_size_limit=_MOST_FOOTER,
            thrift_container_size_limit=_MOST_FOOTER,
        )


def _opened(path: Path) -> Any:
    try:
        return open_parquet(open_file(path), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _is_sound(kind: Any) -> bool:
    types = _pyarrow().types
    if types.is_struct(kind):
        return any(each.name == "bytes" and _is_binary(each.type) for each in kind)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    types = _pyarrow().types
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        need("scale", "reading parquet")
        raise UsageError(f"pyarrow, which reads parquet, is damaged here ({error})") from error
    return pyarrow
