"""In front of Gradio: lets through what the page itself requests, within limits, and no more.

Every handler of a Gradio app is a public address, and Gradio has addresses that this page does not
use, some of which fetch any given URL. So only those in `_OPEN` exist here.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from whisperslim.listening.address import goes_by, is_own_page
from whisperslim.ui.guard.events import Events, check_session
from whisperslim.ui.guard.logins import KNOWN_COOKIE, LoginLimit
from whisperslim.ui.guard.proxy import as_seen, header, place_of
from whisperslim.ui.guard.refusals import PASSED, Answer, App, Receive, RefusedError, Scope, Send
from whisperslim.ui.guard.room import Form, Room
from whisperslim.ui.guard.uploads import clear_old

JSON_BYTES = 4_000_000  # 7 s of sound in base64 at 96 kHz, twice
_LOGIN_BYTES = 10_000
_MOST_VALUES, _DEEPEST = 100_000, 40  # of one JSON body
_LARGEST_WHOLE = 2**53  # a browser's integers are exact up to here
_CLEAR_SECONDS = 60.0  # between checks for files to clear away
_PIECE_SECONDS, _JSON_SECONDS, _UPLOAD_SECONDS = (
    30.0,
    60.0,
    900.0,
)  # a body's longest pause, and its total time
_LONGEST_PATH, _LONGEST_NAME = 4096, 255  # bytes: Linux's own limits
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_RANGE = re.compile(r"bytes=(\d{1,15})-(\d{0,15})")

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
# For these, the login is checked before the body is read. Gradio itself answers `cancel`, `reset`
# and `heartbeat` to anyone.
_FOR_KNOWN = re.compile(rf"POST (?!/login).*|GET {_API}/heartbeat/.*")
_UNSECURE, _SECURE = "access-token-unsecure-", "access-token-"


@dataclass
class Gate:
    """An ASGI layer in front of `app`.

    `hosts` are the names it answers to, None for any; with `any_address`, also every IP address.
    `uploads` is their folder, `events` those of the page, `proxy` the address trusted on where a
    request came from; with `login`, what Gradio leaves open is closed.
    """

    app: App
    hosts: frozenset[str] | None = None
    any_address: bool = False
    uploads: Path | None = None
    events: Events | None = None
    proxy: str | None = None
    login: bool = False
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time  # files know no other
    _cleared: float = -math.inf
    _logins: LoginLimit = field(init=False)
    _room: Room = field(init=False)

    def __post_init__(self) -> None:
        self._logins, self._room = LoginLimit(self.clock), Room(self.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # the page opens no web sockets
            return await send({"type": "websocket.close", "code": 1008})
        answer = Answer(scope, receive, send)
        try:
            await self._handle(scope, receive, answer)
        except RefusedError as refused:
            await answer.refuse(refused)
        except ClientDisconnect:
            return  # a body that was not sent completely
        except RuntimeError as error:
            # Gradio reports an unknown session in its stream, then raises.
            if not isinstance(error.__cause__, HTTPException):
                raise
            await answer.send({"type": "http.response.body", "body": b""})

    async def _handle(self, scope: Scope, receive: Receive, answer: Answer) -> None:
        seen = as_seen(scope, self.proxy)
        answer.encrypted = seen.get("scheme") == "https"
        path, method = str(seen["path"]), str(seen["method"])
        self._check_host(seen)
        check_address("GET" if method == "HEAD" else method, path)
        _check_origin(seen)
        needs_login = self.login and _FOR_KNOWN.fullmatch(f"{method} {path}")
        if needs_login and not await self._is_known(seen):
            raise RefusedError(401, "log in first")
        if method != "POST":
            return await self.app(_as_asked(seen), receive, answer.send)
        await self._clear_old()
        if path.startswith(f"{_API}/upload"):
            await self._handle_upload(seen, receive, answer)
        elif path.startswith("/login"):
            await self._handle_login(seen, receive, answer)
        else:
            body = await _body(receive, JSON_BYTES)
            value = check_json(body)
            if self.events is not None:
                self.events.check(path, value)
            await self.app(seen, _replayed(body, receive), answer.send)

    async def _handle_login(self, seen: Scope, receive: Receive, answer: Answer) -> None:
        body = await _body(receive, _LOGIN_BYTES)
        place, cookie = place_of(seen), _cookies(seen).get(KNOWN_COOKIE, "")
        self._logins.begin(place, cookie)
        answer.on_success = lambda: self._logins.succeed(place, cookie)
        await self.app(seen, _replayed(body, receive), answer.send)

    async def _handle_upload(self, seen: Scope, receive: Receive, answer: Answer) -> None:
        form = Form(header(seen, b"content-type"))
        length = header(seen, b"content-length")
        upload = self._room.reserve(place_of(seen), int(length) if length.isdigit() else None)
        ended = False

        async def counted() -> MutableMapping[str, Any]:
            nonlocal ended
            if ended:
                return await receive()
            try:
                message = await _next(receive, begun, _UPLOAD_SECONDS)
                data = message.get("body", b"")
                ended = not message.get("more_body", False)
                files = form.feed(data, ends=ended and message["type"] == "http.request")
                self._room.take(upload, len(data), files)
            except RefusedError as refused:
                await answer.refuse(refused)  # before Gradio turns it into an error
                raise
            return message

        begun = time.monotonic()
        try:
            await self.app(seen, counted, answer.send)
        finally:
            self._room.end(upload)

    def _check_host(self, seen: Scope) -> None:
        if not goes_by(header(seen, b"host"), self.hosts, any_address=self.any_address):
            raise RefusedError(403, "this app is not known by that name; open it by its address")

    async def _is_known(self, seen: Scope) -> bool:
        """Whether Gradio accepts the sender as logged in."""
        found: list[int] = []

        async def note(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                found.append(int(message["status"]))

        path = f"{_API}/login_check"
        asked = {**seen, "method": "GET", "path": path, "raw_path": path.encode()}
        await self.app(asked, _replayed(b"", _nothing), note)
        return found == [200]

    async def _clear_old(self) -> None:
        now = self.clock()
        if self.uploads is None or now - self._cleared < _CLEAR_SECONDS:
            return
        self._cleared = now
        self._room.begin_count()
        # Many files take long to check, and other requests wait for this thread.
        self._room.end_count(await asyncio.to_thread(clear_old, self.uploads, self.wall_clock()))


def check_address(method: str, path: str) -> None:
    """Raise `RefusedError` for an address that the page does not use."""
    wanted = _OPEN.get(method)
    if wanted is None or not wanted.fullmatch(path) or not _is_path(path):
        raise RefusedError(404, "there is nothing at this address")
    # Gradio would fetch what follows `file=` when it is a URL.
    if path.startswith(f"{_API}/file=") and "://" in unquote(path):
        raise RefusedError(404, "there is nothing at this address")
    if path.startswith(f"{_API}/heartbeat/"):
        check_session(path.rstrip("/").rpartition("/")[2])


def check_json(body: bytes) -> Any:
    """A body's content: JSON as a browser sends it, shallow and with finite numbers, else refused.

    Files are named by paths on this computer; Gradio would fetch a URL in their place.
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
            raise RefusedError(400, "a file must be named by the path of its upload")
        if isinstance(each, str) and not _is_text(each):
            raise RefusedError(400, "the request holds text that is not Unicode")
    return value


