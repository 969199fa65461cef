"""The command that opens the app."""

from typing import Annotated

import typer

from whisperslim.commands.terminal import DEFAULT_RUNS, RunsFolder


def ui(
    port: Annotated[
        int, typer.Option(help="Port on this computer (127.0.0.1).", min=1024, max=65535)
    ] = 7860,
    runs_folder: RunsFolder = DEFAULT_RUNS,
    open_run: Annotated[
        str,
        typer.Option(
            "--open", metavar="RUN", help="Name or folder of a run to open first, or latest."
        ),
    ] = "",
) -> None:
    """Open the app in a browser on this computer. Runs go on when it is closed."""
    from whisperslim.jobs.rundir import find_run
    from whisperslim.ui.build import launch

    chosen = find_run(open_run, runs_folder).name if open_run else None
    launch(runs_folder, port=port, open_run=chosen)
