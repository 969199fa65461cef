"""Quantities in readable form."""


def megabytes(size: float | None) -> str:
    """Bytes as MB of a million, the unit of download sizes; from 1000 MB on as GB."""
    if size is None:
        return "–"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def millions(count: float) -> str:
    """A count of parameters; below a million in thousands."""
    return f"{count / 1e6:,.1f} M" if count >= 1e6 or not count else f"{count / 1e3:.1f} k"


def percent(share: float | None, digits: int = 1) -> str:
    """A fraction as a percentage."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def duration(seconds: float | None) -> str:
    """A span of time, two units at most; under a second to two digits, as factors are of those."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if 0.001 <= seconds < 0.95:
        return f"{seconds:.2g} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def interval(low: float, high: float) -> str:
    """Two fractions as percentages with one unit."""
    return f"{100 * low:.1f} to {100 * high:.1f} %"


def operations(count: float) -> str:
    """A count of floating-point operations."""
    return f"{count / 1e9:,.2f} G"


def latency(seconds: float) -> str:
    """A time per clip, to the millisecond below a second."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
