"""The command that serves models over OpenAI's transcription API."""

from pathlib import Path
from typing import Annotated

import typer

from whisperslim.commands.app_page import Certificate, Key, Offline, Unsafe
from whisperslim.commands.terminal import Language, Window, announce


def serve(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Exports, runs, folders or hub ids; as NAME=MODEL, clients call it NAME.",
        ),
    ],
    port: Annotated[int, typer.Option(help="Port on this computer.", min=1024, max=65535)] = 8000,
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address of this computer that others may reach; 0.0.0.0 is all. Needs --api-key.",
        ),
    ] = "127.0.0.1",
    api_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Ask for the key in the file's first line. The file must be its owner's alone. "
            "Or set WHISPERSLIM_API_KEY.",
        ),
    ] = None,
    unsafe_no_auth: Unsafe = False,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    language: Language = "hi",
    window: Window = "fit",
    threads: Annotated[
        int, typer.Option(help="Of the processor, for each model; 0: the engine decides.", min=0)
    ] = 0,
    queue: Annotated[
        int, typer.Option(help="Requests that may wait for each model.", min=1, max=10_000)
    ] = 32,
    max_mb: Annotated[
        float, typer.Option(help="Size of an upload, in MB.", min=0.001, max=2000.0)
    ] = 25.0,
    max_seconds: Annotated[
        float, typer.Option(help="Length of a recording, in seconds.", min=1.0, max=10_800.0)
    ] = 3600.0,
    timeout: Annotated[
        float, typer.Option(help="Seconds from an upload to its answer.", min=1.0)
    ] = 600.0,
    offline: Offline = False,
) -> None:
    """Serve models over OpenAI's transcription API. Ctrl-C finishes what was taken, and ends."""
    from whisperslim.machine.extras import need

    need("serve", "serve")
    from whisperslim.machine.offline import go_offline
    from whisperslim.machine.threads import for_a_server

    for_a_server()
    if offline:
        go_offline()  # before the hub's library is imported, which looks once
    from whisperslim.server.app import Bounds
    from whisperslim.server.serve import named, place, read_key
    from whisperslim.server.serve import serve as run

    where = place(
        listen, port, key=read_key(api_key), unsafe=unsafe_no_auth, certificate=tls_cert,
        certificate_key=tls_key,
    )  # fmt: skip
    for warning in where.warnings():
        announce(f"warning: {warning}")
    bounds = Bounds(language, queue, round(max_mb * 1e6), max_seconds, timeout)
    run(named(models), where, bounds, window=window, threads=threads, announce=announce)
