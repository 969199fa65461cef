"""The Sparsity tab: what a run removed from every layer, and what another target would remove."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.blocks import Block
from plotly import graph_objects as go

from whisperslim.core.plan.arithmetic import MOST_PRUNED
from whisperslim.core.plan.counting import OF_WEIGHTS
from whisperslim.errors import WhisperSlimError
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.planned import PlannedRun, is_planned, read_planned
from whisperslim.ui.context.context import AppContext, for_people
from whisperslim.ui.parts.charts import STACKS
from whisperslim.ui.parts.markup import empty, number, table, text, words
from whisperslim.ui.parts.quantities import millions, percent
from whisperslim.ui.parts.updates import Update, Updates
from whisperslim.ui.sparsity.charts import heads_figure, legend, weights_figure
from whisperslim.ui.sparsity.layers import BEFORE_WORDS, LayerRow, layer_rows
from whisperslim.ui.sparsity.story import SparsityStory, connect_story, lay_out_story

if TYPE_CHECKING:  # torch
    from whisperslim.core.plan.plan import PruningPlan

_NOTHING = empty(
    "No pruned run yet",
    "A run appears here once it has decided what to cut, at the end of its stage plan.",
)
# Finer than the eye can see, coarser than one unit of a small model.
_STEP = 0.01


@dataclass(frozen=True)
class SparsityTab:
    """The components that handlers fill."""

    choice: gr.Dropdown
    slider: gr.Slider
    summary: gr.HTML
    legend: gr.HTML
    weights: tuple[gr.Plot, ...]
    heads: tuple[gr.Plot, ...]
    pictures: gr.Column
    table: gr.HTML
    story: SparsityStory

    def drawn(self) -> list[Block]:
        """What `updates` fills."""
        return [self.summary, self.legend, *self.weights, *self.heads, self.table]


@dataclass(frozen=True)
class Drawings:
    """A run's layers on the page: HTML, and a figure for each of `STACKS`."""

    summary: str
    legend: str
    weights: tuple[go.Figure, ...]
    heads: tuple[go.Figure, ...]
    table: str


def lay_out_sparsity() -> SparsityTab:
    """Make the tab's components in the open Blocks context."""
    with gr.Row(equal_height=True):
        choice = gr.Dropdown(
            [],
            label="Run",
            value=None,
            elem_id="sparsity-run",
            min_width=280,
            info="Runs that have a plan.",
        )
        slider = gr.Slider(
            0.0,
            MOST_PRUNED,
            value=0.0,
            step=_STEP,
            interactive=False,
            min_width=280,
            label="Target, planned again",
            elem_id="sparsity-target",
            info=target_help(OF_WEIGHTS),
        )
    summary = gr.HTML(_NOTHING, elem_id="sparsity-summary")
    with gr.Column(visible=False) as pictures:
        key = gr.HTML("")
        with gr.Row():
            weights = tuple(
                gr.Plot(label=f"Weights of the {stack}", min_width=340, elem_id=f"weights-{stack}")
                for stack in STACKS
            )
        with gr.Row():
            heads = tuple(
                gr.Plot(label=f"Heads of the {stack}", min_width=340, elem_id=f"heads-{stack}")
                for stack in STACKS
            )
        story = lay_out_story()
        rows = gr.HTML("", elem_id="sparsity-table")
    return SparsityTab(choice, slider, summary, key, weights, heads, pictures, rows, story)


def connect_sparsity(tab: SparsityTab, context: AppContext, opened: Sequence[Any]) -> None:
    """Wire the tab. `opened` are the events on which the list of runs is read again."""

    def offer(chosen: str | None) -> Updates:
        names = pruned_names(context)
        value = chosen if chosen in names else next(iter(names), None)
        return {tab.choice: gr.update(choices=names, value=value)}

    @for_people
    def show(name: str | None) -> Updates:
        if not name:
            return {tab.pictures: gr.update(visible=False), tab.summary: _NOTHING}
        run = context.watch.open(name)
        planned = read_planned(run)
        return {
            tab.slider: slider_for(context, run, planned),
            tab.pictures: gr.update(visible=True),
            **updates(tab, drawings(planned, context.zeroed_in(run))),
        }

    @for_people
    def move(name: str | None, target: float) -> Updates:
        run = context.watch.open(name)
        planned = read_planned(run)
        another = moved_plan(context, run, planned, target)
        return updates(tab, drawings(planned, context.zeroed_in(run), another))

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    gr.on(list(opened), offer, tab.choice, tab.choice, **quiet)
    pictures = tab.choice.change(
        show,
        tab.choice,
        [tab.slider, tab.pictures, *tab.drawn()],
        concurrency_id="sparsity",
        api_visibility="private",
        show_progress_on=[tab.summary],
    )
    connect_story(tab.story, context, tab.choice, pictures)
    tab.slider.input(
        move,
        [tab.choice, tab.slider],
        tab.drawn(),
        trigger_mode="always_last",
        concurrency_id="sparsity",
        **quiet,
    )


