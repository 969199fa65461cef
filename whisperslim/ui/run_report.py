"""The report of a run as a download: written when asked for, kept nowhere else."""

from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from whisperslim.jobs.report import write_report
from whisperslim.ui.context import AppContext, for_people

REPORT_FILE = "run-report-file"
# A button in the browser can only fetch a file that is there already, so it is pressed last.
_FETCH = f"() => {{ document.querySelector('#{REPORT_FILE}').click(); }}"


def connect(asked: gr.Button, file: gr.DownloadButton, context: AppContext, run: gr.State) -> None:
    """Write the report of the chosen run and let the browser save it."""

    @for_people
    def write(name: str) -> str:
        return str(report_of(context, name))

    asked.click(
        write,
        run,
        file,
        api_visibility="private",
        concurrency_id="report",
        concurrency_limit=1,
        show_progress_on=[asked],
    ).success(None, None, None, js=_FETCH, api_visibility="private")


def report_of(context: AppContext, name: object) -> Path:
    """The report among the app's own files, under a name that says whose it is.

    Raises `RunError` when there is no such run, or the disk does not take it.
    """
    run = context.watch.open(name)
    path = Path(get_upload_folder()) / "reports" / f"{run.name}.html"
    write_report(run, path)
    return path
