"""What is to be known of an Ogg file before libsndfile is given it (RFC 3533 and RFC 7845)."""

import io
from typing import BinaryIO, Protocol

_PAGE, _HEADER = b"OggS", 27  # how a page begins, and bytes of its header before the table
_FLAGS, _CHECKSUM, _SEGMENTS = 5, 22, 26  # where these are in the header
_FIRST_OF_STREAM = 0x02
_OPUS, _VORBIS = b"OpusHead", b"\x01vorbis"
_RATE = 12  # where the rate is in Opus' header
_FULL_RATE = 48_000  # Hz: at which Opus is defined
_POLYNOMIAL = 0x04C11DB7


class Seekable(Protocol):
    """What libsndfile reads from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""
        ...

    def seek(self, offset: int, whence: int = ..., /) -> int:
        """Where it is then."""
        ...

    def tell(self) -> int:
        """Where it is."""
        ...


def holds_one_stream(file: BinaryIO) -> bool:
    """Whether it has one stream, of Vorbis or Opus.

    Of several, one after the other as internet radio has them or side by side, libsndfile would
    read the first alone.
    """
    file.seek(0)
    if not _body(_page(file)).startswith((_OPUS, _VORBIS)):
        return False
    while header := _read_header(file):
        if header[_FLAGS] & _FIRST_OF_STREAM:
            return False
        file.seek(sum(header[_HEADER:]), io.SEEK_CUR)
    return True


def at_full_rate(file: BinaryIO) -> Seekable:
    """The same file; of Opus, one that says it was made of sound at 48 kHz.

    libsndfile lets Opus come down to the rate of the sound it was made of, which shifts it by a
    part of a sample; from 48 kHz it comes down here, as all sound does.
    """
    file.seek(0)
    page = bytearray(_page(file))
    start = len(page) - len(_body(bytes(page)))
    if page[start:].startswith(_OPUS) and len(page) >= start + _RATE + 4:
        page[start + _RATE : start + _RATE + 4] = _FULL_RATE.to_bytes(4, "little")
        page[_CHECKSUM : _CHECKSUM + 4] = bytes(4)
        page[_CHECKSUM : _CHECKSUM + 4] = _checksum(page).to_bytes(4, "little")
        file.seek(0)
        return _Headed(file, bytes(page))
    file.seek(0)
    return file


class _Headed:
    """A file with another beginning of the same length."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self._file, self._head = file, head

    def read(self, size: int) -> bytes:
        at = self._file.tell()
        found = self._file.read(size)
        replaced = self._head[at : at + len(found)]
        return replaced + found[len(replaced) :]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _read_header(file: BinaryIO) -> bytes:
    """A page's header with its table of lengths; empty where no whole one is."""
    header = file.read(_HEADER)
    if len(header) < _HEADER or not header.startswith(_PAGE):
        return b""
    table = file.read(header[_SEGMENTS])
    return header + table if len(table) == header[_SEGMENTS] else b""


def _page(file: BinaryIO) -> bytes:
    header = _read_header(file)
    return header + file.read(sum(header[_HEADER:]))


def _body(page: bytes) -> bytes:
    return page[_HEADER + page[_SEGMENTS] :] if page else b""


def _checksum(page: bytearray) -> int:
    """CRC-32 as Ogg has it: not reflected, begun with zero, not inverted."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (_POLYNOMIAL if value >> 31 else 0)) & 0xFFFFFFFF
    return value
