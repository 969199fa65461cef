"""Times and sizes of a comparison as bars."""

from collections.abc import Callable, Sequence

from whisperslim.ui.compared import HeardSide
from whisperslim.ui.markup import text
from whisperslim.ui.quantities import duration, megabytes


def bars(sides: Sequence[HeardSide]) -> str:
    """One bar a side for the time it took and one for its size; the longest fills the width."""
    return (
        '<div class="ws-card ws-figures ws-bars">'
        + _measure("Time to the whole text", sides, lambda side: side.seconds, duration)
        + _measure("Size on disk", sides, lambda side: side.bytes_on_disk, megabytes)
        + "</div>"
    )


def _measure(
    title: str,
    sides: Sequence[HeardSide],
    get: Callable[[HeardSide], float],
    show: Callable[[float], str],
) -> str:
    most = max(get(side) for side in sides)
    rows = "".join(
        f'<span>{text(side.role)}</span><div class="ws-bar" aria-hidden="true">'
        f'<i class="ws-bar-{text(side.role)}" style="width:{_width(get(side), most)}%"></i></div>'
        f"<b>{text(show(get(side)))}</b>"
        for side in sides
    )
    return f'<section><h3>{text(title)}</h3><div class="ws-bar-rows">{rows}</div></section>'


def _width(value: float, most: float) -> str:
    share = value / most if most > 0 else 0.0
    return f"{100 * min(1.0, max(0.0, share)):.1f}"