def target_help(counted: str) -> str:
    """Help of the slider for a run that counts its target in `counted`."""
    return (
        f"Another target, a share of {counted}, planned from this run's saved scores. Nothing is "
        "trained or cut."
    )


def pruned_names(context: AppContext) -> list[str]:
    """Runs that have a plan, newest first."""
    return [run.name for run, _ in context.watch.listed() if is_planned(run)]


def slider_for(context: AppContext, run: RunDir, planned: PlannedRun) -> Update:
    """The slider at the run's own target; fixed, with the reason, when no other can be planned."""
    at = _floor(planned.plan.target)
    try:
        _, high = context.resizing.reachable_range(run)
    except WhisperSlimError as error:
        return gr.update(value=at, info=str(error), interactive=False)
    help = target_help(planned.counted_in)
    return gr.update(maximum=_floor(high), value=at, info=help, interactive=True)


def moved_plan(
    context: AppContext, run: RunDir, planned: PlannedRun, target: float
) -> "PruningPlan | None":
    """The plan at the slider; None at the run's own target. Raises `PlanError`."""
    if abs(target - _floor(planned.plan.target)) < _STEP / 2:
        return None
    return context.resizing.replan(run, target, 0.0).plan


def drawings(
    planned: PlannedRun, zeroed: Mapping[str, float], another: "PruningPlan | None" = None
) -> Drawings:
    """Summary, legend, four figures and the table for the run's plan, alone or beside another."""
    plan, moved = another or planned.plan, another is not None
    rows = layer_rows(planned, zeroed, plan)
    return Drawings(
        summary=_summary(rows, f"{percent(plan.target)} of {planned.counted_in}", moved=moved),
        legend=legend(moved=moved),
        weights=tuple(weights_figure(part, moved=moved) for part in _by_stack(rows)),
        heads=tuple(heads_figure(part) for part in _by_stack(rows)),
        table=rows_table(rows, moved=moved),
    )


def updates(tab: SparsityTab, drawn: Drawings) -> Updates:
    """The drawings on the page; a stack without layers to show has no figure."""
    given: Updates = {tab.summary: drawn.summary, tab.legend: drawn.legend, tab.table: drawn.table}
    plots, figures = (*tab.weights, *tab.heads), (*drawn.weights, *drawn.heads)
    for plot, figure in zip(plots, figures, strict=True):
        given[plot] = gr.update(value=figure, visible=bool(figure.data))
    return given


def rows_table(rows: Sequence[LayerRow], *, moved: bool) -> str:
    """Every place: units, removed and zeroed shares, and the slider's units."""
    headers = ["place", f"units, {BEFORE_WORDS}", "units, slim", "removed", "zeroed"]
    headers += ["units, slider", "removed, slider"] if moved else []
    cells = []
    for row in rows:
        line = [
            words(f"{row.stack} {row.name}", strong=True),
            number(row.count),
            number(len(row.kept)),
            number(percent(1 - row.left / row.weights)),
            number(percent(row.zeroed)),
        ]
        if moved:
            line.append(number(len(row.moved)))
            line.append(number(percent(1 - row.there / row.weights)))
        cells.append(line)
    caption = (
        f"By place; removed as a share of what was there {BEFORE_WORDS}, zeroed as a share of the "
        "weights left"
    )
    return table(headers, cells, caption=caption)


def _summary(rows: Sequence[LayerRow], target: str, *, moved: bool) -> str:
    before = sum(row.weights for row in rows)
    slim = sum(row.left for row in rows)
    facts = [
        (BEFORE_WORDS, f"{millions(before)} prunable weights"),
        ("slim", _left(slim, before)),
    ]
    if moved:
        there = sum(row.there for row in rows)
        facts.append(("at the slider", _left(there, before)))
    facts.append(("target", text(target)))
    items = "".join(f"<span>{name} <b>{value}</b></span>" for name, value in facts)
    return f'<div class="ws-card"><div class="ws-facts ws-flat">{items}</div></div>'


def _left(weights: int, before: int) -> str:
    return f"{millions(weights)}, {percent(1 - weights / before)} removed"


def _by_stack(rows: Sequence[LayerRow]) -> list[list[LayerRow]]:
    return [[row for row in rows if row.stack == stack] for stack in STACKS]


def _floor(share: float) -> float:
    """A stop of the slider, not beyond `share`."""
    return math.floor(share / _STEP + 1e-9) / round(1 / _STEP)
