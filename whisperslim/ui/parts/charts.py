"""Charts of a run in progress. Text takes the page's colors from the style sheet."""

from collections.abc import Mapping, Sequence
from itertools import cycle

from plotly import graph_objects as go
from plotly.subplots import make_subplots

from whisperslim.jobs.run.view import RunView, Series
from whisperslim.ui.parts.markup import text

# Readable on white and on near-black (contrast over 3 on both), distinct without red-green.
LINES = ("#0d9488", "#d97706", "#6366f1", "#db2777", "#0284c7", "#65a30d", "#7c3aed")
GREY = "#7b8ba3"
STACKS = ("encoder", "decoder")
"""Stacks with their own figure, which is hidden for a model without that stack."""
GRID = "rgba(128,140,160,0.22)"
_DASHES = ("solid", "dot", "dash", "dashdot")
_MODEBAR = [
    "zoom",
    "pan",
    "select",
    "lasso2d",
    "zoomIn",
    "zoomOut",
    "autoScale",
    "resetScale",
    "toggleSpikelines",
]
_FIRST_PANEL, _FURTHER_PANEL = 220, 150  # pixels of the losses' plots
_ABOVE, _AXIS, _ENTRY = 48, 48, 22  # above them; their axis; an entry of the legend, on a phone
_FAR_APART = 50.0  # our choice: values further apart cannot be read off one linear axis


def figure(height: int) -> go.Figure:
    """An empty figure in the page's style, `height` pixels tall."""
    made = go.Figure()
    made.update_layout(
        template="none",
        height=height,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "Noto Sans Devanagari, system-ui, sans-serif", "size": 12, "color": GREY},
        margin={"l": 56, "r": 12, "t": 64, "b": 40},
        legend={"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom"},
        showlegend=True,
        hovermode="closest",
        modebar={"remove": _MODEBAR},
    )
    made.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    made.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    return made


def loss_figure(view: RunView) -> go.Figure:
    """Every loss term over the steps; a later stage goes on where the one before ended.

    Terms of other magnitudes, such as a penalty of thousands beside a loss of 1, have a panel of
    their own.
    """
    offsets, panels = _offsets(view.losses), _panels(view.losses)
    rows = max(1, len(set(panels.values())))
    made = make_subplots(rows=rows, shared_xaxes=True, vertical_spacing=0.08)
    _style(made, _FIRST_PANEL + _FURTHER_PANEL * (rows - 1), entries=len(panels))
    colors = _colors([name.partition("/")[2] for name in view.losses])
    for name, series in view.losses.items():
        stage, _, term = name.partition("/")
        made.add_trace(
            go.Scatter(
                x=[offsets[stage] + step for step in series.steps],
                y=series.values,
                name=text(term),
                # One entry for all stages of a term: their dashes differ.
                legendgroup=text(term),
                showlegend=text(term) not in [trace.name for trace in made.data],
                hovertemplate="step %{x}<br>%{y:.4g}<extra>"
                f"{text(term)}, {text(stage)}</extra>",
                mode="lines+markers" if len(series.steps) < 3 else "lines",
                line={
                    "color": colors[term],
                    "width": 2,
                    "dash": _DASHES[list(offsets).index(stage) % len(_DASHES)],
                },
            ),
            row=panels[term],
            col=1,
        )
    _mark_stages(made, offsets)
    made.update_xaxes(rangemode="tozero")
    made.update_xaxes(title_text="step", row=rows, col=1)
    for row in range(1, rows + 1):
        own = [each for name, each in view.losses.items() if panels[name.partition("/")[2]] == row]
        logarithmic = _wants_log(own)
        made.update_yaxes(
            title_text="log scale" if logarithmic else "loss" if row == 1 else "",
            type="log" if logarithmic else "linear",
            row=row,
            col=1,
        )
    return made


def wer_figure(view: RunView) -> go.Figure:
    """Word error rate over the steps; scores of finished models are dashed levels across."""
    made = go.Figure()
    _style(made, _FIRST_PANEL, entries=len(view.evaluations))
    offsets = _offsets(view.losses)
    ends = [series.steps[-1] + offsets[_stage(name)] for name, series in view.losses.items()]
    for color, (name, scores) in zip(cycle(LINES), view.evaluations.items(), strict=False):
        points = [(score.step, 100 * score.wer) for score in scores if score.wer is not None]
        if points and _stage(name) in offsets:
            start = offsets[_stage(name)]
            made.add_trace(_curve(name, [(start + step, rate) for step, rate in points], color))
        elif points:
            made.add_trace(_level(name, points[-1][1], max(ends, default=1), color))
    made.update_xaxes(title_text="step", rangemode="tozero")
    made.update_yaxes(title_text="WER, %", rangemode="tozero")
    return made


