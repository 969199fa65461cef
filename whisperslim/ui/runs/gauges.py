"""A method's internal values, such as thresholds and densities, layer by layer over the steps."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from whisperslim.jobs.run.view import GaugeView, RunView, Series
from whisperslim.ui.parts.charts import GREY, GRID, LINES, STACKS, figure
from whisperslim.ui.parts.markup import text

_PANEL, _TALLEST, _ROW, _GAP = 150, 420, 26, 88  # pixels
_TOP, _BELOW, _LEGEND_BELOW = 60, 116, 44
_MOST_LABELED_LAYERS = 12  # with more, the values would not fit their cells
# Pale enough even at its strongest for the page's text color, light and dark.
_SCALE = [[0.0, "rgba(13,148,136,0.06)"], [1.0, "rgba(13,148,136,0.62)"]]
# A row is drawn for every layer up to the last; no model has a thousand.
_KEY = re.compile(r"(?P<stack>[a-z]+)\.(?P<layer>\d{1,3})(\.(?P<place>.*))?")


@dataclass(frozen=True)
class Spot:
    """Where in the model a gauge is."""

    stack: str
    layer: int
    place: str


def spot(key: str) -> Spot:
    """The spot of a group's key; a key of another form becomes its own place."""
    found = _KEY.fullmatch(key)
    if found is None:
        return Spot("", 0, key)
    place = (found["place"] or "").replace("_", "-").replace(".", " ") or "layer"
    return Spot(found["stack"], int(found["layer"]), place)


def current_gauges(view: RunView) -> tuple[GaugeView, ...]:
    """The gauges of the last stage that reported any."""
    stages = [gauge.stage for gauge in view.gauges.values()]
    return tuple(g for g in view.gauges.values() if g.stage == stages[-1] and g.curves)


def moving(gauges: Sequence[GaugeView]) -> tuple[GaugeView, ...]:
    """Those worth a picture: not the same value everywhere and always."""
    return tuple(gauge for gauge in gauges if len(_values(gauge)) > 1)


def still_html(gauges: Sequence[GaugeView]) -> str:
    """The others, as text."""
    same = [gauge for gauge in gauges if len(_values(gauge)) <= 1]
    said = [f"{_words(gauge.quantity)} is {min(_values(gauge)):.4g}" for gauge in same]
    words = f"Everywhere, at every step so far: {', '.join(said)}." if said else ""
    return f'<p class="ws-small">{text(words)}</p>' if words else ""


def heat_figure(gauges: Sequence[GaugeView]) -> go.Figure:
    """The latest values: one panel per quantity, one row per layer, one column per place."""
    made = _panels(gauges)
    for row, gauge in enumerate(gauges, 1):
        made.add_trace(_heat(gauge), row=row, col=1)
    few = _layers(gauges) <= _MOST_LABELED_LAYERS
    made.update_yaxes(autorange="reversed", dtick=1 if few else None, title_text="layer")
    made.update_yaxes(showgrid=False, zeroline=False)
    made.update_xaxes(showgrid=False, zeroline=False, type="category", tickangle=0)
    made.update_xaxes(tickfont={"size": 11})
    return made


def curves_figure(gauges: Sequence[GaugeView], stack: str) -> go.Figure:
    """One stack over the steps: one panel per quantity, a thin line per group, a thick one for the
    mean.
    """
    own = [_of_stack(gauge.curves, stack) for gauge in gauges]
    made = _panels(gauges)
    colors = _colors([spot(key).place for curves in own for key in curves])
    shown: set[str] = set()
    for row, curves in enumerate(own, 1):
        for trace in [*_thin(curves, colors), *_mean(curves)]:
            # One entry for all panels and layers; the first that has it shows it.
            made.add_trace(trace.update(showlegend=trace.name not in shown), row=row, col=1)
            shown.add(trace.name)
    made.update_xaxes(rangemode="tozero")
    made.update_xaxes(title_text="step", row=len(own), col=1)
    return made


