"""How much may be uploaded: room is reserved before a body is read, and counted while it arrives.

Nothing here reads the disk. What is stored is reported once a minute by the code that clears it
away; what came since is added.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from whisperslim.ui.guard.refusals import RefusedError
from whisperslim.ui.guard.uploads import KEPT_SECONDS, Kept

UPLOAD_BYTES = 50_000_000  # of one upload: five minutes of a studio's WAV
KEPT_BYTES = 2_000_000_000  # of all uploads not yet cleared away, which happens after an hour
KEPT_FILES = 2000  # likewise
FILES_OF_ONE = 500  # in an hour, from one address
UPLOADS_OF_ONE = 8  # at once, from one address; our choice, as the figures above
_MULTIPART_BYTES = 1_000_000  # around the file itself
_MB = 1_000_000


@dataclass
class Upload:
    """A body being uploaded: what was reserved for it, and what has arrived."""

    place: str
    reserved: int
    files: int = 0
    bytes: int = 0


@dataclass
class Room:
    """What is stored, what has arrived since that was counted, and what is reserved."""

    clock: Callable[[], float] = time.monotonic
    _kept: Kept = field(default_factory=Kept)
    _since: list[Kept] = field(default_factory=list)  # one for each body that has ended
    _counted: int = 0  # the part of `_since` that the current count will find
    _open: list[Upload] = field(default_factory=list)
    _made: deque[tuple[float, str, int]] = field(default_factory=deque)  # time, sender, files

    def reserve(self, place: str, length: int | None) -> Upload:
        """Room for a body of `length` bytes; of the largest size when that is unknown.

        Raises `RefusedError` when there is none.
        """
        largest = UPLOAD_BYTES + _MULTIPART_BYTES
        if length is not None and length > largest:
            raise RefusedError(413, f"an upload has up to {UPLOAD_BYTES // _MB} MB")
        if sum(each.place == place for each in self._open) >= UPLOADS_OF_ONE:
            raise RefusedError(
                429, f"up to {UPLOADS_OF_ONE} uploads are accepted at once; wait for one to end", 5
            )
        upload = Upload(place, largest if length is None else length)
        reserved = sum(max(each.reserved, each.bytes) for each in self._open)
        if self._total().bytes + reserved + upload.reserved > KEPT_BYTES:
            raise RefusedError(507, "too much has been uploaded; try again in an hour")
        self._check_files(place)
        self._open.append(upload)
        return upload

    def take(self, upload: Upload, size: int, files: int) -> None:
        """Count what has arrived: `size` more bytes and `files` more files.

        Raises `RefusedError` when that exceeds the room.
        """
        upload.bytes += size
        if upload.bytes > UPLOAD_BYTES + _MULTIPART_BYTES:
            raise RefusedError(413, f"an upload has up to {UPLOAD_BYTES // _MB} MB")
        for _ in range(files):
            self._check_files(upload.place)
            upload.files += 1

    def end(self, upload: Upload) -> None:
        """It has ended: what arrived stays counted, the rest is free again."""
        self._open.remove(upload)
        self._since.append(Kept(upload.bytes, upload.files))
        if upload.files:
            self._made.append((self.clock(), upload.place, upload.files))

    def begin_count(self) -> None:
        """The disk is counted from now on."""
        self._counted = len(self._since)

    def end_count(self, kept: Kept) -> None:
        """The stored amount. A body that ended meanwhile may be included or not, so it stays
        counted.
        """
        self._kept = kept
        del self._since[: self._counted]

    def _total(self) -> Kept:
        return Kept(
            self._kept.bytes + sum(each.bytes for each in self._since),
            self._kept.files + sum(each.files for each in self._since),
        )

    def _check_files(self, place: str) -> None:
        while self._made and self.clock() - self._made[0][0] > KEPT_SECONDS:
            self._made.popleft()
        of: Counter[str] = Counter()
        for _, whose, files in self._made:
            of[whose] += files
        for each in self._open:
            of[each.place] += each.files
        if of[place] >= FILES_OF_ONE:
            raise RefusedError(429, f"up to {FILES_OF_ONE} files may be uploaded in an hour", 3600)
        if self._total().files + sum(each.files for each in self._open) >= KEPT_FILES:
            raise RefusedError(507, "too many files have been uploaded; try again in an hour")


class Form:
    """A form as a browser sends files, checked while it passes. Anything else is refused.

    Gradio's own reader counts files only once they are written, and fails at fields that are not
    files.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        charset = options.get(b"charset", b"utf-8").lower()
        if kind != b"multipart/form-data" or b"boundary" not in options or charset != b"utf-8":
            raise _no_form()
        self._name, self._value, self._disposition, self._files = b"", b"", b"", 0
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._on_name,
                    "on_header_value": self._on_value,
                    "on_header_end": self._on_header,
                    "on_headers_finished": self._on_headers,
                },
            )
        except FormParserError as error:
            raise _no_form() from error

    def feed(self, data: bytes, *, ends: bool) -> int:
        """Check the next part; returns the number of files that begin in it."""
        before = self._files
        try:
            self._parser.write(data)
            if ends:
                self._parser.finalize()
        except FormParserError as error:
            raise _no_form() from error
        return self._files - before

    def _begin(self) -> None:
        self._disposition = b""

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _on_headers(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if options.get(b"name") != b"files" or b"filename" not in options:
            raise _no_form()
        self._files += 1


def _no_form() -> RefusedError:
    return RefusedError(400, "an upload must be a form with files")
