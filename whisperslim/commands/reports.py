"""Commands that report on runs: the queue, and a report as one file."""

from pathlib import Path
from typing import Annotated

import typer

from whisperslim.commands.runs import RunName
from whisperslim.commands.terminal import DEFAULT_RUNS, RunsFolder, announce, print_table
from whisperslim.jobs.process import queue as runs_queue
from whisperslim.jobs.run.folder import RunDir, find_run


def queue(
    runs_folder: RunsFolder = DEFAULT_RUNS,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Stay and start them one by one until none waits."),
    ] = False,
) -> None:
    """List the runs that wait for their device, in order."""
    if keep:
        runs_queue.keep(runs_folder)
        return
    waiting = [RunDir(runs_folder / name) for name in runs_queue.waiting(runs_folder)]
    if not waiting:
        announce(f"no run is waiting in {runs_folder}")
        return
    rows = [(run.name, runs_queue.device_of(run), str(runs_queue.place(run))) for run in waiting]
    print_table(("run", "device", "place"), rows)


def report(
    run: RunName,
    out: Annotated[Path, typer.Argument(metavar="OUT.html", help="The file to write.")],
    runs_folder: RunsFolder = DEFAULT_RUNS,
) -> None:
    """Write a run's report: one HTML file with pictures, tables, recipe and license notes."""
    from whisperslim.jobs.report.report import write_report

    write_report(find_run(run, runs_folder), out)
    announce(f"written: {out}")
