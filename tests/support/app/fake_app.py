"""An app whose acts are remembered instead of done."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.support.runs.fake_sizes import FakeResizing
from whisperslim.jobs.process.queue import Stopping
from whisperslim.jobs.run.folder import RunDir
from whisperslim.ui.context.cache import ModelCache
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.models import ModelSize
from whisperslim.ui.context.run_watch import RunWatch


@dataclass
class Acts:
    """Remembers what the app was asked to do."""

    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    def start(self, run: RunDir) -> int:
        self.started.append(run.name)
        return 1

    def stop(self, run: RunDir) -> Stopping:
        self.stopped.append(run.name)
        return Stopping.ASKED


def fake_app(runs: Path, acts: Acts) -> AppContext:
    """A context over `runs`: 1000 parameters in every model, a quarter of one group zeroed."""
    sizes = ModelCache(lambda name: ModelSize(1000, 600))
    zeros = ModelCache(lambda path: {"encoder.0.ffn": 0.25})
    return AppContext(RunWatch(runs), acts.start, acts.stop, sizes, zeros, resizing=FakeResizing())
