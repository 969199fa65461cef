"""The report of a run as a download: written on request, and not kept."""

from pathlib import Path

from whisperslim.jobs.report.report import write_report
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.saved_file import place_for


def report_of(context: AppContext, name: object) -> Path:
    """The report among the app's own files, named after the run.

    Raises `RunError` when there is no such run, or the disk refuses it.
    """
    run = context.watch.open(name)
    path = place_for("reports") / f"{run.name}.html"
    write_report(run, path)
    return path