def _style(made: go.Figure, plots: int, entries: int) -> None:
    """The page's style for `plots` pixels of panels, with the legend's entries below them.

    Above, those of several lines would cover the name of the chart.
    """
    below = _AXIS + _ENTRY * max(1, entries)
    made.update_layout(figure(_ABOVE + plots + below).layout)
    made.update_layout(
        margin={"t": _ABOVE, "b": below}, legend={"y": -_AXIS / plots, "yanchor": "top"}
    )
    made.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)
    made.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, linecolor=GRID, automargin=True)


def _stage(name: str) -> str:
    return name.partition("/")[0]


def _curve(name: str, points: Sequence[tuple[int, float]], color: str) -> go.Scatter:
    stage, label, data = name.split("/", 2)
    said = f"{label}, {short_source(data)} · {stage}" if label != data else f"{label} · {stage}"
    return go.Scatter(
        x=[step for step, _ in points],
        y=[rate for _, rate in points],
        name=text(said),
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"size": 7},
        hovertemplate="step %{x}<br>WER %{y:.1f} %<extra>%{fullData.name}</extra>",
    )


def _level(name: str, rate: float, end: int, color: str) -> go.Scatter:
    _, label, data = name.split("/", 2)
    return go.Scatter(
        x=[0, end],
        y=[rate, rate],
        name=text(f"{label}, {short_source(data)}"),
        mode="lines",
        line={"color": color, "width": 2, "dash": "dash"},
        hovertemplate="WER %{y:.1f} %<extra>%{fullData.name}</extra>",
    )


def short_source(source: str) -> str:
    """The last folder of a data source and its split."""
    path, mark, split = source.partition("#")
    return path.rstrip("/").rpartition("/")[2] + mark + split


def short_sets(data: str) -> str:
    """The same for several sources joined in one string."""
    return " + ".join(short_source(source) for source in data.split(" + "))


def _offsets(losses: Mapping[str, Series]) -> dict[str, int]:
    """Stage -> steps done by the stages before it."""
    lengths: dict[str, int] = {}
    for name, series in losses.items():
        stage = name.partition("/")[0]
        last = series.steps[-1] if series.steps else 0
        lengths[stage] = max(lengths.get(stage, 0), last)
    offsets, total = {}, 0
    for stage, length in lengths.items():
        offsets[stage] = total
        total += length
    return offsets


def _colors(names: list[str]) -> dict[str, str]:
    return dict(zip(dict.fromkeys(names), cycle(LINES), strict=False))


def _mark_stages(made: go.Figure, offsets: Mapping[str, int]) -> None:
    for stage, start in list(offsets.items())[1:]:
        made.add_vline(x=start, line={"color": GREY, "dash": "dot", "width": 1})
        # Over the uppermost panel alone.
        made.add_annotation(
            x=start, y=1, xref="x", yref="paper", yanchor="bottom", showarrow=False,
            text=text(stage), font={"size": 11},
        )  # fmt: skip


def _panels(losses: Mapping[str, Series]) -> dict[str, int]:
    """Term -> its panel, counted from 1: terms of like magnitude share one, the smallest first."""
    sizes: dict[str, float] = {}
    for name, series in losses.items():
        largest = max(map(abs, series.values), default=0.0)
        term = name.partition("/")[2]
        sizes[term] = max(sizes.get(term, 0.0), largest)
    found: dict[str, int] = {}
    panel, least = 0, 0.0
    for term in sorted(sizes, key=lambda each: sizes[each]):
        if not panel or (least and sizes[term] > _FAR_APART * least):
            panel, least = panel + 1, sizes[term]
        least = least or sizes[term]
        found[term] = panel
    return found


def _wants_log(panel: Sequence[Series]) -> bool:
    """Whether what one panel shows moves over magnitudes."""
    every = [value for series in panel for value in series.values]
    # A logarithmic axis cannot show zero or less.
    return bool(every) and min(every) > 0 and max(every) / min(every) > _FAR_APART
