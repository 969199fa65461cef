"""The lower part of the Sparsity tab: the replay of the run, and where the bytes went.

A small script on the page replays how layer after layer became sparse. Plotly's own frames cannot
pass through the page's plot component, and a table of percentages works with screen readers and
dark pages. Nothing is sent while it plays.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
from gradio.blocks import Block
from gradio.events import Dependency
from plotly import graph_objects as go

from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.report.sparsity import BEFORE, CUT, Frame, sparsity_frames
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.planned import PlannedRun, read_planned
from whisperslim.ui.context.cache import ModelCache
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.context.models import load_libraries
from whisperslim.ui.parts.charts import GREY, STACKS, figure
from whisperslim.ui.parts.markup import note, text
from whisperslim.ui.parts.quantities import megabytes
from whisperslim.ui.parts.theme import ASSETS
from whisperslim.ui.parts.updates import Updates
from whisperslim.ui.runs.gauges import spot
from whisperslim.ui.sparsity.layers import BEFORE_WORDS

if TYPE_CHECKING:  # torch
    from whisperslim.jobs.report.bytes import ByteStep


SCRIPT = ASSETS / "replay.js"
_SHOWN = (("gone", "Units all zero or cut out"), ("zero", "Weights zero or cut out"))


def replay_html(frames: Sequence[Frame]) -> str:
    """Tables of the last moment, with all moments for the script. Needs at least one frame."""
    keys, shown = list(frames[-1].gone), _shown_first(frames)
    data = {
        "keys": keys,
        "names": [moment(frame) for frame in frames],
        **{name: [_permille(getattr(frame, name), keys) for frame in frames] for name, _ in shown},
    }
    options = "".join(f'<option value="{key}">{text(words)}</option>' for key, words in shown)
    tables = "".join(_table(getattr(frames[-1], shown[0][0]), stack) for stack in STACKS)
    last = len(frames) - 1
    return (
        f'<div class="ws-card ws-replay" data-frames="{text(json.dumps(data))}">'
        '<div class="ws-run-head"><h3>Replay: how it got smaller</h3>'
        f'<span class="ws-replay-at" aria-live="off">{text(moment(frames[-1]))}</span></div>'
        '<div class="ws-replay-acts"><button type="button" class="ws-replay-play">Play</button>'
        f'<input type="range" class="ws-replay-time" min="0" max="{last}" step="1" value="{last}" '
        f'aria-label="Moment of the run" aria-valuetext="{text(moment(frames[-1]))}">'
        f'<select class="ws-replay-shown" aria-label="What is shown">{options}</select></div>'
        f'<div class="ws-sides">{tables}</div>{_still(frames)}</div>'
    )


def _shown_first(frames: Sequence[Frame]) -> Sequence[tuple[str, str]]:
    """What can be shown, beginning with what moves before the cut where only that does."""
    before = _before_cut(frames)
    units, weights = (
        any(any(getattr(frame, name).values()) for frame in before) for name, _ in _SHOWN
    )
    return _SHOWN[::-1] if weights and not units else _SHOWN


def _still(frames: Sequence[Frame]) -> str:
    """Why nothing moves for a while, where nothing does."""
    before = _before_cut(frames)
    if len(before) == len(frames) or any(sum(frame.zero.values()) for frame in before):
        return ""
    said = "Nothing is zero until the cut: this method ranks what to remove and takes it out then."
    return f'<p class="ws-small">{text(said)}</p>'


def _before_cut(frames: Sequence[Frame]) -> list[Frame]:
    return list(takewhile(lambda frame: frame.stage != CUT, frames))


def moment(frame: Frame) -> str:
    """A frame's place in the run, as text."""
    if frame.stage == BEFORE:
        return BEFORE_WORDS
    return "after the cut" if frame.stage == CUT else f"{frame.stage}, step {frame.step}"


def percent_words(share: float) -> str:
    """Never "0" for more than nothing, nor "100" for less than all."""
    if share <= 0.0:
        return "0"
    whole = round(100 * share)
    return "<1" if whole == 0 else ">99" if whole == 100 and share < 1.0 else str(whole)


def _permille(shares: Mapping[str, float], keys: Sequence[str]) -> list[float]:
    # Four digits: enough to separate "some" from "none", few enough to travel.
    return [round(shares[key], 4) for key in keys]


