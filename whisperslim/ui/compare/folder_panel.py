"""The part of the Compare tab that compares a whole folder."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from whisperslim.errors import UsageError
from whisperslim.jobs.run.disk import write_text_checked
from whisperslim.jobs.scoring.origin import TRAINED
from whisperslim.speech.scoring.normalizer import for_language
from whisperslim.speech.scoring.verdict import (
    SetJudgement,
    faster,
    judge_clip,
    judge_set,
    judge_sides,
    set_verdict,
)
from whisperslim.speech.scoring.wer import word_differences
from whisperslim.ui.compare.folder import MOST_CLIPS, BatchCompare, BatchRow, BatchState, record_of
from whisperslim.ui.compare.html import marked_words, player_html
from whisperslim.ui.context import saved_file
from whisperslim.ui.context.context import for_people
from whisperslim.ui.context.saved_file import SaveButton, place_for
from whisperslim.ui.context.sides import fairness
from whisperslim.ui.parts.markup import Cell, bar, empty, note, number, table, text, words
from whisperslim.ui.parts.quantities import duration, percent
from whisperslim.ui.parts.updates import Updates, Values, unchanged

_SIDES = ("dense", "slim")
_SECONDS = 2.0  # between refreshes, only while one is running
_NOTHING = empty("No folder compared yet", "Type its path, then press Compare the folder.")


@dataclass(frozen=True)
class BatchFields:
    """The components; `timer` runs while a folder is compared."""

    source: gr.Textbox
    most: gr.Number
    start: gr.Button
    stop: gr.Button
    record: SaveButton
    clip: gr.Dropdown
    sound: gr.HTML
    result: gr.HTML
    timer: gr.Timer
    drawn: gr.State

    def outputs(self) -> list[Block]:
        """What `updates` fills, in any order."""
        shown = [self.clip, self.result, self.timer, self.drawn]
        return [*shown, self.start, self.stop, self.record.button]


def lay_out_panel() -> BatchFields:
    """Make the components in the open Blocks context."""
    with gr.Accordion("Compare on a whole folder", open=False, elem_id="folder"):
        with gr.Row():
            source = gr.Textbox(
                label="Folder or manifest",
                info="Full path; PATH#SPLIT for one split. If a manifest has texts, word error "
                "rates are shown.",
                max_lines=1,
                max_length=4096,
                min_width=220,
                scale=3,
                elem_id="folder-source",
            )
            most = gr.Number(
                20,
                label="Most clips",
                info=f"The first ones are taken; up to {MOST_CLIPS}.",
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
        clip = gr.Dropdown(
            [],
            value=None,
            label="Play a clip",
            visible=False,
            filterable=True,
            elem_id="folder-clip",
        )
        sound = gr.HTML("", elem_id="folder-sound")
        result = gr.HTML(_NOTHING, elem_id="folder-result")
        timer = gr.Timer(_SECONDS, active=False)
        drawn = gr.State(None)
    return BatchFields(source, most, start, stop, record, clip, sound, result, timer, drawn)


def connect(
    fields: BatchFields,
    batch: BatchCompare,
    opened: Sequence[Any],
    begin: Callable[[Values], None],
    given: set[Block],
    sound_of: Callable[[BatchState | None, object], bytes],
) -> None:
    """Wire the panel. `begin` starts a folder from the values of `given`, and may raise.

    `sound_of` is a clip of the folder by its name, as FLAC; it may raise, too.
    """

    @for_people
    def start(values: Values) -> Updates:
        begin(values)
        return updates(fields, batch.look(), None)

    @for_people
    def play(key: object) -> str:
        return player_html(sound_of(batch.look(), key))

    def stop(drawn: object) -> Updates:
        batch.stop()
        return updates(fields, batch.look(), drawn)

    def look(drawn: object) -> Updates:
        return updates(fields, batch.look(), drawn)

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    fields.start.click(start, given, fields.outputs(), **quiet)
    saved_file.connect(fields.record, lambda: write_record(batch.look()), None)
    fields.clip.select(play, fields.clip, fields.sound, **quiet)
    fields.stop.click(stop, fields.drawn, fields.outputs(), **quiet)
    fields.timer.tick(look, fields.drawn, fields.outputs(), **quiet)
    gr.on(list(opened), look, fields.drawn, fields.outputs(), **quiet)


def mark_of(state: BatchState) -> str:
    """Changes when there is something new to draw."""
    return f"{state.path.name} {len(state.rows)} {state.running} {state.stopping}"


def updates(fields: BatchFields, state: BatchState | None, drawn: object) -> Updates:
    """The panel for a state; nothing changes when `drawn` is its mark."""
    if state is None or mark_of(state) == drawn:
        return unchanged()
    keys = [row.key for row in state.rows]
    return {
        fields.clip: gr.update(choices=keys, visible=bool(keys) and not state.running),
        fields.result: batch_html(state),
        fields.start: gr.update(interactive=not state.running),
        fields.stop: gr.update(visible=state.running, interactive=not state.stopping),
        fields.record.button: gr.update(visible=bool(state.rows) and not state.running),
        fields.timer: gr.Timer(active=state.running),
        fields.drawn: mark_of(state),
    }


def write_record(state: BatchState | None) -> Path:
    """The results so far, as JSON among the app's own files.

    Raises `UsageError` when there are none yet, `RunError` when the disk refuses it.
    """
    if state is None or not state.rows:
        raise UsageError("there are no results yet; compare a folder first")
    path = place_for("folders") / f"folder-{state.path.name}"
    record = json.dumps(record_of(state), ensure_ascii=False, indent=1)
    write_text_checked(path, record + "\n")
    return path


def batch_html(state: BatchState) -> str:
    """All results so far."""
    heard = [row for row in state.rows if not row.problem]
    parts = [_progress(state), note(f"{state.source} · {fairness(*state.sides)}")]
    if state.broken_off:
        parts.append(note("Compare the folder continues with the rest if nothing was changed."))
    if state.problem:
        parts.append(note(state.problem, "bad"))
    if heard:
        parts.append(f'<div class="ws-card ws-figures">{_totals(heard, state.language)}</div>')
    if state.rows:
        rows = [_row(row, state.language) for row in state.rows]
        headers = ("clip", "said", "dense", "slim, differences from dense marked", "errors d / s")
        parts.append(f'<div class="ws-card ws-figures ws-clips">{table(headers, rows)}</div>')
    return "".join(parts)


def _progress(state: BatchState) -> str:
    done = f"{len(state.rows)} of {state.total} clips"
    end = "" if len(state.rows) == state.total else ", stopped"
    said = f"{done}, running" if state.running else f"{done}{end}"
    if state.running and state.stopping:
        said = f"{done}; stopping after this clip"
    title = f"{state.names[1]} against {state.names[0]}"
    return (
        f'<div class="ws-run-head"><h3 class="ws-wrap">{text(title)}</h3><span>{text(said)}</span>'
        f"</div>{bar(len(state.rows) / max(1, state.total), 'clips compared')}"
    )


def _totals(rows: list[BatchRow], language: str) -> str:
    times = [sum(getattr(row, f"{which}_seconds") for row in rows) for which in _SIDES]
    cells = [[words("time", strong=True), *(number(duration(each)) for each in times),
              number(faster(*times))]]  # fmt: skip
    spoken = [row for row in rows if for_language(language)(row.reference or "").split()]
    if not spoken:
        lines = [
            "No clip has a reference text, so there is no error rate; see the differences below."
        ]
    else:
        said = [row.reference or "" for row in spoken]
        judged = [
            judge_set(said, [getattr(row, which) for row in spoken], language) for which in _SIDES
        ]
        verdict = set_verdict(judged[0], judged[1])
        cells = [*_rate_rows(judged), *cells]
        lines = [verdict.sentence, *verdict.notes]
    same = sum(row.dense.split() == row.slim.split() for row in rows)
    lines.append(f"Both wrote the same text for {same} of {len(rows)} clips.")
    lines += _training_lines(rows)
    seconds = duration(sum(row.audio_seconds for row in rows))
    caption = f"{len(rows)} clips, {seconds} of sound"
    notes = "".join(f'<p class="ws-small">{text(line)}</p>' for line in lines)
    return table(("", *_SIDES, "slim against dense"), cells, caption=caption) + notes


def _rate_rows(judged: list[SetJudgement]) -> list[list[Cell]]:
    """WER as written and, where some text is in another script, after transliteration."""
    rates = [number(percent(each.score.wer), strong=True) for each in judged]
    rows = [[words(f"WER as written, {judged[0].score.normalizer}", strong=True), *rates]]
    if any(each.transliterated is not None for each in judged):
        after = [each.transliterated.wer if each.transliterated else None for each in judged]
        name = "WER after transliteration, at most"
        rows.append([words(name, strong=True), *(number(percent(rate)) for rate in after)])
    return [[*row, number("")] for row in rows]


def _training_lines(rows: list[BatchRow]) -> list[str]:
    counts = {role: sum(role in row.trained for row in rows) for role in _SIDES}
    return [
        f"{role}: {count} of {len(rows)} clips were used to train it; the figures say nothing "
        "about speech it was not trained on."
        for role, count in counts.items()
        if count
    ]


def _row(row: BatchRow, language: str) -> list[Cell]:
    if row.problem:
        wrong = Cell(note(row.problem, "bad"))
        return [words(row.key), words(row.reference or "–"), wrong, words(""), number("–")]
    steps = word_differences(row.dense, row.slim, for_language(language))
    marked = f'<div class="ws-marked" lang="{text(language)}">{marked_words(steps)}</div>'
    written = f'<div dir="auto" lang="{text(language)}">{text(row.dense)}</div>'
    verdict = judge_sides({"dense": row.dense, "slim": row.slim}, row.reference, language)
    known = [*verdict.notes, *(f"{role}: {TRAINED}." for role in row.trained)]
    notes = "".join(f'<p class="ws-small">{text(line)}</p>' for line in known)
    key = Cell(text(row.key) + notes)
    said = Cell(f'<div lang="{text(language)}">{text(row.reference or "–")}</div>')
    return [key, said, Cell(written), Cell(marked), number(_errors(row, language))]


def _errors(row: BatchRow, language: str) -> str:
    if not for_language(language)(row.reference or "").split():
        return "–"
    counts = [
        judge_clip(row.reference or "", getattr(row, which), language).errors for which in _SIDES
    ]
    return f"{counts[0]} / {counts[1]}"
