"""Pieces that the tables are made of."""

from collections.abc import Sequence
from typing import Any

MEGA = 1e6


def sets(record: dict[str, Any]) -> list[str]:
    """Names of the evaluation sets."""
    return list(next(iter(record["rows"].values()))["sets"])


def spread(values: dict[str, float], form: str) -> str:
    """Median and range, each by a format such as `{:.2f}`."""
    show = form.format
    return f"{show(values['median'])} ({show(values['min'])} to {show(values['max'])})"


def where(record: dict[str, Any], packages: Sequence[str] = ("torch", "transformers")) -> str:
    """Machine, versions of `packages`, and command."""
    versions = ", ".join(f"{name} {record['packages'][name]}" for name in packages)
    return (
        f"Measured on {record['cores']} cores of {record['processor']}, {versions}; "
        f"command: `{record['command']}`."
    )


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Markdown."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
