"""Small pieces of HTML. Every text that is not a literal here goes through `text`."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

METER = (
    '<div class="ws-level"><div class="ws-level-bar" role="meter" aria-label="Microphone level" '
    'aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"><i></i></div>'
    '<span class="ws-level-word"></span></div>'
)
"""Where the page's script draws the level of a microphone."""


@dataclass(frozen=True)
class Cell:
    """One table cell. `number` is set flush right; `html` is trusted, so escape what it holds."""

    html: str
    number: bool = False
    strong: bool = False


def text(value: object) -> str:
    """`value` as text that cannot become markup."""
    return html.escape(str(value), quote=True)


def number(value: object, *, strong: bool = False) -> Cell:
    """A flush-right cell."""
    return Cell(text(value), number=True, strong=strong)


def words(value: object, *, strong: bool = False) -> Cell:
    """A text cell."""
    return Cell(text(value), strong=strong)


def table(headers: Sequence[str], rows: Iterable[Sequence[Cell]], *, caption: str = "") -> str:
    """A table that scrolls sideways by itself on a narrow page."""
    body_rows = [list(row) for row in rows]
    numeric = [any(row[i].number for row in body_rows) for i in range(len(headers))]
    head = "".join(
        f'<th scope="col"{_class(is_number=right)}>{text(name)}</th>'
        for name, right in zip(headers, numeric, strict=True)
    )
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in body_rows)
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="ws-scroll" tabindex="0"><table class="ws-table">{title}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def pill(label: str, tone: str) -> str:
    """A colored word. Tones: good, busy, wait, bad, plain."""
    return f'<span class="ws-pill ws-{text(tone)}">{text(label)}</span>'


def note(message: str, tone: str = "plain") -> str:
    """A framed sentence; line breaks of `message` are kept."""
    return f'<div class="ws-note ws-{text(tone)}" role="status">{text(message)}</div>'


def empty(title: str, message: str, more: str = "") -> str:
    """A placeholder where there is nothing yet. `more` is HTML below the message."""
    said = f"<strong>{text(title)}</strong><span>{text(message)}</span>"
    return f'<div class="ws-empty">{said}{more}</div>'


def bar(share: float, label: str) -> str:
    """A progress bar; `share` is from 0 to 1."""
    percent = 100 * min(1.0, max(0.0, share))
    return (
        f'<div class="ws-progress" role="progressbar" aria-label="{text(label)}" '
        f'aria-valuenow="{percent:.0f}" aria-valuemin="0" aria-valuemax="100">'
        f'<div style="width:{percent:.1f}%"></div></div>'
    )


def _cell(cell: Cell) -> str:
    return f"<td{_class(is_number=cell.number, strong=cell.strong)}>{cell.html}</td>"


def _class(*, is_number: bool, strong: bool = False) -> str:
    names = [name for name, on in (("num", is_number), ("strong", strong)) if on]
    return f' class="{" ".join(names)}"' if names else ""
