"""Work that needs torch, behind imports of its own: the page is up before any of it is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperslim.jobs.rundir import RunDir
from whisperslim.ui.model_cache import ModelCache

if TYPE_CHECKING:
    from whisperslim.jobs.prediction import Prediction
    from whisperslim.jobs.replan import Replan

MAX_SECONDS = 120.0  # our choice: longer recordings are for the command line


@dataclass(frozen=True)
class ModelSize:
    """Parameters of a model, and how many of them are prunable weights."""

    parameters: int
    prunable: int


def measure(name: str) -> ModelSize:
    """Counts of a model by name. Raises `SourceError` or `CheckpointError`."""
    from whisperslim.core.cost import inspect_model

    report = inspect_model(name)
    # Of a slim model, what has been cut out already cannot be cut again.
    return ModelSize(report.parameters, report.prunable - report.removed_weights)


def zeroed_shares(slim: Path) -> Mapping[str, float]:
    """Group key -> share of a slim model's remaining weights that is zero."""
    from whisperslim.core.cost import inspect_model

    report = inspect_model(str(slim))
    groups = [row for row in report.rows if row.units and row.kind != "embeddings"]
    return {row.key: row.zeroed / row.parameters for row in groups}


@dataclass(frozen=True)
class Comparer:
    """Lets two models listen to one recording, keeping the latest ones in memory."""

    models: ModelCache = field(default_factory=lambda: ModelCache(transcriber))

    def __call__(
        self, dense: str, slim: str, recording: str, language: str, reference: str | None
    ) -> Any:
        """The `Comparison` of two models, by hub name or folder.

        Raises `AudioError`, `SourceError` or `CheckpointError`.
        """
        from whisperslim.engines.comparison import compare
        from whisperslim.speech.audio import decode

        audio = decode(recording, max_seconds=MAX_SECONDS)
        pair = [self.models.get(name, _version(name)) for name in (dense, slim)]
        return compare(pair[0], pair[1], audio, language=language, reference=reference)


class Resizing:
    """What `jobs` knows of a run at other sizes."""

    def replan(self, run: RunDir, removed: float, zeroed: float) -> "Replan":
        """As `jobs.replan.replan`."""
        from whisperslim.jobs.replan import replan

        return replan(run, removed, zeroed)

    def reachable_range(self, run: RunDir) -> tuple[float, float]:
        """As `jobs.replan.reachable_range`."""
        from whisperslim.jobs.replan import reachable_range

        return reachable_range(run)

    def derive(self, run: RunDir, removed: float, zeroed: float, recover_steps: int) -> RunDir:
        """As `jobs.derive.derive`."""
        from whisperslim.jobs.derive import derive

        return derive(run, removed, zeroed, recover_steps)

    def prediction(self, run: RunDir, removed: float, zeroed: float) -> "Prediction | None":
        """As `jobs.prediction.stored_prediction`."""
        from whisperslim.jobs.prediction import stored_prediction

        return stored_prediction(run, removed, zeroed)


def transcriber(name: str) -> Any:
    """A model ready to listen on this machine's processor."""
    from whisperslim.core.loading import load_model
    from whisperslim.engines.torch_engine import TorchTranscriber
    from whisperslim.speech.window import parse_window

    return TorchTranscriber(load_model(name), parse_window("fit"))


def _version(name: str) -> str:
    """Changes when a folder's weights do, so that a model trained anew is loaded anew."""
    file = Path(name) / "model.safetensors"
    return str(file.stat().st_mtime_ns) if file.is_file() else ""
