"""Files to save: written on request, since files made in advance would be cleared away after a
while.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from whisperslim.ui.context.context import for_people


@dataclass(frozen=True)
class SaveButton:
    """The button that people press, and the one that gives the file to the browser."""

    button: gr.Button
    file: gr.DownloadButton


def lay_out(label: str, elem_id: str, **looks: Any) -> SaveButton:
    """Make both in the open Blocks context; `looks` are those of the visible one."""
    button = gr.Button(label, elem_id=elem_id, **looks)
    # A download button can only fetch a file that exists already. So this one is in the page but
    # invisible, and a script presses it when the file is written. Hidden by a class: a button
    # hidden by its own property appears once the row around it was hidden and shown.
    file = gr.DownloadButton(elem_id=f"{elem_id}-file", elem_classes=["ws-file"])
    return SaveButton(button, file)


def connect(save: SaveButton, write: Callable[..., Path], given: Any) -> None:
    """Let `write`, called with the values of `given`, write a file, and the browser save it.

    `write` may raise `WhisperSlimError`, which is shown; then nothing else on the page changes.
    """

    @for_people
    def written(*values: Any) -> str:
        return str(write(*values))

    save.button.click(
        written,
        given,
        save.file,
        api_visibility="private",
        concurrency_id="save",
        concurrency_limit=1,
        show_progress_on=[save.button],
    ).success(
        None,
        None,
        None,
        js=f"() => {{ document.querySelector('#{save.file.elem_id}').click(); }}",
        api_visibility="private",
    )


def place_for(kind: str) -> Path:
    """The folder, among the app's own files, for files to save of one kind."""
    return Path(get_upload_folder()) / kind
