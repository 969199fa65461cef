"""Stands before Gradio: lets through what the page itself asks, within limits, and no more.

Every handler of a Gradio app is a public address, and Gradio has addresses that this page does not
use, some of which fetch whatever they are asked to. So only those in `_OPEN` exist here.
"""

import asyncio
import ipaddress
import json
import math
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.responses import PlainTextResponse

from whisperslim.ui.guard.uploads import bytes_below, clear_old

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

UPLOAD_BYTES = 50_000_000  # of one upload: five minutes of a studio's WAV
KEPT_BYTES = 2_000_000_000  # of all uploads not yet cleared away, which they are after an hour
JSON_BYTES = 4_000_000  # 7 s of sound in base64 at 96 kHz, twice
_MULTIPART_BYTES = 1_000_000  # around the file itself
_MOST_VALUES, _DEEPEST = 100_000, 40  # of one JSON body
_LARGEST_WHOLE = 2**53  # a browser's numbers are exact up to here
_CLEAR_SECONDS = 60.0  # between looks for what is to be cleared away
_LOGINS, _LOGIN_SECONDS, _LOGIN_HOSTS = 10, 60.0, 1000

_API = "/gradio_api"
_OPEN = {
    "GET": re.compile(
        r"/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|logout|pwa_icon(/\d+)?"
        r"|(static|assets|svelte)/[^\\]*|gradio_api/(info|app_id|user|login_check|theme\.css"
        r"|startup-events|upload_progress|queue/(data|status)|heartbeat/[\w-]+|file=.*))?/?"
    ),
    "POST": re.compile(
        r"/(login|gradio_api/(queue/join|run/[\w-]+|upload|component_server|cancel|reset))/?"
    ),
}
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # No page of another site may show this one in a frame and borrow its clicks.
    (
        b"content-security-policy",
        b"object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    ),
)


