"""The per-layer picture: what is left of every layer, beside what was there before the run."""

from collections.abc import Callable, Sequence

from plotly import graph_objects as go

from whisperslim.ui.parts.charts import GREY, figure
from whisperslim.ui.parts.markup import text
from whisperslim.ui.sparsity.layers import BEFORE_WORDS, LayerRow

# The legend has the same colors, as classes of the style sheet.
BEFORE, KEPT, ZEROED, MOVED = "#94a3b8", "#0d9488", "#d97706", "#6366f1"
REMOVED = "rgba(148,163,184,0.18)"
_BAR, _THICK_BAR, _HEAD_ROW, _FRAME = 30, 40, 26, 90  # pixels


def legend(*, moved: bool) -> str:
    """The legend of the colors, as HTML for both stacks."""
    names = [("before", BEFORE_WORDS), ("kept", "slim, kept"), ("zeroed", "slim, zeroed")]
    if moved:
        names.append(("moved", "at the slider"))
    items = "".join(f'<span><i class="ws-{key}"></i>{text(name)}</span>' for key, name in names)
    return f'<div class="ws-legend">{items}</div>'


def weights_figure(rows: Sequence[LayerRow], *, moved: bool) -> go.Figure:
    """Prunable weights of one stack: for each place a bar for before the run and one for the slim
    model, its zeroed part hatched.

    With `moved`, a third bar shows what the slider's position would keep.
    """
    made = figure((_THICK_BAR if moved else _BAR) * len(rows) + _FRAME)
    for trace in _bars(rows, moved=moved):
        made.add_trace(trace)
    # An axis starts at the bottom; the first layer should be on top.
    made.update_yaxes(autorange="reversed", type="category", showgrid=False)
    made.update_xaxes(title_text="weights", rangemode="tozero", tickformat="~s")
    made.update_layout(barmode="group", bargap=0.3, bargroupgap=0.08, showlegend=False, margin_t=36)
    return made


def heads_figure(rows: Sequence[LayerRow]) -> go.Figure:
    """Every attention head of one stack as a square, by whether the run and the slider keep it."""
    heads = [row for row in rows if row.kind == "heads"]
    made = figure(_HEAD_ROW * len(heads) + _FRAME + 20)
    for name, color, chosen in _head_states():
        points = [(u, text(row.name)) for row in heads for u in range(row.count) if chosen(row, u)]
        if points:
            made.add_trace(_squares(name, color, points))
    names = [text(row.name).removesuffix(" heads") for row in heads]
    made.update_yaxes(
        type="category", categoryorder="array", categoryarray=names[::-1], showgrid=False
    )
    made.update_xaxes(dtick=1, showgrid=False, zeroline=False, title_text="head")
    return made


def _bars(rows: Sequence[LayerRow], *, moved: bool) -> list[go.Bar]:
    left = [row.left for row in rows]
    zeros = [round(n * (row.zeroed or 0.0)) for n, row in zip(left, rows, strict=True)]
    used = [n - zero for n, zero in zip(left, zeros, strict=True)]
    bars = [
        _bar(rows, BEFORE_WORDS, [row.weights for row in rows], BEFORE, "before"),
        _bar(rows, "slim, kept", used, KEPT, "slim"),
        _bar(rows, "slim, zeroed", zeros, ZEROED, "slim", after=used),
    ]
    if moved:
        there = [row.there for row in rows]
        bars.append(_bar(rows, "at the slider", there, MOVED, "moved"))
    return bars


def _bar(
    rows: Sequence[LayerRow],
    name: str,
    values: Sequence[int],
    color: str,
    place: str,
    *,
    after: Sequence[int] | None = None,
) -> go.Bar:
    """Bars of one place; with `after`, they begin where those end, hatched."""
    pattern = {"shape": "/" if after else "", "size": 5, "fgcolor": "#fde68a", "bgcolor": color}
    return go.Bar(
        x=values,
        y=[text(row.name) for row in rows],
        base=after,
        name=name,
        orientation="h",
        offsetgroup=place,
        marker={"color": color, "pattern": pattern},
        customdata=[_units(row, place) for row in rows],
        hovertemplate="%{y}<br>%{customdata}<br>%{x:,} weights<extra>" + name + "</extra>",
    )


def _units(row: LayerRow, place: str) -> str:
    count = {"before": row.count, "slim": len(row.kept), "moved": len(row.moved)}[place]
    return f"{count} of {row.count} {'heads' if row.kind == 'heads' else 'units'}"


def _head_states() -> list[tuple[str, str, Callable[[LayerRow, int], bool]]]:
    return [
        ("kept", KEPT, lambda row, u: u in row.kept and u in row.moved),
        ("removed", REMOVED, lambda row, u: u not in row.kept and u not in row.moved),
        ("slider only", MOVED, lambda row, u: u not in row.kept and u in row.moved),
        ("run only", ZEROED, lambda row, u: u in row.kept and u not in row.moved),
    ]


def _squares(name: str, color: str, points: Sequence[tuple[int, str]]) -> go.Scatter:
    return go.Scatter(
        x=[unit for unit, _ in points],
        y=[place.removesuffix(" heads") for _, place in points],
        name=name,
        mode="markers",
        marker={
            "symbol": "square",
            "size": 14,
            "color": color,
            "line": {"color": GREY, "width": 1},
        },
        hovertemplate="%{y}, head %{x}<extra>" + name + "</extra>",
    )
