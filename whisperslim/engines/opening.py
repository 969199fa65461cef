"""A model by name, ready to listen, in the engine it was written for."""

from collections.abc import Callable
from pathlib import Path

import torch

from whisperslim.core.loading import load_model
from whisperslim.engines.export_record import is_export, read_export
from whisperslim.engines.exporting import load_exporter
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.engines.windowed import WindowedTranscriber
from whisperslim.speech.window import WindowPolicy


def open_transcriber(
    name: str,
    window: WindowPolicy,
    threads: int = 0,
    announce: Callable[[str], None] = lambda message: None,
) -> WindowedTranscriber:
    """An export folder in its engine; every other model, by `load_model`, in PyTorch.

    Args:
        name: An export folder, or what `load_model` takes.
        window: Window policy it listens with.
        threads: Of the processor; 0 leaves it to the engine. PyTorch has one number for the whole
            process, which this sets.
        announce: Told what is done to find the model.

    Raises:
        ExportError: an export is incomplete, of another version, or its runtime is missing.
        SourceError, CheckpointError: as `load_model`.
    """
    folder = Path(name).expanduser()
    if name and is_export(folder):
        record = read_export(folder)
        return load_exporter(record.engine).open_export(folder, record, window, threads)
    if threads:
        torch.set_num_threads(threads)
    return TorchTranscriber(load_model(name, announce=announce), window)
