"""Commands that write a model for other engines, and upload it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from whisperslim.commands.models import MODEL_HELP
from whisperslim.commands.terminal import (
    Language,
    Window,
    announce,
    megabytes,
    millions,
    print_table,
    say,
)
from whisperslim.engines import registry
from whisperslim.engines.registry import listed
from whisperslim.errors import UsageError
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.machine.places import ASSETS

if TYPE_CHECKING:
    import numpy as np

    from whisperslim.core.loading import SpeechModel
    from whisperslim.engines.export.parity import ParityVerdict
    from whisperslim.engines.export.record import ExportRecord

_ENGINES = " ".join(f"{s.name}: {s.words}." for s in registry.specs() if s.exporter)


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder to write.")],
    engine: Annotated[str, typer.Option(help=_ENGINES)],
    quantize: Annotated[
        str, typer.Option(help=f"Weights in the file: {listed(registry.precisions())}.")
    ] = registry.FULL,
    data: Annotated[
        str, typer.Option(help="Recordings for the check; empty takes the demo's.")
    ] = "",
    clips: Annotated[int, typer.Option(help="Number of recordings to check on.", min=1)] = 8,
    language: Language = "hi",
    window: Window = "fit",
    force: Annotated[
        bool, typer.Option("--force", help="Replace an export that exists at OUT.")
    ] = False,
) -> None:
    """Write a model for another engine, checked against the original on recordings."""
    from whisperslim.core.loading import load_model
    from whisperslim.engines.export.export import check_request
    from whisperslim.engines.export.export import export as write_export
    from whisperslim.engines.export.parity import read_verdict
    from whisperslim.speech.audio.window import parse_window

    policy = parse_window(window)
    with disk_errors(out):
        check_request(engine, quantize, out, force)  # before loading, which may take minutes
    recordings = _recordings(data, clips)
    speech = load_model(model, announce=announce)
    announce(
        f"writing {out}, then checking it on {len(recordings)} recordings in a process of its own"
    )
    record = write_export(speech, engine, quantize, out, recordings, language, policy, force)
    _report(speech, record, read_verdict(out), out)


def push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An export for transformers.")],
    repo_id: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="On the Hugging Face hub.")],
    yes: Annotated[bool, typer.Option("--yes", help="Upload without asking.")] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private.")
    ] = False,
) -> None:
    """Upload a Hugging Face export to the hub. Does nothing without --yes."""
    from whisperslim.engines.hf.push import check_push
    from whisperslim.engines.hf.push import push as upload

    record = check_push(folder, repo_id)
    if not yes:
        raise UsageError(
            f"this would upload {folder} ({megabytes(record.weights_bytes)}) to "
            f"{'a private' if private else 'the public'} repository {repo_id} under your log-in. "
            "Read its README.md first, then add --yes"
        )
    say(upload(folder, repo_id, private=private))


def _recordings(data: str, clips: int) -> "list[np.ndarray]":
    from whisperslim.speech.corpus.clip_reader import ClipReader
    from whisperslim.speech.corpus.dataset import load_items

    demo = ASSETS / "demo_hi"
    if not data and not demo.is_dir():
        raise UsageError(
            "the check needs recordings, and the demo's are not installed; give --data PATH#SPLIT"
        )
    items = load_items(data or f"{demo}#test")
    step = max(1, len(items) // clips)
    reader = ClipReader()
    return [reader.samples(item) for item in items[::step][:clips]]


def _report(
    speech: "SpeechModel", record: "ExportRecord", verdict: "ParityVerdict", out: Path
) -> None:
    from whisperslim.core.disk.weight_files import weights_bytes

    before = weights_bytes(speech.path)
    rows = [
        ("engine", f"{record.engine}, {record.quantize}"),
        ("parameters", millions(record.parameters)),
        ("bytes", f"{megabytes(record.weights_bytes)}, from {megabytes(before)}"),
        ("check", verdict.statement),
        ("time to transcribe", verdict.window),
        ("try it", f"whisperslim transcribe --model {out} RECORDING"),
    ]
    if registry.get(record.engine).shared:
        rows.append(("share it", f"whisperslim push {out} OWNER/NAME --yes"))
    print_table(("export", str(out)), rows)
