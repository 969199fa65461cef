"""Open models and serve them until a signal ends it."""

import os
import re
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from whisperslim.engines.opening import open_transcriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import UsageError
from whisperslim.listening.address import (
    LOOPBACK,
    SHORTEST_SECRET,
    check_port,
    checked_address,
    checked_certificate,
    first_line,
    in_url,
    is_all_addresses,
    is_loopback,
    own_names,
)
from whisperslim.listening.connections import BoundedConnection
from whisperslim.server.app import Bounds, Service
from whisperslim.speech.audio.window import hearing_window

KEY_VARIABLE = "WHISPERSLIM_API_KEY"
_NAME = re.compile(r"[\w.-]{1,100}")


@dataclass(frozen=True)
class Place:
    """Where it listens, and which key and certificate it uses.

    Attributes:
        address: An IP address; this computer's own by default.
        port: There.
        key: The API key; None: whoever reaches the address may ask.
        certificate, certificate_key: PEM files for https.
    """

    address: str = LOOPBACK
    port: int = 8000
    key: str | None = None
    certificate: str | None = None
    certificate_key: str | None = None

    @property
    def url(self) -> str:
        """Its address as clients have it."""
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{in_url(self.address)}:{self.port}"

    def warnings(self) -> tuple[str, ...]:
        """What the owner should know before serving so."""
        if is_loopback(self.address):
            return ()
        found = []
        if self.key is None:
            found.append("anybody who reaches this address can have recordings transcribed")
        if self.certificate is None:
            found.append(
                "without --tls-cert and --tls-key, the key and recordings are sent unencrypted"
            )
        return tuple(found)


def place(
    address: str = LOOPBACK,
    port: int = 8000,
    *,
    key: str | None = None,
    unsafe: bool = False,
    certificate: Path | None = None,
    certificate_key: Path | None = None,
) -> Place:
    """Check the options together. Raises `UsageError` when anybody on the network could use it."""
    name = checked_address(address)
    chain = checked_certificate(certificate, certificate_key)
    if not is_loopback(name) and key is None and not unsafe:
        raise UsageError(
            f"--listen {address} opens the server to other computers, so it needs a key: give "
            f"--api-key FILE, or set {KEY_VARIABLE}; or --unsafe-no-auth, where everybody on that "
            "network may use it"
        )
    return Place(name, port, key, *chain)


def read_key(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The first line of a file, or else from the environment; None: neither is there.

    A key on the command line could be read by every user of the computer. Raises `UsageError`
    when it is too short, not of printable ASCII, or the file is open to others.
    """
    if file is not None:
        key = first_line(file.expanduser(), "--api-key").strip()
    else:
        key = environment.get(KEY_VARIABLE, "").strip()
        if not key:
            return None
    if len(key) < SHORTEST_SECRET or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(
            f"the API key has to be {SHORTEST_SECRET} or more printable ASCII characters without "
            "spaces; make one with: openssl rand -hex 24"
        )
    return key


def named(typed: Sequence[str]) -> dict[str, str]:
    """Name that clients use -> model, from `NAME=MODEL`, or MODEL under its folder's name.

    Raises `UsageError` for a name that is there twice.
    """
    found: dict[str, str] = {}
    for each in typed:
        left, equals, right = each.partition("=")
        given = bool(equals and right and _NAME.fullmatch(left))
        model = right if given else each
        folder = Path(model).expanduser()
        name = left if given else folder.resolve().name if folder.exists() else model
        if name in found:
            raise UsageError(
                f"two models are called {name!r}; name them, as in: first={found[name]} "
                f"second={model}"
            )
        found[name] = model
    return found


def serve(
    models: Mapping[str, str],
    where: Place,
    bounds: Bounds,
    *,
    window: str = "fit",
    threads: int = 0,
    grace: int = 30,
    announce: Callable[[str], None] = lambda message: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; then finish what was taken, within `grace` seconds.

    Args:
        models: As `named` gives them.
        where: As `place` gives it.
        bounds: What requests may ask for.
        window: As `runtime.load` takes it.
        threads: Of the processor, for each model; 0 leaves it to the engine.
        grace: Seconds.
        announce: Called with what is done to find the models, and when it listens.

    Raises:
        UsageError: the port is taken, an unknown window, or a model does not know
            `bounds.language`.
        ExportError, SourceError, CheckpointError: as `open_transcriber`.
    """
    check_port(where.address, where.port)  # before the seconds that loading takes
    policy = hearing_window(window)
    engines = {
        name: open_transcriber(model, policy, threads, announce) for name, model in models.items()
    }
    for engine in engines.values():
        engine.check_language(bounds.language)
    run(service_of(engines, where, bounds), where, grace=grace, announce=announce)


def service_of(engines: Mapping[str, WindowedTranscriber], where: Place, bounds: Bounds) -> Service:
    """The app that answers at `where`."""
    return Service(
        engines,
        bounds,
        key=where.key,
        names=own_names(where.address),
        any_address=is_all_addresses(where.address),
    )


def run(
    service: Service,
    where: Place,
    *,
    grace: int = 30,
    announce: Callable[[str], None] = lambda message: None,
) -> None:
    """As `serve`, of models that are open."""
    server = Server(service, where, grace, announce)
    # uvicorn raises a signal again when it has ended: that must not end the process as a crash.
    usual = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run()
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


class Server(uvicorn.Server):
    """uvicorn with bounded connections, which says when it listens and when it ends."""

    def __init__(
        self, service: Service, where: Place, grace: int, announce: Callable[[str], None]
    ) -> None:
        config = uvicorn.Config(
            service,
            host=where.address,
            port=where.port,
            http=BoundedConnection,
            ws="none",
            loop="asyncio",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=grace,
            ssl_certfile=where.certificate,
            ssl_keyfile=where.certificate_key,
        )
        super().__init__(config)
        self._service, self._where, self._announce = service, where, announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As in uvicorn."""
        await super().startup(sockets)
        names = ", ".join(self._service.lanes)
        self._announce(f"{names} at {self._where.url}/v1; Ctrl-C ends it")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As in uvicorn."""
        if not self._service.draining:
            self._announce("ending: what was taken is finished, and nothing more is taken")
        self._service.draining = True
        super().handle_exit(sig, frame)


def _ignore(number: int, frame: FrameType | None) -> None:
    return
