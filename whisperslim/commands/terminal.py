"""How commands talk to a terminal: results on stdout, everything else on stderr."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from whisperslim.text.languages import language_code
from whisperslim.text.printable import printable, printable_json

DEFAULT_RUNS = Path("runs")

RunsFolder = Annotated[Path, typer.Option("--runs", help="Folder that holds the runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Language = Annotated[
    str,
    typer.Option(
        help="Language spoken: a code such as hi, or its English name.", callback=language_code
    ),
]
Window = Annotated[
    str,
    typer.Option(
        help="Encoder window: `fit` follows the audio, `30s` is stock Whisper's. `trim`, for "
        "transcribing and exports only, is `fit` without silence at both ends."
    ),
]


def announce(message: str) -> None:
    """Print a remark for the reader, apart from the result."""
    typer.echo(printable(message), err=True)


def say(text: str) -> None:
    """Print a result, or a line of one, on stdout."""
    typer.echo(printable(text))


def print_json(value: Any) -> None:
    """Print plain values as JSON on stdout."""
    typer.echo(printable_json(to_json(value)))


def to_json(value: Any) -> str:
    """Plain values as indented JSON; non-ASCII letters are kept, NaN is refused."""
    return json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=str)


def print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table on stdout; figures belong in columns after the first."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(printable(column), no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    on_screen = Console().is_terminal
    # A file has no width, and wrapped columns would be hard to parse.
    Console(highlight=False, markup=False, width=None if on_screen else 1000).print(table)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr; yields the function to call with (done, total)."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(printable(what), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def downloading() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for each file; yields the function to call with (file, done, total) bytes.

    Where nobody watches, in a log, a line for every twentieth of a file.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    tasks: dict[str, TaskID] = {}
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:

        def show(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(escape(printable(file)), total=None)
            bar.update(tasks[file], completed=done, total=total or None)

        yield show


def _lines() -> Callable[[str, int, int], None]:
    said: dict[str, int] = {}

    def show(file: str, done: int, total: int) -> None:
        share = 100 * done // total if total else 0
        if share // 5 > said.get(file, -1):
            said[file] = share // 5
            announce(f"{file}: {share} % of {megabytes(total)}")

    return show


def megabytes(count: int) -> str:
    """Bytes as MB of a million, or GB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def millions(count: int) -> str:
    """Parameters as people count them."""
    return f"{count / 1e6:.2f} M" if count >= 100_000 else f"{count:,}"
