"""Work that needs torch, behind imports of its own: the page is up before any of it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model, and how many of them are prunable weights."""

    parameters: int
    prunable: int


def measure(name: str) -> ModelSize:
    """Counts of a model by name. Raises `SourceError` or `CheckpointError`."""
    from whisperslim.core.cost import inspect_model

    report = inspect_model(name)
    return ModelSize(report.parameters, report.prunable)


def zeroed_shares(slim: Path) -> Mapping[str, float]:
    """Group key -> share of a slim model's remaining weights that is zero."""
    from whisperslim.core.cost import inspect_model

    report = inspect_model(str(slim))
    left = {row.key: row.parameters for row in report.rows}
    return {row.key: row.zeroed / left[row.key] if left[row.key] else 0.0 for row in report.rows}


def transcriber(name: str) -> Any:
    """A model ready to listen on this machine's processor."""
    from whisperslim.core.loading import load_model
    from whisperslim.engines.torch_engine import TorchTranscriber
    from whisperslim.speech.window import parse_window

    return TorchTranscriber(load_model(name), parse_window("fit"))
