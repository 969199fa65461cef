"""A hub that keeps what it is sent, speaking the few addresses an upload of small files needs."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FakeHub:
    """What arrived. `refuse`: HTTP status every request is answered with, or 0."""

    url: str = ""
    refuse: int = 0
    made: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub on this machine, for the length of the block."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if hub.refuse:
                return self.answer(hub.refuse, {"error": "no"})
            path = self.path.partition("?")[0]
            if path == "/api/repos/create":
                hub.made.append(json.loads(body))
                return self.answer(200, {"url": f"{hub.url}/me/slim"})
            if path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if path.startswith("/api/models/me/slim/preupload/"):
                asked = [file["path"] for file in json.loads(body)["files"]]
                modes = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in asked]
                return self.answer(200, {"files": modes})
            if path.startswith("/api/models/me/slim/commit/"):
                return self.commit(body)
            return self.answer(404, {"error": f"unknown {path}"})

        def do_GET(self) -> None:
            if hub.refuse:
                return self.answer(hub.refuse, {"error": "no"})
            info = {"id": "me/slim", "sha": "0" * 40, "siblings": [], "private": False, "tags": []}
            return self.answer(200, {**info, "downloads": 0, "likes": 0, "name": "me"})

        def commit(self, body: bytes) -> None:
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    hub.commits.append(value["summary"])
                elif entry["key"] == "file":
                    hub.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{hub.url}/me/slim/commit/{'1' * 40}"
            self.answer(200, {"commitUrl": url, "commitOid": "1" * 40, "hookOutput": ""})

        def answer(self, status: int, table: dict[str, Any]) -> None:
            body = json.dumps(table).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    return Handler
