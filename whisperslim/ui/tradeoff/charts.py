"""The trade-off of size against error, measured at several targets of one or several runs."""

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, TypeVar

from plotly import graph_objects as go

from whisperslim.errors import UsageError
from whisperslim.jobs.sizes.curve import Sweep, SweepPoint
from whisperslim.ui.parts.charts import LINES, figure, short_sets
from whisperslim.ui.parts.markup import text
from whisperslim.ui.parts.quantities import (
    interval,
    latency,
    megabytes,
    millions,
    operations,
    percent,
)

T = TypeVar("T")

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
_CAPTION_CHARACTERS = 50  # a line of the caption that a page 390 pixels wide shows whole
_PLOT_PIXELS, _LINE_PIXELS, _ENTRY_PIXELS = 340, 17, 22


@dataclass(frozen=True)
class Axis:
    """One quantity to draw error against. `suffix` follows the SI prefix at the ticks."""

    name: str
    title: str
    suffix: str
    show: Callable[[float], str]


AXES: Mapping[str, Axis] = {
    "parameters": Axis("parameters", "parameters", "", millions),
    "bytes": Axis("bytes", "size on disk", "B", megabytes),
    "flops": Axis("flops", "floating-point operations", "", operations),
    "latency_seconds": Axis("latency_seconds", "latency per clip", "s", latency),
}
"""Attribute of a sweep's point -> how it is drawn."""


def tradeoff_figure(sweeps: Sequence[Sweep], against: str = "parameters") -> go.Figure:
    """Word error rate with its interval against a cost, one line per run.

    Args:
        sweeps: Measured runs. When they were not scored alike, the caption says so.
        against: `parameters`, `bytes`, `flops` or `latency_seconds`.

    Raises `UsageError` for another cost.
    """
    axis = axis_named(against)
    caption = caption_lines(sweeps, against)
    top, bottom = 56 + _LINE_PIXELS * len(caption), 60 + _ENTRY_PIXELS * max(1, len(sweeps))
    made = figure(_PLOT_PIXELS + top + bottom)
    symbols = _symbols(sweeps)
    for sweep, color in zip(sweeps, cycle(LINES), strict=False):
        made.add_trace(_curve(sweep, axis, color, symbols[sweep.method]))
    made.update_layout(
        title=_title(axis, caption),
        margin={"t": top, "b": bottom},
        # Below the plot: run names are long, and stack on a narrow page.
        legend={"y": -56 / _PLOT_PIXELS, "yanchor": "top"},
    )
    made.update_xaxes(title_text=axis.title, tickformat="~s", ticksuffix=axis.suffix)
    made.update_yaxes(title_text="WER, %", rangemode="tozero")
    return made


def axis_named(against: str) -> Axis:
    """The axis of that name. Raises `UsageError` naming the known ones."""
    if against not in AXES:
        raise UsageError(f"no axis named {against!r}; known: {', '.join(AXES)}")
    return AXES[against]


def caption_lines(sweeps: Sequence[Sweep], against: str = "parameters") -> tuple[str, ...]:
    """What the figures are for, and why they may not be comparable; none without a curve."""
    if not sweeps:
        return ()
    sets = _distinct(short_sets(sweep.data) for sweep in sweeps)
    said = [
        f"Set {', '.join(sets)}; {_range([p.n for s in sweeps for p in s.points])} clips; "
        f"normalizer {', '.join(_distinct(s.normalizer for s in sweeps))}; "
        f"window {', '.join(_distinct(s.window for s in sweeps))}. {_recovery(sweeps)} "
        f"Bars: {', '.join(_facts(sweeps, 'interval')) or '95 % intervals'}.",
        _target_words(sweeps),
        _cost_words(sweeps, against),
        _difference(sweeps, against),
    ]
    return tuple(line for words in said for line in textwrap.wrap(words, _CAPTION_CHARACTERS))


def _recovery(sweeps: Sequence[Sweep]) -> str:
    steps = _distinct(sweep.recover_steps for sweep in sweeps)
    if steps == [0]:
        return "No training after the cut."
    return f"Recovery after the cut: {_range(steps)} steps."


def _target_words(sweeps: Sequence[Sweep]) -> str:
    """What the points' targets are shares of; listed by run where that differs."""
    counted = _distinct(sweep.counted_in for sweep in sweeps)
    if len(counted) == 1:
        return f"Targets are shares of {counted[0]}."
    return "Targets are shares, " + "; ".join(f"{s.run}: of {s.counted_in}" for s in sweeps) + "."


