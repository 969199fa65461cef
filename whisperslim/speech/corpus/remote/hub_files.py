"""Lists of data sets of the hub whose files are parquet.

Of each file only the texts are read, over the network; recordings are fetched file by file when
they are asked for. Lists are kept by commit, so a second look asks only for the commit.
"""

import http
import io
import itertools
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

from whisperslim.errors import DataError
from whisperslim.speech.corpus.archives.parquet import (
    open_parquet,
    rows_of,
    sound_column,
    text_columns,
)
from whisperslim.speech.corpus.formats import Row, Table, counted
from whisperslim.speech.corpus.parts import Cell
from whisperslim.speech.corpus.remote.http import HttpError, RangeFile, ask_json
from whisperslim.speech.corpus.remote.shard_store import (
    HubShard,
    endpoint,
    explained,
    hub_token,
    root,
)

_CONVERTED = "refs/convert/parquet"  # where the hub keeps what it has made of other formats
_SLICE = re.compile(r"(?P<split>[\w.-]+?)(?:\[(?P<first>\d*%?):(?P<last>\d*%?)\])?", re.ASCII)
_SAFE = re.compile(r"(?:[\w=+,@-][\w .=+,@-]{0,200}/){0,8}[\w=+,@-][\w .=+,@-]{0,200}\.parquet")
_COMMIT = re.compile(r"[0-9a-f]{40,64}")


def find_files(
    repository: str, config: str | None, revision: str | None
) -> dict[str, list[HubShard]] | None:
    """Split -> its files in order; None for a data set that has no parquet files.

    Raises `DataError` for one that the hub does not give, or without such a config.
    """
    try:
        found = _by_split(_listing(repository, revision or "main"), repository, config)
    except HttpError as error:
        raise explained(error, repository) from error
    return _converted(repository, config) if found is None and revision is None else found


def _converted(repository: str, config: str | None) -> dict[str, list[HubShard]] | None:
    """What the hub has made of another format; None when it has made nothing, or only a part."""
    try:
        listing = _listing(repository, _CONVERTED)
    except HttpError as error:
        if error.status == http.HTTPStatus.NOT_FOUND:
            return None
        raise explained(error, repository) from error
    if any("/partial-" in shard.file for shard in _shards(listing, repository)):
        return None
    return _by_split(listing, repository, config)


def read_files(files: dict[str, list[HubShard]], source: str, split: str, audio: str = "") -> Table:
    """The recordings of `split`, which may be a slice as `train[:100]`, or a sum as `train+test`.

    Raises `DataError`, while the rows are gone through as well.
    """
    parts = [_SLICE.fullmatch(part) for part in split.split("+")]
    names = [part["split"] if part else "" for part in parts]
    if any(name not in files for name in names):
        raise DataError(
            f"{source}: has no split {split!r}; known: {', '.join(files)}. Write for example "
            f"{source}#{next(iter(files))}"
        )
    listed = [_sliced(files[part["split"]], part, audio) for part in parts if part]
    rows = counted(source, itertools.chain.from_iterable(listed))
    first = next(rows, None)
    if first is None:
        raise DataError(f"{source}#{split}: this split holds no recordings")
    return Table(
        source, root(), first.names, itertools.chain([first], rows), (split,), in_archives=True
    )


def _sliced(shards: list[HubShard], part: re.Match[str], audio: str) -> Iterator[Row]:
    rows = _rows(shards, audio)
    first, last = part["first"] or "", part["last"] or ""
    if first.endswith("%") or last.endswith("%"):
        every = list(rows)
        start, end = (_share(text, len(every)) for text in (first or "0%", last or "100%"))
        return iter(every[start:end])
    # Of the files after the last row, nothing is asked.
    return itertools.islice(rows, int(first or 0), int(last) if last else None)


def _share(text: str, count: int) -> int:
    if not text.endswith("%"):
        return int(text)
    return min(count, round(int(text[:-1]) / 100 * count))


def _rows(shards: list[HubShard], audio: str) -> Iterator[Row]:
    number = 0
    for shard in shards:
        for part, names, cells in _listed(shard, audio):
            number += 1
            path = f"{shard.file}/{number}"
            archive = str(shard.local().relative_to(root()))
            yield Row(number, ("path", *names), (path, *cells), part, archive)


def _listed(shard: HubShard, audio: str) -> Iterator[tuple[Cell, tuple[str, ...], tuple[str, ...]]]:
    """The rows of a file: from the list kept of it, or by reading its texts and keeping them."""
    # Imported late: only sets of the hub need it.
    from whisperslim.speech.corpus.recording_facts import write_whole

    kept = shard.local().with_name(f"{shard.local().name}.{quote(audio, safe='')}.list")
    if not kept.is_file():
        column, names, rows = _asked(shard, audio)
        lines = [json.dumps([column, *names]), *(json.dumps(row) for row in rows)]
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_whole(kept, "\n".join(lines).encode())
        except OSError as error:
            raise DataError(
                f"{kept}: cannot be written ({error.strerror}); make room, or set "
                "WHISPERSLIM_CACHE to a folder on another disk"
            ) from error
    try:
        with kept.open(encoding="utf-8") as file:
            column, *listed = json.loads(file.readline())
            same = tuple(listed)
            for line in file:
                group, row, *cells = json.loads(line)
                yield Cell(column, group, row, shard), same, tuple(cells)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{kept}: cannot be read ({error}); delete it, it is made again") from error