class RefusedError(Exception):
    """A request that goes no further: its status, and a sentence for whoever made it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass
class Gate:
    """An ASGI layer in front of `app`.

    `hosts` are the names it answers to, None for any; with `any_address`, to every IP address, too.
    `uploads` is the folder they are kept in.
    """

    app: App
    hosts: frozenset[str] | None = None
    any_address: bool = False
    uploads: Path | None = None
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time  # files know no other
    _cleared: float = -math.inf
    _logins: OrderedDict[str, list[float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # the page opens no web sockets
            return await send({"type": "websocket.close", "code": 1008})
        try:
            checked = await self._checked(scope, receive)
        except RefusedError as refused:
            answer = PlainTextResponse(str(refused), refused.status)
            return await answer(scope, receive, _with_headers(send))
        try:
            return await self.app(scope, checked, _with_headers(send))
        except RefusedError:  # a body that grew past its limit; the answer cannot be begun anew
            return None

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in scope["headers"]}
        self._check_host(headers)
        path, method = str(scope["path"]), str(scope["method"])
        check_address("GET" if method == "HEAD" else method, path)
        if method != "POST":
            return receive
        _check_origin(headers)
        await self._clear_old()
        if path.startswith("/login"):
            self._count_login(scope)
        if path.startswith(f"{_API}/upload"):
            self._check_room(headers)
            return _limited(receive, UPLOAD_BYTES + _MULTIPART_BYTES)
        body = await _body(receive, JSON_BYTES)
        if path.startswith(_API):
            check_json(body)
        return _replayed(body, receive)

    def _check_host(self, headers: dict[str, str]) -> None:
        host = re.sub(r":\d+$", "", headers.get("host", "").lower())
        known = self.hosts is None or host in self.hosts
        if not known and not (self.any_address and _is_address(host)):
            raise RefusedError(403, "this app does not go by that name; open it by its address")

    def _count_login(self, scope: Scope) -> None:
        host, now = (scope.get("client") or ("",))[0], self.clock()
        with self._lock:
            recent = [at for at in self._logins.pop(host, []) if now - at < _LOGIN_SECONDS]
            self._logins[host] = [*recent, now][-_LOGINS:]
            while len(self._logins) > _LOGIN_HOSTS:
                self._logins.popitem(last=False)
        if len(recent) >= _LOGINS:
            raise RefusedError(429, "too many attempts; wait a minute, then try again")

    async def _clear_old(self) -> None:
        now = self.clock()
        if self.uploads is None or now - self._cleared < _CLEAR_SECONDS:
            return
        self._cleared = now
        # Many files take long to look at, and other requests wait for this thread.
        await asyncio.to_thread(clear_old, self.uploads, self.wall_clock())

    def _check_room(self, headers: dict[str, str]) -> None:
        said = headers.get("content-length", "")
        if said.isdigit() and int(said) > UPLOAD_BYTES + _MULTIPART_BYTES:
            raise RefusedError(413, f"an upload has up to {UPLOAD_BYTES // 1_000_000} MB")
        if self.uploads is not None and bytes_below(self.uploads) > KEPT_BYTES:
            raise RefusedError(507, "too much has been uploaded; try again in an hour")


def check_address(method: str, path: str) -> None:
    """Raise `RefusedError` for an address that the page does not use."""
    wanted = _OPEN.get(method)
    if wanted is None or not wanted.fullmatch(path):
        raise RefusedError(404, "there is nothing at this address")
    # Gradio would fetch what follows `file=` when it is an address itself.
    if path.startswith(f"{_API}/file=") and "://" in unquote(path):
        raise RefusedError(404, "there is nothing at this address")


def check_json(body: bytes) -> None:
    """Raise `RefusedError` unless a body is JSON as a browser sends it: shallow, of finite numbers.

    A file is named by a path on this computer; Gradio would fetch an address in its place.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "the request is not JSON") from error
    for count, (each, depth) in enumerate(_values(value)):
        if count > _MOST_VALUES or depth > _DEEPEST:
            raise RefusedError(400, "the request holds too much")
        if isinstance(each, float) and not math.isfinite(each):
            raise RefusedError(400, "the request holds a number that is not finite")
        if isinstance(each, int) and abs(each) > _LARGEST_WHOLE:
            raise RefusedError(400, "the request holds a number that is too large")
        if isinstance(each, dict) and _is_remote(each.get("path")):
            raise RefusedError(400, "a file is named by where it was uploaded to")
        if isinstance(each, str) and not _is_text(each):
            raise RefusedError(400, "the request holds text that is not Unicode")


def _is_address(host: str) -> bool:
    in_brackets = host.startswith("[") and host.endswith("]")
    try:
        version = ipaddress.ip_address(host[1:-1] if in_brackets else host).version
    except ValueError:
        return False
    return in_brackets == (version == 6)


def _is_remote(path: object) -> bool:
    return isinstance(path, str) and "://" in path


def _is_text(value: str) -> bool:
    # Half of a pair of UTF-16: JSON can hold it, no file and no answer can.
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _values(value: Any) -> Iterator[tuple[Any, int]]:
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        yield each, depth
        if isinstance(each, dict):
            waiting += [(part, depth + 1) for pair in each.items() for part in pair]
        elif isinstance(each, list):
            waiting += [(part, depth + 1) for part in each]


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _check_origin(headers: dict[str, str]) -> None:
    """A page of another site must not press buttons here; browsers say whose page it was."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower():
        raise RefusedError(403, "this request came from a page of another site")


async def _body(receive: Receive, most: int) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the request ended early")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise RefusedError(413, f"a request has up to {most // 1_000_000} MB")
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once more, then what comes after it, such as the end of the connection."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return left.pop() if left else await receive()

    return again


def _limited(receive: Receive, most: int) -> Receive:
    size = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise RefusedError(413, f"an upload has up to {UPLOAD_BYTES // 1_000_000} MB")
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return sent
