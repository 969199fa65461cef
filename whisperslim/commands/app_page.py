"""The command that opens the app."""

from pathlib import Path
from typing import Annotated

import typer

from whisperslim.commands.terminal import DEFAULT_RUNS, RunsFolder, announce

Listen = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Address of this computer that others may reach; 0.0.0.0 is all. Needs --auth.",
    ),
]
Auth = Annotated[
    str,
    typer.Option(
        metavar="USER:FILE",
        help="Ask for this name and the password in the file's first line. The file must be its "
        "owner's alone. Or set WHISPERSLIM_AUTH=USER:PASSWORD.",
    ),
]
Unsafe = Annotated[bool, typer.Option("--unsafe-no-auth", help="Let everybody on that network in.")]
Certificate = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="PEM", help="Certificate, for https.")
]
Key = Annotated[Path | None, typer.Option("--tls-key", metavar="PEM", help="Its key.")]
Proxy = Annotated[
    str,
    typer.Option(
        "--behind-proxy",
        metavar="ADDRESS",
        help="Address that a proxy asks from; its X-Forwarded headers are believed, and nobody "
        "else's. Needs --auth.",
    ),
]
MoreFolders = Annotated[
    list[Path] | None,
    typer.Option(
        "--folder", help="Let the page open data and models below this folder. May be repeated."
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Ask no other computer for anything, nor let runs do so.")
]
Desktop = Annotated[
    bool, typer.Option("--desktop", help="Open a window of its own instead of serving a browser.")
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
    """Open the app in a browser on this computer. Runs go on when it is closed."""
    from whisperslim.offline import go_offline

    if offline:
        go_offline()  # before the hub's library is imported, which looks once
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
