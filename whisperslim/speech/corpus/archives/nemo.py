"""Tarred data of NeMo: a manifest whose lines say in which of the tars beside it a recording is."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from whisperslim.errors import DataError
from whisperslim.speech.corpus.archives.shards import check_shard
from whisperslim.speech.corpus.archives.tar import members
from whisperslim.speech.corpus.formats import NEMO_PATH_COLUMN, Row, Table, read_manifest
from whisperslim.speech.corpus.parts import Span

SHARD_COLUMN = "shard_id"
_SHARD = re.compile(r"\d{1,9}", re.ASCII)
# NeMo names what is a second stretch of one recording so, and stores the recording once.
_STRETCH = re.compile(r"-sub\d+(?=\.\w+$)", re.ASCII)


def read_listed(path: Path) -> Table:
    """The table of a manifest, its recordings in `audio_N.tar` beside it if it names shards.

    Raises `DataError`, of rows while they are gone through.
    """
    table = read_manifest(path)
    if not {NEMO_PATH_COLUMN, SHARD_COLUMN} <= set(table.columns):
        return table
    return replace(table, rows=_rows(table), in_archives=True)


def _rows(table: Table) -> Iterator[Row]:
    tars: dict[str, dict[str, Span]] = {}
    for row in table.rows:
        cells = dict(zip(row.names, row.cells, strict=True))
        shard, name = cells.get(SHARD_COLUMN, ""), cells.get(NEMO_PATH_COLUMN, "")
        where = f"{table.source}, line {row.number}"
        if not _SHARD.fullmatch(shard):
            raise DataError(f"{where}: {SHARD_COLUMN} is {shard!r}; a number is needed, as 0")
        archive = f"audio_{int(shard)}.tar"
        if archive not in tars:
            check_shard(table.audio_root / archive)
            found = members(table.audio_root / archive)
            tars[archive] = {member.name: member.span for member in found}
        span = tars[archive].get(name) or tars[archive].get(_STRETCH.sub("", name))
        if span is None:
            raise DataError(f"{where}: {archive} holds no {name!r}; fetch both again")
        yield row._replace(part=span, archive=archive)
