"""The waterfall of where a model's bytes went."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plotly import graph_objects as go

from whisperslim.ui.charts import GREY, figure
from whisperslim.ui.quantities import megabytes

if TYPE_CHECKING:  # torch
    from whisperslim.jobs.byte_steps import ByteStep

_THINNEST = 1e-3  # of the first file; what is less would be a line
_SMALLER, _LARGER, _FILE = "#0d9488", "#d97706", "#94a3b8"


def byte_figure(steps: Sequence["ByteStep"]) -> go.Figure:
    """A bar a step: files stand on the ground, changes hang between them."""
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
    """The same in a sentence."""
    dense = next(step.bytes for step in steps if step.label == "dense")
    slim = next(step.bytes for step in steps if step.label == "slim")
    share = f"{100 * slim / dense:.0f} % of it"
    return f"Weights file: {megabytes(dense)} dense, {megabytes(slim)} slim, which is {share}."


def _words(step: "ByteStep") -> str:
    if step.total:
        return megabytes(step.bytes)
    sign = "+" if step.bytes > 0 else "\u2212"
    return f"{sign}{megabytes(abs(step.bytes))}"
