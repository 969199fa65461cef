"""A server on this computer that answers as the hub and the Mozilla Data Collective do."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Server:
    """What it answers, and what it was asked.

    Attributes:
        answers: Method and path -> a status and JSON, or the bytes of a file.
        token: That every path but those of `open` needs; "" for none.
        breaks: Bytes after which it breaks off, for each of the next answers.
        ranged: Whether it gives parts of files.
        asked: (method and path, Authorization, Range) of every request.
    """

    answers: dict[str, tuple[int, Any] | bytes | str] = field(default_factory=dict)
    token: str = ""
    open: set[str] = field(default_factory=set)
    breaks: list[int] = field(default_factory=list)
    ranged: bool = True
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving() -> Iterator[Server]:
    """A server at `url`, which ends with the block."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(self, server)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, server: Server) -> None:
    name = f"{handler.command} {handler.path}"
    said = handler.headers.get("Authorization", "")
    stretch = handler.headers.get("Range", "")
    server.asked.append((name, said, stretch))
    found = server.answers.get(name, (404, {"error": "none"}))
    if server.token and name not in server.open and said != f"Bearer {server.token}":
        found = (401, {"error": "no"})
    if isinstance(found, str):
        handler.send_response(302)
        handler.send_header("Location", found)
        handler.end_headers()
    elif isinstance(found, tuple):
        _send(handler, found[0], json.dumps(found[1]).encode(), [])
    elif stretch and server.ranged:
        first, _, last = stretch.removeprefix("bytes=").partition("-")
        _send(handler, 206, found[int(first) : int(last) + 1 if last else None], server.breaks)
    else:
        _send(handler, 200, found, server.breaks)


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, breaks: list[int]) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: breaks.pop(0)] if breaks else body)
    handler.close_connection = True
