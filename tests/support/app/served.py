"""The app on a port of this machine, with actions that do nothing."""

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from tests.browser.conftest import free_port
from whisperslim.jobs.run.folder import RunDir
from whisperslim.ui.app.build import launch
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.run_watch import RunWatch
from whisperslim.ui.guard.access import LOCAL, Access


def serve(folder: Path, access: Access = LOCAL) -> tuple[gr.Blocks, str]:
    """The app over `folder`/runs, and its address."""
    port = free_port()

    def start(run: RunDir) -> int:
        return 1

    def act(*given: object) -> int:
        return 1

    app = AppContext(RunWatch(folder / "runs"), start, act, command=act)  # type: ignore[arg-type]
    blocks = launch(folder / "runs", port=port, block=False, context=app, access=access)
    return blocks, f"{'https' if access.certificate else 'http'}://127.0.0.1:{port}"


@contextmanager
def served(folder: Path, access: Access = LOCAL) -> Iterator[str]:
    """The address of an app that is closed afterwards."""
    blocks, address = serve(folder, access)
    try:
        yield address
    finally:
        blocks.close()


@contextmanager
def log_of_the_app() -> Iterator[io.StringIO]:
    """What the app writes to the terminal meanwhile, by printing and by the server's log."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    names = ("uvicorn.error", "asyncio", "gradio")
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        with contextlib.redirect_stderr(written), contextlib.redirect_stdout(written):
            yield written
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)