def _asked(shard: HubShard, audio: str) -> tuple[str, tuple[str, ...], list[list[Any]]]:
    raw = RangeFile(shard.url, shard.size, hub_token())
    try:
        file = open_parquet(io.BufferedReader(raw, 1 << 18), shard.name)
        schema = file.schema_arrow
        column, names = sound_column(schema, shard.name, audio), tuple(text_columns(schema))
        rows = [
            [part.group, part.row, *cells]
            for part, cells in rows_of(file, shard.name, names, column)
        ]
    except HttpError as error:
        raise explained(error, shard.repository) from error
    return column, names, rows


def _listing(repository: str, revision: str) -> dict[str, Any]:
    """What the hub says of a revision. Raises `HttpError`, and `DataError` for another answer."""
    url = f"{endpoint()}/api/datasets/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    found = ask_json(url, hub_token())
    if not isinstance(found, dict) or not _COMMIT.fullmatch(str(found.get("sha"))):
        raise DataError(f"{repository}: the hub's answer does not say which commit it is of")
    return found


def _by_split(
    listing: dict[str, Any], repository: str, config: str | None
) -> dict[str, list[HubShard]] | None:
    shards = {shard.file: shard for shard in _shards(listing, repository)}
    if not shards:
        return None
    stated = _stated(listing, config, repository)
    found: dict[str, list[HubShard]] = {}
    if stated:
        for split, patterns in stated.items():
            names = [n for n in shards if any(fnmatchcase(n, each) for each in patterns)]
            found[split] = [shards[name] for name in sorted(names)]
        return {split: files for split, files in found.items() if files} or None
    for name in sorted(shards):
        if place := _split_of(name, config):
            found.setdefault(place, []).append(shards[name])
    if not found:
        known = sorted({name.partition("/")[0] for name in shards if "/" in name} - {"data"})
        raise DataError(
            f"{repository}: needs a config; write for example hub:{repository}:{known[0]}#train. "
            f"Known: {', '.join(known)}"
            if known
            else f"{repository}: the names of its files do not say which split they are of"
        )
    return found


def _shards(listing: dict[str, Any], repository: str) -> Iterator[HubShard]:
    for entry in listing.get("siblings") or ():
        name, size = entry.get("rfilename"), entry.get("size")
        if not isinstance(name, str) or not name.endswith(".parquet"):
            continue
        if not _SAFE.fullmatch(name) or not isinstance(size, int):
            raise DataError(f"{repository}: has a file named {name!r}, which cannot be kept here")
        sha256 = (entry.get("lfs") or {}).get("sha256") or ""
        yield HubShard(repository, listing["sha"], name, size, str(sha256))


def _stated(
    listing: dict[str, Any], config: str | None, repository: str
) -> dict[str, list[str]] | None:
    """Split -> patterns of files, as the card of the data set has them; None when it has none."""
    card = listing.get("cardData")
    configs = card.get("configs") if isinstance(card, dict) else None
    stated = {
        str(each.get("config_name")): each
        for each in configs or ()
        if isinstance(each, dict) and each.get("data_files")
    }
    if not stated:
        return None
    usual = [name for name, each in stated.items() if each.get("default") or len(stated) == 1]
    chosen = config or (usual[0] if usual else "default")
    if chosen not in stated:
        raise DataError(
            f"{repository}: {'has no config ' + repr(config) if config else 'needs a config'}; "
            f"known: {', '.join(stated)}. Write for example hub:{repository}:{next(iter(stated))}"
        )
    files = stated[chosen]["data_files"]
    if isinstance(files, str):
        return {"train": [files]}
    found: dict[str, list[str]] = {}
    for each in files if isinstance(files, list) else ():
        if isinstance(each, dict):
            paths = each.get("path")
            paths = paths if isinstance(paths, list) else [paths]
            found.setdefault(str(each.get("split")), []).extend(map(str, paths))
        else:
            found.setdefault("train", []).append(str(each))
    return found


def _split_of(name: str, config: str | None) -> str | None:
    """The split of a file by its place, where the card says nothing; None for another config."""
    *folders, last = Path(name).parts
    if folders and folders[0] == (config or "default"):
        folders = folders[1:]
    elif config:
        return None
    folders = [folder for folder in folders if folder != "data"]
    if folders:
        # `hindi/train-00000-of-00009.parquet`: the folder is a config, and none was asked for.
        is_split = len(folders) == 1 and not re.match(r"\w+?-\d+-of-\d+", last, re.ASCII)
        return folders[0] if is_split else None
    named = re.fullmatch(r"(\w+?)(?:-\d+.*|\.parquet)", last, re.ASCII)
    return named[1] if named else None
