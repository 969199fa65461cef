"""Shards of a WebDataset: tars in which `KEY.wav` is followed by `KEY.txt` or `KEY.json`."""

from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path, PurePosixPath

from whisperslim.errors import DataError
from whisperslim.speech.corpus.archives.tar import Member, members
from whisperslim.speech.corpus.formats import Row, Table, counted, json_cells, text_of

SOUND_ENDINGS = ("wav", "flac", "mp3", "ogg", "opus", "m4a", "webm")


def read_tars(shards: Sequence[Path], source: str, ending: str = "") -> Table:
    """The recordings of the shards, which lie in one folder, with the columns of their texts.

    `ending` says which recording of a key is meant where there are several. Raises `DataError`.
    """
    # The last may have a column of its own, so all are read before any is understood.
    rows = list(counted(source, chain.from_iterable(_rows(shard, ending) for shard in shards)))
    if not rows:
        raise DataError(f"{source}: holds no recordings; a tar needs KEY.wav beside KEY.txt")
    columns = tuple(dict.fromkeys(chain.from_iterable({row.names: None for row in rows})))
    return Table(source, shards[0].parent, columns, rows, in_archives=True)


def _rows(shard: Path, ending: str) -> Iterator[Row]:
    found = members(shard, (".txt", ".json"))
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    for number, (key, group) in enumerate(groupby(found, key=lambda each: _split(each.name)[0]), 1):
        parts = {_split(member.name)[1]: member for member in group}
        sounds = [name for name in (ending,) if name] or [n for n in SOUND_ENDINGS if n in parts]
        if not any(name in parts for name in sounds):
            raise DataError(
                f"{shard}, {key!r}: has no recording beside {', '.join(sorted(parts))}; accepted "
                f"endings are {', '.join(sounds or SOUND_ENDINGS)}"
            )
        sound = parts[sounds[0]]
        cells = {"path": f"{shard.name}/{sound.name}", **_texts(shard, parts)}
        names = known.setdefault(tuple(cells), tuple(cells))
        yield Row(number, names, tuple(cells.values()), sound.span, shard.name)


def _texts(shard: Path, parts: dict[str, Member]) -> dict[str, str]:
    cells: dict[str, str] = {}
    for ending, member in parts.items():
        where = f"{shard}, {member.name!r}"
        if ending == "txt":
            cells["text"] = text_of(member.content or b"", where)
        elif ending == "json":
            cells |= json_cells(text_of(member.content or b"", where), where)
    cells.pop("path", None)  # where the recording was before it was put here
    return cells


def _split(name: str) -> tuple[str, str]:
    """Key and ending: the key ends at the first dot of the last part, as WebDataset has it."""
    path = PurePosixPath(name)
    first, _, ending = path.name.partition(".")
    return str(path.with_name(first)) if first else name, ending.lower()