def _table(shares: Mapping[str, float], stack: str) -> str:
    spots = {key: spot(key) for key in shares if spot(key).stack == stack}
    if not spots:
        return ""
    places = list(dict.fromkeys(each.place for each in spots.values()))
    layers = sorted({each.layer for each in spots.values()})
    at = {(each.layer, each.place): key for key, each in spots.items()}
    head = "".join(f'<th scope="col" class="num">{text(_short(place))}</th>' for place in places)
    rows = "".join(
        f'<tr><th scope="row">{layer}</th>'
        + "".join(_cell(at.get((layer, place)), shares) for place in places)
        + "</tr>"
        for layer in layers
    )
    return (
        '<div class="ws-scroll" tabindex="0"><table class="ws-table ws-replay-table">'
        f"<caption>{text(stack.capitalize())}, percent</caption>"
        f'<thead><tr><th scope="col">layer</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(key: str | None, shares: Mapping[str, float]) -> str:
    if key is None:
        return "<td></td>"
    share = shares[key]
    return (
        f'<td class="num ws-heat" data-key="{text(key)}" style="--share:{share:.3f}">'
        f"{text(percent_words(share))}</td>"
    )


def _short(place: str) -> str:
    return place.removesuffix(" heads")


_THINNEST = 1e-3  # of the first file; less would be a mere line
_SMALLER, _LARGER, _FILE = "#0d9488", "#d97706", "#94a3b8"


def byte_figure(steps: Sequence["ByteStep"]) -> go.Figure:
    """One bar per step: files start at zero, changes float between them."""
    steps = [step for step in steps if step.total or abs(step.bytes) > steps[0].bytes * _THINNEST]
    made = figure(340)
    made.add_trace(
        go.Waterfall(
            x=[step.label.replace(", ", "<br>") for step in steps],
            y=[step.bytes / 1e6 for step in steps],
            measure=["absolute" if step.total else "relative" for step in steps],
            text=[_words(step) for step in steps],
            textposition="outside",
            cliponaxis=False,
            connector={"line": {"color": GREY, "width": 1, "dash": "dot"}},
            decreasing={"marker": {"color": _SMALLER}},
            increasing={"marker": {"color": _LARGER}},
            totals={"marker": {"color": _FILE}},
            hovertemplate="%{x}<br>%{text}<extra></extra>",
        )
    )
    made.update_layout(showlegend=False, margin_t=40)
    made.update_xaxes(type="category", showgrid=False)
    made.update_yaxes(title_text="MB", rangemode="tozero")
    return made


def bytes_words(steps: Sequence["ByteStep"]) -> str:
    """The same as a sentence."""
    dense = next(step.bytes for step in steps if step.label == "dense")
    slim = next(step.bytes for step in steps if step.label == "slim")
    share = f"{100 * slim / dense:.0f} % of it"
    return f"Weights file: {megabytes(dense)} dense, {megabytes(slim)} slim, which is {share}."


def _words(step: "ByteStep") -> str:
    if step.total:
        return megabytes(step.bytes)
    sign = "+" if step.bytes > 0 else "\u2212"
    return f"{sign}{megabytes(abs(step.bytes))}"


@dataclass(frozen=True)
class SparsityStory:
    """The components that `connect` fills."""

    replay: gr.HTML
    title: gr.HTML
    said: gr.HTML
    waterfall: gr.Plot

    def outputs(self) -> list[Block]:
        """What one run fills."""
        return [self.replay, self.title, self.said, self.waterfall]


def lay_out_story() -> SparsityStory:
    """Make the components in the open Blocks context."""
    replay = gr.HTML("", js_on_load=SCRIPT.read_text("utf-8"), elem_id="replay")
    title = gr.HTML('<h3 class="ws-section">Where the bytes went</h3>', visible=False)
    said = gr.HTML("", elem_id="bytes-said")
    waterfall = gr.Plot(show_label=False, min_width=320, elem_id="bytes-plot", visible=False)
    return SparsityStory(replay, title, said, waterfall)


def byte_steps(path: str) -> "Sequence[ByteStep]":
    """As `jobs.report.bytes.run_byte_steps`, which imports torch."""
    load_libraries()
    from whisperslim.jobs.report.bytes import run_byte_steps

    return run_byte_steps(RunDir(Path(path)))


def connect_story(
    story: SparsityStory,
    context: AppContext,
    choice: gr.Dropdown,
    before: Dependency,
    measure: "Callable[[str], Sequence[ByteStep]]" = byte_steps,
) -> None:
    """Wire it to the choice of a run, after the event `before`: the pictures above come first.

    `measure` reads the model's files, once per model.
    """
    measured = ModelCache(measure, capacity=16)

    @for_people
    def shown(name: str | None) -> Updates:
        if not name:
            return {story.replay: "", **_no_bytes(story)}
        run = context.watch.open(name)
        frames = sparsity_frames(run, kept_shares(read_planned(run)))
        return {story.replay: replay_html(frames), **_bytes(story, run, measured)}

    before.then(
        shown,
        choice,
        story.outputs(),
        concurrency_id="sparsity",
        api_visibility="private",
        show_progress="hidden",
    )


def kept_shares(run: PlannedRun) -> dict[str, float]:
    """Group key -> share of its units that the run's plan keeps."""
    return {group.key: len(run.plan.keep[group.key]) / group.count for group in run.groups}


def _bytes(
    story: SparsityStory, run: RunDir, measured: "ModelCache[str, Sequence[ByteStep]]"
) -> Updates:
    weights = run.slim_path / "model.safetensors"
    if not weights.is_file():
        return _no_bytes(story)
    try:
        steps = measured.get(str(run.path), str(weights.stat().st_mtime_ns))
    except WhisperSlimError as error:  # the pictures above are still right
        return _no_bytes(story, note(f"The model's files cannot be read: {error}", "bad"))
    return {
        story.title: gr.update(visible=True),
        story.said: f'<p class="ws-lead">{text(bytes_words(steps))}</p>',
        story.waterfall: gr.update(value=byte_figure(steps), visible=True),
    }


def _no_bytes(story: SparsityStory, said: str = "") -> Updates:
    hidden = gr.update(visible=False)
    return {story.title: hidden, story.said: said, story.waterfall: hidden}
