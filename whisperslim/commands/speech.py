"""Commands about recordings: check a data set, record, and manage decoded recordings."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisperslim.commands.terminal import (
    AsJson,
    Language,
    announce,
    counting,
    megabytes,
    print_json,
    print_table,
    say,
)
from whisperslim.errors import UsageError

if TYPE_CHECKING:
    from whisperslim.speech.corpus.report import TextLimit

_METER_WIDTH = 40


def data(
    source: Annotated[
        str, typer.Argument(metavar="DATA", help="PATH or PATH#SPLIT of a manifest or corpus.")
    ],
    language: Language = "hi",
    max_seconds: Annotated[
        float, typer.Option(help="Longest usable clip, in seconds.", min=1.0)
    ] = 30.0,
    against: Annotated[
        str,
        typer.Option(
            metavar="DATA", help="Test set that must not share clips, texts or speakers with it."
        ),
    ] = "",
    model: Annotated[
        str, typer.Option(help="Model to be trained, to count its tokens in every text.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Decode every clip of a data set, check every text, and report problems."""
    from whisperslim.speech.corpus.dataset import load_items
    from whisperslim.speech.corpus.report import examine

    items, others = load_items(source), load_items(against) if against else []
    limit = _limit(model, language) if model else None
    with counting("clips") as progress:
        report = examine(
            items, language=language, max_seconds=max_seconds, against=others, limit=limit,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(report.to_record())
    else:
        say("\n".join(report.lines()))
    if not model:
        announce("whether the texts fit a model was not checked; --model names one to check with")


def _limit(model: str, language: str) -> "TextLimit | None":
    from whisperslim.core.fetch.sources import resolve
    from whisperslim.jobs.stages.data import text_limit

    return text_limit(resolve(model, announce=announce).path, language)


def record(
    out: Annotated[
        Path | None, typer.Argument(metavar="[OUT.wav]", help="WAV file to write.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Length in seconds; Ctrl-C ends it earlier.", min=0.1)
    ] = 10.0,
    device: Annotated[
        int | None, typer.Option(help="Number of the input device, as --list shows it.")
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="List the input devices and record nothing.")
    ] = False,
) -> None:
    """Record from this computer's microphone."""
    from whisperslim.speech.recording import microphone

    if list_only:
        for found in microphone.list_devices():
            mark = "  (default)" if found.is_default else ""
            say(f"{found.index}  {found.name}  {found.rate} Hz{mark}")
        return
    if out is None:
        raise UsageError("name the WAV file to write, for example: whisperslim record me.wav")
    enough = threading.Event()
    usual = signal.signal(signal.SIGINT, lambda number, frame: enough.set())
    try:
        microphone.record(seconds, out, device=device, on_level=_show_level, stop=enough)
    finally:
        signal.signal(signal.SIGINT, usual)
    announce(f"\n{out}")


def _show_level(level: float) -> None:
    # Square root: speech sits at a few hundredths of full scale, and should move the bar.
    bar = "#" * round(min(1.0, level) ** 0.5 * _METER_WIDTH)
    typer.echo(f"\r[{bar:<{_METER_WIDTH}}]", err=True, nl=False)


def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete them; recordings are decoded again when needed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where decoded recordings are kept and how much they take, or delete them."""
    from whisperslim.machine.places import audio_cache
    from whisperslim.speech.corpus.audio_cache import cache_limit, cache_use, clear_cache

    folder = audio_cache()
    if clear:
        gone = clear_cache(folder)
        announce(f"deleted: {gone.files} files, {megabytes(gone.bytes)}, in {folder}")
    use, limit = cache_use(folder), cache_limit()
    facts = {"folder": str(folder), "files": use.files, "bytes": use.bytes, "limit_bytes": limit}
    if as_json:
        print_json(facts)
        return
    rows = [("folder", str(folder)), ("files", str(use.files)), ("size", megabytes(use.bytes))]
    print_table(("sound cache", ""), [*rows, ("limit", megabytes(limit))])