def _panels(gauges: Sequence[GaugeView]) -> go.Figure:
    """Panels one above another in the page's style, each with its quantity's name.

    Equally tall in every figure of the same gauges, so that figures side by side line up.
    """
    count = max(1, len(gauges))
    drawn = max(_PANEL, min(_TALLEST, _ROW * _layers(gauges))) * count + _GAP * (count - 1)
    names = [f"<b>{text(_words(gauge.quantity))}</b>, step {gauge.step}" for gauge in gauges]
    made = make_subplots(rows=count, subplot_titles=names, vertical_spacing=_GAP / drawn)
    made.update_layout(figure(drawn + _TOP + _BELOW).layout)
    # Below the panels: their names are above them, and the legend may take several lines.
    made.update_layout(
        margin={"t": _TOP, "b": _BELOW},
        legend={"y": -_LEGEND_BELOW / drawn, "yanchor": "top"},
    )
    made.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    made.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    made.update_annotations(font={"size": 12, "color": GREY}, x=0, xanchor="left")
    return made


def _heat(gauge: GaugeView) -> go.Heatmap:
    spots = {key: spot(key) for key in gauge.latest}
    columns = list(dict.fromkeys(_column(found) for found in spots.values()))
    grid: list[list[float | None]] = [[None] * len(columns) for _ in range(_depth(gauge.latest))]
    for key, value in gauge.latest.items():
        grid[spots[key].layer][columns.index(_column(spots[key]))] = value
    few = len(grid) <= _MOST_LABELED_LAYERS
    return go.Heatmap(
        z=grid,
        x=columns,
        colorscale=_SCALE,
        showscale=False,
        xgap=2,
        ygap=2,
        texttemplate="%{z:.3g}" if few else "",
        hoverongaps=False,
        hovertemplate="layer %{y}, %{x}<br>%{z:.5g}<extra>" + text(gauge.quantity) + "</extra>",
    )


def _thin(curves: Mapping[str, Series], colors: Mapping[str, str]) -> list[go.Scatter]:
    return [
        go.Scatter(
            x=curve.steps,
            y=curve.values,
            name=text(spot(key).place),
            legendgroup=spot(key).place,
            mode="lines+markers" if len(curve.steps) < 3 else "lines",
            line={"color": colors[spot(key).place], "width": 1},
            opacity=0.7,
            hovertemplate=f"layer {spot(key).layer} {text(spot(key).place)}"
            "<br>step %{x}: %{y:.4g}<extra></extra>",
        )
        for key, curve in curves.items()
    ]


def _mean(curves: Mapping[str, Series]) -> list[go.Scatter]:
    at: dict[int, list[float]] = {}
    for curve in curves.values():
        for step, value in zip(curve.steps, curve.values, strict=True):
            at.setdefault(step, []).append(value)
    steps = sorted(at)
    mean = go.Scatter(
        x=steps,
        y=[sum(at[step]) / len(at[step]) for step in steps],
        name="mean",
        legendgroup="mean",
        mode="lines",
        line={"color": GREY, "width": 3},
        hovertemplate="mean of the stack<br>step %{x}: %{y:.4g}<extra></extra>",
    )
    return [mean] if steps else []


def _of_stack(curves: Mapping[str, Series], stack: str) -> dict[str, Series]:
    """Curves of one stack; those without stack are drawn with the first."""
    homeless = stack == STACKS[0]
    return {
        key: curve
        for key, curve in curves.items()
        if spot(key).stack == stack or (homeless and spot(key).stack not in STACKS)
    }


def _layers(gauges: Sequence[GaugeView]) -> int:
    return max((_depth(gauge.latest) for gauge in gauges), default=1)


def _values(gauge: GaugeView) -> set[float]:
    return {value for curve in gauge.curves.values() for value in curve.values}


def _depth(values: Mapping[str, float]) -> int:
    return 1 + max((spot(key).layer for key in values), default=0)


def _column(found: Spot) -> str:
    # Short and one word per line: five places must fit side by side on a narrow page.
    words = f"{found.stack} {found.place.removesuffix(' heads')}".strip()
    return text(words).replace(" ", "<br>").replace("-", "-<br>")


def _words(quantity: str) -> str:
    return quantity.replace("_", " ")


def _colors(places: Sequence[str]) -> dict[str, str]:
    return dict(zip(dict.fromkeys(places), cycle(LINES), strict=False))
