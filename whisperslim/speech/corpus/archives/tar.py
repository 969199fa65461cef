"""What a tar holds and where, read from its headers: nothing is unpacked."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from whisperslim.errors import DataError
from whisperslim.speech.corpus.parts import MOST_CLIP_BYTES, Span
from whisperslim.speech.plain_file import open_file

MOST_MEMBERS = 2_000_000  # of one tar; our choice, as what follows
_MOST_TEXT_BYTES = 1 << 20
_MOST_READ = 1 << 22  # at once: a header of a long name, which a tar could claim to be gigabytes
_AGAIN = "fetch the tar again"


class Member(NamedTuple):
    """A file in a tar. `content` is what it holds, of those that were asked for."""

    name: str
    span: Span
    content: bytes | None


def members(path: Path, wanted: tuple[str, ...] = ()) -> Iterator[Member]:
    """The files of an uncompressed tar in order, with the content of those ending in `wanted`.

    Raises `DataError`, in the midst of it as well, for a tar that is compressed, cut off or
    damaged, for links and devices in it, and for what is beyond the bounds.
    """
    try:
        with open_file(path) as file, _tar(file, path) as tar:
            size = path.stat().st_size
            count = 0
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps all it has passed
                count += 1
                if count > MOST_MEMBERS:
                    raise DataError(f"{path}: holds over {MOST_MEMBERS:,} files; make more shards")
                if not info.isdir():
                    yield _member(path, info, size, file, wanted)
            # To the library, a damaged header is the end as well.
            file.seek(tar.offset)
            end = file.read(tarfile.BLOCKSIZE)
            if len(end) < tarfile.BLOCKSIZE or any(end):
                raise DataError(f"{path}: is cut off or damaged after {count:,} files; {_AGAIN}")
    except tarfile.TarError as error:
        raise DataError(
            f"{path}: cannot be read as a tar ({error}). A compressed one must be unpacked to a "
            "plain .tar; fetch a damaged one again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _tar(file: BinaryIO, path: Path) -> tarfile.TarFile:
    return tarfile.open(fileobj=cast(BinaryIO, _Bounded(file, path)), mode="r:")


def _member(
    path: Path, info: tarfile.TarInfo, size: int, file: BinaryIO, wanted: tuple[str, ...]
) -> Member:
    where = f"{path}, {info.name!r}"
    if not info.isreg() or info.issparse():
        raise DataError(f"{where}: is a link, a device or a sparse file; only plain files are read")
    is_wanted = info.name.endswith(wanted) if wanted else False
    most = _MOST_TEXT_BYTES if is_wanted else MOST_CLIP_BYTES
    if info.size > most:
        raise DataError(f"{where}: has {info.size:,} bytes; up to {most:,} are accepted")
    if info.offset_data + info.size > size:
        raise DataError(f"{where}: the tar ends in the midst of it; {_AGAIN}")
    content = None
    if is_wanted:
        file.seek(info.offset_data)
        content = file.read(info.size)
    return Member(info.name, Span(info.offset_data, info.size), content)


class _Bounded:
    """A file that gives no more at once than a header takes."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_READ:
            raise DataError(f"{self._path}: has a header of {size:,} bytes; no tar needs that")
        return self._file.read(size)
