"""Asking a server, and fetching files so that what is interrupted is continued."""

import hashlib
import http.client
import io
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from filelock import FileLock

from whisperslim.errors import DataError
from whisperslim.machine.offline import is_offline

_SECONDS = 60.0  # without an answer, or without a byte of one; our choice, as what follows
_MOST_ANSWER = 1 << 26  # bytes
_BLOCK = 1 << 20
_ATTEMPTS = 5  # in a row that bring nothing
_FAULTS = (OSError, http.client.HTTPException)


class HttpError(DataError):
    """What a server, or the way to it, has refused. `status` is HTTP's, 0 without an answer."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def ask_json(url: str, token: str = "", method: str = "GET") -> Any:
    """The JSON that a server answers with. Raises `HttpError`, or `DataError` for no JSON."""
    with opened(url, token, method=method) as answer:
        content = answer.read(_MOST_ANSWER + 1)
    try:
        if len(content) > _MOST_ANSWER:
            raise ValueError(f"it has over {_MOST_ANSWER:,} bytes")
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{_bare(url)}: its answer cannot be understood ({error})") from error


def fetch(url: str, target: Path, size: int, sha256: str | None, token: str = "") -> None:
    """Bring a file of `size` bytes to `target`, whole or not at all.

    What has come before an interruption is kept beside it and continued, also by another process.

    Args:
        url: Where it is.
        target: Where it shall be; its folder need not exist.
        size: Its bytes.
        sha256: Of its bytes, in hex; None where the server does not say it.
        token: For the server of `url`; none that it redirects to is given it.

    Raises:
        HttpError: as `opened`.
        DataError: it is interrupted again and again, is not what was announced, or has no room.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.exists():  # brought by another process meanwhile
                return
            _check_room(part, size)
            _bring(url, part, size, token)
            _check(part, size, sha256, url)
            part.replace(target)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror or error}); {size / 1e6:.0f} MB are "
            "needed. Make room, or set WHISPERSLIM_CACHE to a folder on another disk"
        ) from error


class RangeFile(io.RawIOBase):
    """A file on a server, read where it is asked for; for readers that need few bytes of it.

    Raises `HttpError` when it is read.
    """

    def __init__(self, url: str, size: int, token: str = "") -> None:
        self._url, self._size, self._token, self._at = url, size, token, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._size - self._at)
        if wanted <= 0:
            return 0
        with opened(self._url, self._token, start=self._at, end=self._at + wanted) as answer:
            content = answer.read(wanted)
        if len(content) < wanted:
            raise HttpError(f"{_bare(self._url)}: ended early", 0)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


@contextmanager
def opened(
    url: str, token: str = "", *, method: str = "GET", start: int = 0, end: int | None = None
) -> Iterator[IO[bytes]]:
    """The answer to a request, of the bytes from `start` to before `end` if these are given.

    Raises `HttpError`, in the block as well, and for a server that does not give such a stretch.
    """
    if is_offline():
        raise HttpError(f"{_bare(url)}: is not asked, since the app is offline", 0)
    if urlsplit(url).scheme not in ("http", "https"):
        raise HttpError(f"{_bare(url)}: is no http or https address", 0)
    request = urllib.request.Request(url, method=method)
    request.add_header("User-Agent", "whisperslim")
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if start or end is not None:
        request.add_header("Range", f"bytes={start}-{'' if end is None else end - 1}")
    try:
        with _OPENER.open(request, timeout=_SECONDS) as answer:
            if "Range" in request.headers and answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                raise HttpError(f"{_bare(url)}: gives no part of a file", answer.status)
            yield answer
    except urllib.error.HTTPError as error:
        with error:
            raise HttpError(f"{_bare(url)}: {error.code} {error.reason}", error.code) from error
    except _FAULTS as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise HttpError(f"{_bare(url)}: {reason}", 0) from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to other servers without the token."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.unredirected_hdrs.get("Authorization")
        if new is not None and token and urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
            new.add_unredirected_header("Authorization", token)
        return new


def _opener() -> urllib.request.OpenerDirector:
    """One that knows the web only: by default, an address may be a file of this computer."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(), _Redirects(),
        urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


_OPENER = _opener()


def _bring(url: str, part: Path, size: int, token: str) -> None:
    """Append to `part` until it has `size` bytes, however often the way breaks off."""
    fruitless = 0
    while (have := _size(part)) < size:
        try:
            with opened(url, token, start=have) as answer, part.open("ab") as file:
                _copy(answer, file, size - have)
        except HttpError as error:
            if error.status == http.HTTPStatus.OK:  # it gives no part of a file: from the beginning
                part.unlink()
                continue
            if error.status:
                raise
            reason = str(error)
        else:
            reason = f"{_bare(url)}: ended early"
        fruitless = 0 if _size(part) > have else fruitless + 1
        if fruitless == _ATTEMPTS:
            raise HttpError(
                f"{reason}; the download is interrupted at {_size(part) / 1e6:.1f} of "
                f"{size / 1e6:.1f} MB. What is here is kept, and the next attempt continues there",
                0,
            )


def _copy(answer: IO[bytes], file: IO[bytes], most: int) -> None:
    while most > 0 and (block := answer.read(min(_BLOCK, most))):
        file.write(block)
        file.flush()
        most -= len(block)


def _check(part: Path, size: int, sha256: str | None, url: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest() if sha256 else None
    if _size(part) != size or found != sha256:
        part.unlink()
        raise DataError(
            f"{_bare(url)}: what has come is not the file that was announced; try again, it is "
            "then fetched anew"
        )


def _check_room(part: Path, size: int) -> None:
    wanted, free = size - _size(part), shutil.disk_usage(part.parent).free
    if free < wanted:
        raise DataError(
            f"{part.parent}: its disk has {free / 1e6:.0f} MB free and {wanted / 1e6:.0f} MB are "
            "needed; make room, or set WHISPERSLIM_CACHE to a folder on another disk"
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _bare(url: str) -> str:
    """Without what comes after `?`: signed addresses have secrets there."""
    return url.partition("?")[0]
