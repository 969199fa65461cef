"""One side of a comparison: a model and what it runs in."""

from dataclasses import dataclass

from whisperslim.engines import registry
from whisperslim.exported.bounds import OWN_SCRIPT


@dataclass(frozen=True)
class SideChoice:
    """A model and how it is run.

    Attributes:
        path: What `open_transcriber` takes: a model's name or folder, or an export's folder.
        window: `fit` or `30s`.
        engine: `registry.OWN`, or the engine of an export; one that is made from `path` when `path`
            is not an export.
        quantize: Of that engine.
        script: `own`: its texts are limited to the script of their language; or `any`.
    """

    path: str
    window: str = "fit"
    engine: str = registry.OWN
    quantize: str = registry.FULL
    script: str = "any"

    @property
    def runs_in(self) -> str:
        """Engine and precision as text."""
        precision = "fp32" if self.quantize == registry.FULL else self.quantize
        return f"{registry.title(self.engine)} {precision}"

    @property
    def window_words(self) -> str:
        """Its window as text."""
        return "a 30 s window" if self.window == "30s" else "a window fitted to the recording"

    @property
    def hears_in(self) -> str:
        """Its window as text, and the script its texts are limited to."""
        return f"{self.window_words}, {OWN_SCRIPT}" if self.script == "own" else self.window_words
