"""What a model is given of a recording, in terms that audio and models share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InputSpec:
    """The numbers that stand for a stretch of sound, as a model wants them.

    Attributes:
        kind: `log_mel`: Whisper's features, `(bands, frames)`, 100 frames per second; `samples`:
            the sound itself at 16 kHz, `(160 * frames,)`.
        bands: Mel bands; 0 for samples.
        max_frames: The longest stretch heard at once, in frames of 10 ms; even.
    """

    kind: str
    bands: int
    max_frames: int

    @property
    def max_seconds(self) -> float:
        """The longest stretch heard at once."""
        return self.max_frames / 100

    def describe(self) -> str:
        """For messages: "80 mel bands" or "samples"."""
        return f"{self.bands} mel bands" if self.kind == "log_mel" else self.kind