def _cost_words(sweeps: Sequence[Sweep], against: str) -> str:
    """How a cost was measured, where it is not a property of the file alone."""
    if against == "flops":
        return "; ".join(_facts(sweeps, "flops"))
    if against != "latency_seconds":
        return ""
    ways = [way for way in _facts(sweeps, "latency") if isinstance(way, Mapping)]
    said = "; ".join(_timing(way) for way in ways)
    return f"{said}. On {', '.join(_machines(sweeps)) or 'an unnamed machine'}."


def _timing(way: Mapping[str, Any]) -> str:
    what = str(way.get("what", "")).partition(":")[0]  # details are too long for a caption
    return f"{way.get('engine', '')}: {what}, {len(way.get('clips', ()))} clips"


def _difference(sweeps: Sequence[Sweep], against: str) -> str:
    """Shown when runs were measured in different ways: then the figures do not compare."""
    ways: dict[str, Sequence[Any]] = {
        "set": _distinct(sweep.data for sweep in sweeps),
        "number of clips": _distinct(point.n for sweep in sweeps for point in sweep.points),
        "normalizer": _distinct(sweep.normalizer for sweep in sweeps),
        "window": _distinct(sweep.window for sweep in sweeps),
        "decoding": _facts(sweeps, "decoding"),
        "recovery": _distinct(sweep.recover_steps for sweep in sweeps),
    }
    if against == "flops":
        ways["workload"] = _facts(sweeps, "flops")
    if against == "latency_seconds":
        ways |= {"way of timing": _facts(sweeps, "latency"), "machine": _machines(sweeps)}
    unlike = [name for name, found in ways.items() if len(found) > 1]
    return f"⚠ Not alike: {', '.join(unlike)}. Compare with care." if unlike else ""


def _facts(sweeps: Sequence[Sweep], name: str) -> Sequence[Any]:
    """The different values of one entry of the provenance."""
    found: list[Any] = []
    for sweep in sweeps:
        value = sweep.provenance.get(name)
        if value is not None and value not in found:
            found.append(value)
    return found


def _machines(sweeps: Sequence[Sweep]) -> list[str]:
    machines = [point.machine for sweep in sweeps for point in sweep.points if point.machine]
    return _distinct(
        f"{m.get('gpu') or m.get('cpu', '')} ({m.get('device', '')}, {m.get('threads', '')} "
        f"threads, torch {m.get('torch', '')})"
        for m in machines
    )


def _title(axis: Axis, caption: Sequence[str]) -> dict[str, Any]:
    small = "".join(f'<br><span style="font-size:12px">{text(line)}</span>' for line in caption)
    return {
        "text": f"<b>Word error rate against {axis.title}</b>{small}",
        "x": 0,
        "xref": "container",
        "xanchor": "left",
        "y": 1,
        "yref": "container",
        "yanchor": "top",
        "pad": {"t": 20, "l": 12},
        "font": {"size": 14},
    }


def _curve(sweep: Sweep, axis: Axis, color: str, symbol: str) -> go.Scatter:
    points = sorted(sweep.points, key=lambda point: float(getattr(point, axis.name)))
    return go.Scatter(
        x=[getattr(point, axis.name) for point in points],
        y=[100 * point.wer for point in points],
        error_y=_bars(points),
        name=f"{text(sweep.run)} · {text(sweep.method)}",
        mode="lines+markers",
        line={"color": color, "width": 2},
        marker={"size": 9, "symbol": symbol},
        customdata=[hover(sweep, point, axis) for point in points],
        hovertemplate="%{customdata}<extra></extra>",
        hoverlabel={"align": "left"},
    )


def hover(sweep: Sweep, point: SweepPoint, axis: Axis) -> str:
    """Details of one point."""
    lines = [
        f"<b>{text(sweep.run)}</b> · {text(sweep.method)}",
        f"WER {percent(point.wer)} ({interval(point.wer_low, point.wer_high)}), "
        f"CER {percent(point.cer)}",
        f"{axis.title}: {axis.show(getattr(point, axis.name))}",
        f"target {percent(point.target)}: removed {percent(point.removed)}, "
        f"zeroed {percent(point.zeroed)}",
        f"{point.n} clips of {text(short_sets(sweep.data))}",
        f"normalizer {text(sweep.normalizer)}, window {text(sweep.window)}",
        f"{sweep.recover_steps} steps of recovery",
        f"measured as {text(point.run)}",
    ]
    return "<br>".join(lines)


def _bars(points: Sequence[SweepPoint]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [100 * (point.wer_high - point.wer) for point in points],
        "arrayminus": [100 * (point.wer - point.wer_low) for point in points],
        "thickness": 1.5,
        "width": 5,
    }


def _symbols(sweeps: Sequence[Sweep]) -> dict[str, str]:
    methods = _distinct(sweep.method for sweep in sweeps)
    return dict(zip(methods, cycle(_SYMBOLS), strict=False))


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _range(values: Sequence[int]) -> str:
    if not values:
        return "0"
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"
