"""The part of the Compare tab that compares a whole folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from whisperslim.errors import UsageError
from whisperslim.jobs.disk import write_text_told
from whisperslim.ui import saved_file
from whisperslim.ui.compare_batch import MOST_CLIPS, BatchCompare, BatchState, record_of
from whisperslim.ui.context import for_people
from whisperslim.ui.markup import empty
from whisperslim.ui.saved_file import SaveButton, place_for

_SECONDS = 2.0  # between looks, only while one is at work
_NOTHING = empty("No folder compared yet", "Type its path, then press Compare the folder.")


@dataclass(frozen=True)
class BatchFields:
    """The components; `timer` runs while a folder is compared."""

    source: gr.Textbox
    most: gr.Number
    start: gr.Button
    stop: gr.Button
    record: SaveButton
    result: gr.HTML
    timer: gr.Timer
    drawn: gr.State

    def outputs(self) -> list[Any]:
        """What `updates` fills, in its order."""
        return [self.result, self.start, self.stop, self.record.button, self.timer, self.drawn]


def lay_out_panel() -> BatchFields:
    """Make the components in the Blocks context now open."""
    with gr.Accordion("Compare on a whole folder", open=False, elem_id="folder"):
        with gr.Row():
            source = gr.Textbox(
                label="Folder or manifest",
                info="Full path; PATH#SPLIT for one split. With texts in a manifest, word error "
                "rates are shown.",
                max_lines=1,
                max_length=4096,
                min_width=220,
                scale=3,
                elem_id="folder-source",
            )
            most = gr.Number(
                20,
                label="Clips at most",
                info=f"The first ones; up to {MOST_CLIPS}.",
                precision=0,
                minimum=1,
                maximum=MOST_CLIPS,
                min_width=130,
                elem_id="folder-most",
            )
        with gr.Row(elem_classes=["ws-acts"]):
            start = gr.Button("Compare the folder", min_width=150, elem_id="folder-start")
            stop = gr.Button("Stop", variant="stop", visible=False, min_width=110,
                             elem_id="folder-stop")  # fmt: skip
            record = saved_file.lay_out("Save as JSON", "folder-json", visible=False, min_width=150)
        result = gr.HTML(_NOTHING, elem_id="folder-result")
        timer = gr.Timer(_SECONDS, active=False)
        drawn = gr.State(None)
    return BatchFields(source, most, start, stop, record, result, timer, drawn)


def connect(
    fields: BatchFields, batch: BatchCompare, opened: Any, begin: Any, given: list[Any]
) -> None:
    """Wire the panel. `begin` starts a folder from the values of `given`, and may raise."""

    @for_people
    def start(*shown: Any) -> list[Any]:
        begin(*shown)
        return updates(batch.look(), None)

    def stop(drawn: object) -> list[Any]:
        batch.stop()
        return updates(batch.look(), drawn)

    def look(drawn: object) -> list[Any]:
        return updates(batch.look(), drawn)

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    fields.start.click(start, given, fields.outputs(), **quiet)
    saved_file.connect(fields.record, lambda: write_record(batch.look()), None)
    fields.stop.click(stop, fields.drawn, fields.outputs(), **quiet)
    fields.timer.tick(look, fields.drawn, fields.outputs(), **quiet)
    gr.on(list(opened), look, fields.drawn, fields.outputs(), **quiet)


def mark_of(state: BatchState) -> str:
    """Changes when there is something new to draw."""
    return f"{state.path.name} {len(state.rows)} {state.running} {state.stopping}"


def updates(state: BatchState | None, drawn: object) -> list[Any]:
    """The components for a state; all are left alone when `drawn` is its mark."""
    if state is None or mark_of(state) == drawn:
        return [gr.skip()] * 6
    # Only now: it brings the normaliser's libraries with it.
    from whisperslim.ui.batch_html import batch_html

    return [
        batch_html(state),
        gr.update(interactive=not state.running),
        gr.update(visible=state.running, interactive=not state.stopping),
        gr.update(visible=bool(state.rows) and not state.running),
        gr.Timer(active=state.running),
        mark_of(state),
    ]


def write_record(state: BatchState | None) -> Path:
    """What was heard so far, as JSON among the app's own files.

    Raises `UsageError` when there is nothing yet, `RunError` when the disk does not take it.
    """
    if state is None or not state.rows:
        raise UsageError("nothing was heard yet; compare a folder first")
    path = place_for("folders") / f"folder-{state.path.name}"
    record = json.dumps(record_of(state), ensure_ascii=False, indent=1)
    write_text_told(path, record + "\n")
    return path
