"""What is known of recordings without opening them: kept beside the sound cache."""

import json
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FILE_PATTERN = "recordings-*.txt"
TEMPORARY = ".writing-"  # how names of files begin that are not whole yet
_CHECKSUM_DIGITS = 8  # hexadecimal


@dataclass(frozen=True)
class Facts:
    """Of one recording: SHA-256 (hex) of its bytes, and how many samples it decodes to."""

    sha256: str
    samples: int


class RecordingFacts:
    """Stamp -> facts, in one text file in `folder`, a line for each recording.

    A stamp is a file's size, time of change and path in a string: another one is another recording
    until its bytes are read. Lines are only added, each in one write, so that several processes may
    add at once; of two lines with one stamp the later counts. Each begins with a CRC-32 of the
    rest. A file with damaged lines is written again from whole ones, which `announce` reports.
    """

    def __init__(self, folder: Path, version: str, announce: Callable[[str], None]) -> None:
        self._file = folder / FILE_PATTERN.replace("*", version)
        self._announce = announce
        self._facts: dict[str, Facts] | None = None

    def get(self, stamp: str) -> Facts | None:
        """What is known of the recording with this stamp. Reads the file at the first call."""
        return self._all().get(stamp)

    def add(self, stamp: str, facts: Facts) -> None:
        """Remember in this process."""
        self._all()[stamp] = facts

    def store(self, stamp: str) -> None:
        """Write what is remembered for later processes. Raises `OSError` when it cannot be."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, _line(stamp, self._all()[stamp]))
        finally:
            os.close(handle)

    def _all(self) -> dict[str, Facts]:
        if self._facts is None:
            self._facts = self._read()
        return self._facts

    def _read(self) -> dict[str, Facts]:
        try:
            lines = self._file.read_bytes().splitlines(keepends=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            self._announce(
                f"{self._file}: cannot be read ({error.strerror}); lengths of recordings are taken "
                "from the recordings themselves, which is slower"
            )
            return {}
        whole = [line for line in lines if _is_whole(line)]
        if len(whole) < len(lines):
            self._announce(
                f"{self._file}: {len(lines) - len(whole)} of {len(lines)} lines are damaged; it is "
                "made again without them, and those recordings are looked at again"
            )
            # A folder that may not be written to is announced when something is stored.
            with suppress(OSError):
                write_whole(self._file, b"".join(whole))
        entries = [json.loads(line[_CHECKSUM_DIGITS:]) for line in whole]
        return {stamp: Facts(sha256, samples) for stamp, sha256, samples in entries}


def _line(stamp: str, facts: Facts) -> bytes:
    # JSON in ASCII: a path may hold a line end, or bytes that are not text.
    body = b" " + json.dumps([stamp, facts.sha256, facts.samples]).encode()
    return _checksum(body) + body + b"\n"


def _is_whole(line: bytes) -> bool:
    body = line[_CHECKSUM_DIGITS:].removesuffix(b"\n")
    return line.endswith(b"\n") and line[:_CHECKSUM_DIGITS] == _checksum(body)


def _checksum(body: bytes) -> bytes:
    return f"{zlib.crc32(body):0{_CHECKSUM_DIGITS}x}".encode()


def write_whole(target: Path, data: bytes) -> None:
    """Under a temporary name, then renamed: a reader sees all of it or nothing."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=TEMPORARY)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(target)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
