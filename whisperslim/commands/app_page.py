"""The command that opens the app."""

from pathlib import Path
from typing import Annotated

import typer

from whisperslim.commands.terminal import DEFAULT_RUNS, RunsFolder, announce

Listen = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Address to listen on for other computers; 0.0.0.0 is all of this computer's. Needs "
        "--auth.",
    ),
]
Auth = Annotated[
    str,
    typer.Option(
        metavar="USER:FILE",
        help="Require this name and the password in the file's first line. Only its owner may read "
        "the file. Or set WHISPERSLIM_AUTH=USER:PASSWORD.",
    ),
]
Unsafe = Annotated[
    bool,
    typer.Option("--unsafe-no-auth", help="Let everyone on that network in without a password."),
]
Certificate = Annotated[
    Path | None,
    typer.Option("--tls-cert", metavar="PEM", help="Certificate, for https."),
]
Key = Annotated[
    Path | None, typer.Option("--tls-key", metavar="PEM", help="Key of the certificate.")
]
Proxy = Annotated[
    str,
    typer.Option(
        "--behind-proxy",
        metavar="ADDRESS",
        help="Address of a reverse proxy; only its X-Forwarded headers are trusted. Needs --auth.",
    ),
]
MoreFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--folder", help="Let the page open data and models in this folder. May be repeated."
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Fetch nothing from other computers, in runs neither.")
]
Desktop = Annotated[
    bool, typer.Option("--desktop", help="Open the app in its own window instead of a browser.")
]


def ui(
    port: Annotated[int, typer.Option(help="Port on this computer.", min=1024, max=65535)] = 7860,
    runs_folder: RunsFolder = DEFAULT_RUNS,
    open_run: Annotated[
        str,
        typer.Option(
            "--open", metavar="RUN", help="Name or folder of a run to open first, or latest."
        ),
    ] = "",
    listen: Listen = "127.0.0.1",
    auth: Auth = "",
    unsafe_no_auth: Unsafe = False,
    tls_cert: Certificate = None,
    tls_key: Key = None,
    behind_proxy: Proxy = "",
    folder: MoreFolders = None,
    offline: Offline = False,
    desktop: Desktop = False,
) -> None:
    """Open the app in a browser on this computer. Runs continue when it is closed."""
    from whisperslim.machine.offline import go_offline
    from whisperslim.machine.threads import for_a_server

    for_a_server()
    if offline:
        go_offline()  # before the hub's library is imported, which reads it once
    from whisperslim.jobs.run.folder import find_run
    from whisperslim.ui.guard.access import access, read_login

    chosen = find_run(open_run, runs_folder).name if open_run else None
    asked = access(
        listen,
        login=read_login(auth),
        unsafe=unsafe_no_auth,
        certificate=tls_cert,
        key=tls_key,
        folders=folder or (),
        proxy=behind_proxy,
    )
    for warning in asked.warnings():
        announce(f"warning: {warning}")
    if desktop:
        from whisperslim.ui.app.desktop import open_window

        open_window(runs_folder, port=port, open_run=chosen, access=asked)
    else:
        from whisperslim.ui.app.build import launch

        launch(runs_folder, port=port, open_run=chosen, access=asked)
