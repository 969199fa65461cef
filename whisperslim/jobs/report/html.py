"""HTML and pictures of a report, without scripts: readable anywhere, printable, long-lived.

Every text that is not a literal here is escaped.
"""

import html
import math
from collections.abc import Mapping, Sequence

COLORS = ("#0f766e", "#b45309", "#4f46e5", "#be185d", "#0369a1", "#4d7c0f")
_WIDTH, _HEIGHT = 440, 210  # of a chart, in its own units; it is drawn as wide as the page
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 14, 34
_TICKS = 4

Points = Sequence[tuple[float, float]]

_STYLE = """
:root { color-scheme: light dark; --line: #d4dbe4; --soft: #f1f5f9; --dim: #475569;
  --text: #0f172a; --page: #fff; --good: #0f766e; }
@media (prefers-color-scheme: dark) { :root { --line: #334155; --soft: #1e293b; --dim: #a8b5c7;
  --text: #e8eef6; --page: #0f172a; --good: #5eead4; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; color: var(--text);
  background: var(--page); line-height: 1.5;
  font: 15px/1.5 "Noto Sans Devanagari", "Nirmala UI", system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .5rem; padding-bottom: .2rem;
  border-bottom: 1px solid var(--line); break-after: avoid; }
p { margin: .4rem 0; } .dim { color: var(--dim); font-size: .9rem; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.facts div { background: var(--soft); border-radius: .6rem; padding: .6rem .9rem; min-width: 8rem; }
.facts b { display: block; font-size: 1.25rem; color: var(--good); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--dim); font-weight: 600; } .num { text-align: right; white-space: nowrap; }
tr { break-inside: avoid; }
.pair { display: grid; gap: 0 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); }
figure { margin: .8rem 0; break-inside: avoid; } svg { width: 100%; height: auto; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--dim); }
svg .grid { stroke: var(--line); } figcaption { font-size: .85rem; color: var(--dim); }
.key { display: inline-flex; align-items: center; gap: .35rem; margin-right: 1rem; }
.key i { width: 1rem; height: .2rem; border-radius: 1px; display: inline-block; }
pre { background: var(--soft); padding: .8rem; border-radius: .6rem; font-size: .8rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.bar { background: var(--line); height: .7rem; border-radius: .2rem; min-width: 8rem; }
.bar i { display: block; height: 100%; background: #0f766e; border-radius: .2rem;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } pre { font-size: 9px; } }
"""


def text(value: object) -> str:
    """`value` as text that cannot become markup."""
    return html.escape(str(value), quote=True)


def document(title: str, body: str) -> str:
    """A whole page, for which a browser fetches nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A part under its title; "" when it is empty."""
    return f"<section><h2>{text(title)}</h2>{body}</section>" if body else ""


def paragraph(words: str, *, dim: bool = False) -> str:
    """A sentence or a few."""
    return f"<p{' class=dim' if dim else ''}>{text(words)}</p>"


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """The most important figures, large."""
    tiles = "".join(f"<div>{text(name)}<b>{text(value)}</b></div>" for name, value in pairs)
    return f'<div class="facts">{tiles}</div>' if pairs else ""


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], numbers: int = 0) -> str:
    """Rows under headers. The last `numbers` columns are set flush right."""
    if not rows:
        return ""
    first = len(headers) - numbers
    head = "".join(_cell("th", index >= first, text(h)) for index, h in enumerate(headers))
    body = "".join(
        f"<tr>{''.join(_cell('td', i >= first, text(c)) for i, c in enumerate(row))}</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{body}</table></div>'


def kept_bars(rows: Sequence[tuple[str, int, int]]) -> str:
    """One bar per group: name, units kept, units before."""
    drawn = "".join(
        f"<tr><td>{text(name)}</td><td>{_bar(kept / count if count else 0.0)}</td>"
        f'<td class="num">{kept:,} of {count:,}</td></tr>'
        for name, kept, count in rows
    )
    return f'<div class="scroll"><table>{drawn}</table></div>' if rows else ""


def line_chart(caption: str, curves: Mapping[str, Points], unit: str) -> str:
    """Curves over training steps, from zero up. Empty when there is no point to draw."""
    drawn = {
        name: [point for point in points if all(map(math.isfinite, point))]
        for name, points in curves.items()
    }
    drawn = {name: points for name, points in drawn.items() if points}
    if not drawn:
        return ""
    every = [point for points in drawn.values() for point in points]
    right, high = max(x for x, _ in every) or 1.0, max(y for _, y in every) or 1.0
    lines = "".join(
        _line(points, right, high, COLORS[index % len(COLORS)])
        for index, points in enumerate(drawn.values())
    )
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(caption)}">'
        f"{_axes(right, high, unit)}{lines}</svg>"
        f"<figcaption>{_legend(tuple(drawn))}<br>{text(caption)}</figcaption></figure>"
    )


def side_by_side(figures: Sequence[str]) -> str:
    """Pictures in two columns where there is room; empty ones are left out."""
    drawn = "".join(figures)
    return f'<div class="pair">{drawn}</div>' if drawn else ""


def _cell(tag: str, flush_right: bool, content: str) -> str:
    return f"<{tag}{' class=num' if flush_right else ''}>{content}</{tag}>"


def _bar(share: float) -> str:
    return f'<div class="bar"><i style="width:{100 * min(1.0, max(0.0, share)):.1f}%"></i></div>'


def _place(x: float, y: float, right: float, high: float) -> tuple[float, float]:
    wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + wide * x / right, _HEIGHT - _BOTTOM - tall * max(0.0, y) / high


def _line(points: Points, right: float, high: float, color: str) -> str:
    placed = [_place(x, y, right, high) for x, y in points]
    if len(placed) == 1:
        return f'<circle cx="{placed[0][0]:.1f}" cy="{placed[0][1]:.1f}" r="3" fill="{color}"/>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>'


def _axes(right: float, high: float, unit: str) -> str:
    parts = [f'<text x="{_LEFT}" y="11">{text(unit)}</text>']
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        x, y = _place(right * share, high * share, right, high)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{high * share:.3g}</text>'
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">'
            f"{right * share:.0f}</text>"
        )
    parts.append(
        f'<text x="{(_LEFT + _WIDTH) / 2:.0f}" y="{_HEIGHT - 4}" text-anchor="middle">step</text>'
    )
    return "".join(parts)


def _legend(names: Sequence[str]) -> str:
    return "".join(
        f'<span class="key"><i style="background:{COLORS[index % len(COLORS)]}"></i>'
        f"{text(name)}</span>"
        for index, name in enumerate(names)
    )
