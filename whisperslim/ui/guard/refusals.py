"""Refused requests, and how they are answered."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    # No page of another site may show this one in a frame and misuse its clicks.
    (
        b"content-security-policy",
        b"object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    ),
)
# Gradio copies the request's headers, the cookie of a login among them, into its ranged answers. So
# no other header of an answer is passed on, and none of these reaches Gradio in such a request.
PASSED = frozenset(
    b"accept-ranges allow cache-control content-disposition content-encoding content-length"
    b" content-range content-type etag last-modified location set-cookie transfer-encoding"
    b" vary".split()
)


class RefusedError(Exception):
    """A refused request: its status, and a sentence for the sender.

    With `retry_after`, the seconds after which the same request may be accepted.
    """

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}


class Answer:
    """The one answer to a request: Gradio's, or a refusal in its place."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.status: int | None = None
        self.on_success: Callable[[], bytes] | None = None  # a cookie to set with the answer
        self.encrypted = False  # cookies are then sent over https alone
        self._scope, self._receive, self._send = scope, receive, send
        self._refused = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass Gradio's answer on, unless the request was refused."""
        if not self._refused:
            await self._pass_on(message)

    async def refuse(self, refused: RefusedError) -> None:
        """Answer with a refusal, unless an answer has begun."""
        self._refused = True
        if self.status is None:
            answer = PlainTextResponse(str(refused), refused.status, refused.headers)
            await answer(self._scope, self._receive, self._pass_on_refusal)

    async def _pass_on(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            kept = [each for each in message.get("headers", []) if each[0].lower() in PASSED]
            if self.status == 200 and self.on_success is not None:
                kept.append((b"set-cookie", self.on_success()))
            if self.encrypted:
                kept = [_for_https(each) for each in kept]
            message["headers"] = [*kept, *_HEADERS]
        await self._send(message)

    async def _pass_on_refusal(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            message["headers"] = [*message["headers"], *_HEADERS]
        await self._send(message)


def _for_https(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Gradio sets a second cookie with the same secret, which a browser would send over http."""
    name, value = header
    is_open = name.lower() == b"set-cookie" and b"; secure" not in value.lower()
    return (name, value + b"; Secure") if is_open else header