def _is_remote(path: object) -> bool:
    return isinstance(path, str) and "://" in path


def _is_text(value: str) -> bool:
    # Half of a UTF-16 pair: valid in JSON, but not in a file or an answer.
    return not _HALF_PAIR.search(value)


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
    raise ValueError(f"{name} is not JSON")


def _check_origin(seen: Scope) -> None:
    """A page of another site must not press buttons here; browsers send the origin.

    Where they send it with every request, only the page itself may be opened from elsewhere.
    """
    own = is_own_page(header(seen, b"origin"), header(seen, b"host"))
    from_elsewhere = header(seen, b"sec-fetch-site") in ("cross-site", "same-site")
    if not own or (from_elsewhere and seen["path"] != "/"):
        raise RefusedError(403, "this request came from a page of another site")


def _is_path(path: str) -> bool:
    """Whether a file system could hold this name and every part of it."""
    encoded = path.encode()
    short = len(encoded) <= _LONGEST_PATH and all(
        len(part) <= _LONGEST_NAME for part in encoded.split(b"/")
    )
    return short and not _CONTROL.search(path)


def _as_asked(seen: Scope) -> Scope:
    """A request without body and without headers that Gradio would copy into its answer."""
    headers = [pair for pair in seen["headers"] if pair[0] not in PASSED]
    wanted = _RANGE.fullmatch(header(seen, b"range"))
    if not wanted or (wanted[2] and int(wanted[2]) < int(wanted[1])):
        headers = [pair for pair in headers if pair[0] != b"range"]
    if not str(seen["path"]).startswith("/logout"):
        return {**seen, "headers": headers}
    # Everyone logs in with the same name, and Gradio would end all sessions of that name. It ends a
    # single one by the cookie for https, so that of http is put in its place.
    cookies = _cookies(seen)
    for name, value in tuple(cookies.items()):
        if name.startswith(_UNSECURE):
            cookies.setdefault(_SECURE + name.removeprefix(_UNSECURE), value)
    said = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = [pair for pair in headers if pair[0] != b"cookie"]
    headers.append((b"cookie", said.encode("latin-1")))
    return {**seen, "headers": headers, "query_string": b"all_session=false"}


def _cookies(seen: Scope) -> dict[str, str]:
    pairs = (each.partition("=") for each in header(seen, b"cookie").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip()}


async def _next(receive: Receive, begun: float, most: float) -> MutableMapping[str, Any]:
    """The next part of a body that began at `begun`, within `most` seconds in total."""
    left = min(_PIECE_SECONDS, begun + most - time.monotonic())
    try:
        return await asyncio.wait_for(receive(), max(0.0, left))
    except TimeoutError as error:
        raise RefusedError(408, "the request came too slowly") from error


async def _body(receive: Receive, most: int) -> bytes:
    parts, size, begun = [], 0, time.monotonic()
    while True:
        message = await _next(receive, begun, _JSON_SECONDS)
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the request ended early")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise RefusedError(413, f"a request has up to {most / 1_000_000:g} MB")
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Replays the body, then what follows it, such as the end of the connection."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return left.pop() if left else await receive()

    return again


async def _nothing() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}
