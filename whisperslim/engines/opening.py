"""A model by name, ready to listen, in the engine it was written for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from whisperslim.boxed import local_name
from whisperslim.core.disk.storage import file_sha256
from whisperslim.engines import registry
from whisperslim.engines.export.record import EXPORT_FILE, ExportRecord, is_export, read_export
from whisperslim.engines.export.seal import is_boxed, is_own
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.errors import ExportError
from whisperslim.speech.audio.window import WindowPolicy

_TORCH = "whisperslim.engines.torch_engine"


def open_transcriber(
    name: str,
    window: WindowPolicy,
    threads: int = 0,
    announce: Callable[[str], None] = lambda message: None,
) -> WindowedTranscriber:
    """An export folder in its engine; every other model, by `load_model`, in PyTorch.

    An export that this installation did not write runs in a process of its own.

    Args:
        name: An export folder, a model that comes with the project, or what `load_model` takes.
        window: Window policy it listens with.
        threads: Of the processor; 0 leaves it to the engine. PyTorch has one number for the whole
            process, which this sets. The first model opened in PyTorch also decides for the process
            which library multiplies float32 matrices; see `core.matmul`.
        announce: Called with what is done to find the model.

    Raises:
        ExportError: an export is incomplete, of another version, its runtime is missing, or its
            process ended.
        SourceError, CheckpointError: as `load_model`.
    """
    folder = Path(local_name(name)).expanduser()
    if name and is_export(folder):
        record = read_export(folder)
        _check_tokenizer(folder, record)
        if is_boxed(folder, record) or is_own(folder, record):
            return open_here(folder, record, window, threads)
        # Only now, as torch below: most exports are heard here, without what this takes.
        from whisperslim.engines.foreign.transcriber import LIMITS_MEMORY, ForeignTranscriber

        announce(
            f"{folder} was not written here: it runs in a separate process"
            f"{'' if LIMITS_MEMORY else ', without a limit of memory on this system'}"
        )
        return ForeignTranscriber.open(folder, record, window, threads)
    _check_no_rest(folder)
    # Only now: an export is opened where torch is not installed, and without its memory.
    torch_engine: Any = registry.load_part(registry.get(registry.OWN), _TORCH)
    model: WindowedTranscriber = torch_engine.open_model(name, window, threads, announce)
    return model


def open_here(
    folder: Path, record: ExportRecord, window: WindowPolicy, threads: int
) -> WindowedTranscriber:
    """An export in this process, by its engine. Raises as `Exporter.open_export`."""
    spec = registry.get(record.engine)
    opener: Any = registry.load_part(spec, spec.opener or spec.exporter)
    opened: WindowedTranscriber = opener.open_export(folder, record, window, threads)
    return opened


def _check_tokenizer(folder: Path, record: ExportRecord) -> None:
    """Raise `ExportError` for another tokenizer, which would silently turn right ids into wrong
    text."""
    wanted, file = record.settings.get("tokenizer_sha256"), folder / record.tokenizer
    if not file.is_file():
        raise ExportError(f"{file} is missing: the export is incomplete; export the model again")
    if file_sha256(file) != wanted:
        raise ExportError(
            f"{file} is not the tokenizer this export was written with; copy the whole folder "
            "again, or export the model again"
        )


def _check_no_rest(folder: Path) -> None:
    rests = [name for spec in registry.specs() for name in spec.rests]
    if folder.is_dir() and any((folder / name).is_file() for name in rests):
        raise ExportError(
            f"{folder} has files of an export but no {EXPORT_FILE}: it is incomplete; copy it "
            "again, or export the model again"
        )
