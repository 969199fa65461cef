"""The connections of the app: bounded, as all that listens bounds them.

Gradio makes its own server and cannot be given another, so its server class is replaced during the
launch.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gradio import http_server
from uvicorn import Config

from whisperslim.listening.connections import BoundedConnection
from whisperslim.ui.guard.refusals import App

_launching = threading.Lock()
_GRADIOS_SERVER = http_server.Server


@contextmanager
def served_behind(front: Callable[[App], App], proxy: str | None = None) -> Iterator[None]:
    """Inside the block, the app that Gradio serves is wrapped by `front`.

    So what `front` refuses does not reach Gradio. uvicorn itself does not use proxy headers.
    """
    connection = type("Connection", (BoundedConnection,), {"proxy": proxy})

    class Server(_GRADIOS_SERVER):
        def __init__(self, config: Config, *more: Any, **named: Any) -> None:
            config.app = front(config.app)  # type: ignore[arg-type]
            config.http, config.proxy_headers = connection, False
            super().__init__(config, *more, **named)

    with _launching:
        http_server.Server = Server  # type: ignore[misc]
        try:
            yield
        finally:
            http_server.Server = _GRADIOS_SERVER  # type: ignore[misc]
