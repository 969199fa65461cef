"""How many feature frames a clip gets, and where a long recording is cut.

Stock Whisper pads every clip to 30 s. A window fitted to the audio does the same work on less.
What a model hears at once at most, `InputSpec.max_frames`, bounds both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from whisperslim.errors import RecipeError, UsageError
from whisperslim.fields import check, option
from whisperslim.speech.audio.audio import (
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    SAMPLE_RATE,
    frame_levels,
)

WINDOW_KINDS = ("fit", "30s")
HEARING_KINDS = (*WINDOW_KINDS, "trim")
"""What `hearing_window` takes. A model is trained with silent ends; it can transcribe without."""
_PADDED_FRAMES = 30 * FRAMES_PER_SECOND  # of the window "30s"
# Windows of training batches are whole seconds, even ones from here on (our choice). Matrix kernels
# are made, and kept in memory, for every length that occurs: some 60 MB each for Whisper-base in
# bf16.
_EVEN_SECONDS_FROM, _SHORTEST_TRAINING_SECONDS = 10, 2
MIN_WINDOW_SECONDS = 1.0  # our choice: below it the decoder has almost nothing to attend to
_FRAME_STEP = 2  # windows have an even number of frames, as `Hearing.encode` takes them
_QUIETER_DB = 40.0  # below the loud parts: soft consonants are within 30 dB of vowels
_KEPT_SECONDS = 0.3  # before and after what is loud
_LASTING_FRAMES = 10  # 0.1 s
_SMOOTHING_FRAMES = 30  # 0.3 s: a stop consonant is quiet too, but not for so long


@dataclass(frozen=True)
class WindowPolicy:
    """Feature length for a clip: fitted to its audio, or padded to 30 s as stock Whisper does.

    A model that hears less than 30 s at once gets as much as it hears. The fitted window is our
    choice, not a paper's. The weights have to be trained on it.
    """

    kind: str = option(
        "fit",
        "Length of the model's input: fitted to the audio (fast), or always 30 s (stock Whisper).",
        label="Window",
        choices=WINDOW_KINDS,
    )
    margin_seconds: float = option(
        0.4,
        "Silence kept after the audio in a fitted window.",
        unit="s",
        label="Window margin",
        minimum=0.0,
        maximum=5.0,
        step=0.1,
    )
    step_seconds: float = option(
        0.5,
        "Fitted windows are multiples of this, so that few different lengths occur.",
        unit="s",
        label="Window step",
        minimum=0.02,
        maximum=10.0,
        step=0.02,
    )

    def __post_init__(self) -> None:
        check(self)
        if not math.isclose(self._step_frames, self.step_seconds * FRAMES_PER_SECOND):
            unit = _FRAME_STEP / FRAMES_PER_SECOND
            message = f"{self.step_seconds} is not a multiple of {unit:g} s (two frames)"
            raise RecipeError({"step_seconds": message})

    def frames_for(self, seconds: float, max_frames: int) -> int:
        """Feature frames (even, 100 per second) for `seconds` of audio; never over `max_frames`.

        Longer audio does not fit: cut it first (`cut_at_silences`). Raises `ValueError` when
        `seconds` is negative or not finite.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"not a length in seconds: {seconds}")
        # In whole samples, so that 5.6 + 0.4 is exactly 6 s and not a rounding error more.
        needed = round(max(MIN_WINDOW_SECONDS, seconds + self.margin_seconds) * SAMPLE_RATE)
        fitted = -(-needed // (self._step_frames * HOP_LENGTH)) * self._step_frames
        return min(max_frames, fitted if self.kind == "fit" else max(fitted, _PADDED_FRAMES))

    def training_frames_for(self, seconds: float, max_frames: int) -> int:
        """Frames of a training batch whose longest clip has `seconds`: one of few lengths.

        Never fewer than `frames_for`. What is longer than a clip's own window is silence.
        """
        frames = self.frames_for(seconds, max_frames)
        whole = max(_SHORTEST_TRAINING_SECONDS, -(-frames // FRAMES_PER_SECOND))
        if whole > _EVEN_SECONDS_FROM:
            whole += whole % 2
        return min(max_frames, whole * FRAMES_PER_SECOND)

    def heard_part(self, audio: np.ndarray, segment: "Segment") -> "Segment":
        """What of a segment of `audio` the model is given: here, all of it."""
        return segment

    def describe(self) -> str:
        """For reports: "fit(margin 0.4 s, step 0.5 s)" or "30 s"."""
        if self.kind == "30s":
            return f"{_PADDED_FRAMES // FRAMES_PER_SECOND} s"
        return f"fit(margin {self.margin_seconds:g} s, step {self.step_seconds:g} s)"

    @property
    def _step_frames(self) -> int:
        return _FRAME_STEP * round(self.step_seconds * FRAMES_PER_SECOND / _FRAME_STEP)


class TrimmedWindow(WindowPolicy):
    """A fitted window around what is loud: silence at both ends costs no time (our choice).

    Only for transcribing: recordings have pauses before and after, and so has training data.
    """

    def heard_part(self, audio: np.ndarray, segment: "Segment") -> "Segment":
        """The segment without its silent ends, or all of it where nothing stands out."""
        return without_silent_ends(audio, segment)

    def describe(self) -> str:
        """For reports: "trim(below -40 dB, 0.3 s kept; margin 0.4 s, step 0.5 s)"."""
        kept = f"below -{_QUIETER_DB:g} dB, {_KEPT_SECONDS:g} s kept"
        return f"trim({kept}; margin {self.margin_seconds:g} s, step {self.step_seconds:g} s)"


def parse_window(kind: str) -> WindowPolicy:
    """The policy of that name with its usual margin and step. Raises `UsageError`."""
    return WindowPolicy(kind=_known(kind, WINDOW_KINDS))


def hearing_window(kind: str) -> WindowPolicy:
    """As `parse_window`, for transcribing alone: `trim` is accepted, too. Raises `UsageError`."""
    known = _known(kind, HEARING_KINDS)
    return TrimmedWindow() if known == "trim" else WindowPolicy(kind=known)


def _known(kind: str, kinds: Sequence[str]) -> str:
    if kind not in kinds:
        raise UsageError(f"{kind!r} is not a window here; choose one of: {', '.join(kinds)}")
    return kind


@dataclass(frozen=True)
class Segment:
    """Samples `start` (included) to `end` (excluded) of a 16 kHz recording."""

    start: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / SAMPLE_RATE

    def of(self, audio: np.ndarray) -> np.ndarray:
        """The segment's own samples, a view. `is_silent(segment.of(audio))` finds silent ones."""
        return audio[self.start : self.end]


def cut_at_silences(audio: np.ndarray, max_seconds: float) -> list[Segment]:
    """Segments of at most `max_seconds` that cover the recording without gap or overlap.

    Each cut is at the quietest 0.3 s in the later half of the allowed stretch (our choice), and
    leaves no tiny segment at the end. Linear in the length. Raises `UsageError` when `max_seconds`
    is below 1 or not finite.
    """
    if not MIN_WINDOW_SECONDS <= max_seconds < math.inf:
        raise UsageError(
            f"segments of {max_seconds} s; at least {MIN_WINDOW_SECONDS:g} s is needed"
        )
    longest = int(max_seconds * FRAMES_PER_SECOND)
    if len(audio) <= longest * HOP_LENGTH:
        return [Segment(0, len(audio))] if len(audio) else []
    loudness = _smoothed(frame_levels(audio))
    cuts = [0]
    while len(audio) - cuts[-1] * HOP_LENGTH > longest * HOP_LENGTH:
        cuts.append(_next_cut(loudness, cuts[-1], longest))
    edges = [cut * HOP_LENGTH for cut in cuts] + [len(audio)]
    return [Segment(start, end) for start, end in pairwise(edges)]


def without_silent_ends(audio: np.ndarray, segment: Segment) -> Segment:
    """The segment from shortly before its first loud frame to shortly after its last.

    Loud is what stays within 40 dB of the segment's own loud parts, its 95th percentile, for 50 ms
    in all of any 100 ms, which a click does not. So a noisy room, whose noise is that loud, keeps
    all.
    """
    levels = frame_levels(segment.of(audio))
    if len(levels) < _LASTING_FRAMES:
        return segment
    loud = levels > np.percentile(levels, 95) - _QUIETER_DB
    lasting = np.convolve(loud, np.ones(_LASTING_FRAMES), mode="same") >= _LASTING_FRAMES / 2
    places = np.flatnonzero(lasting & loud)
    if not len(places):
        return segment
    kept = round(_KEPT_SECONDS * SAMPLE_RATE)
    start = segment.start + max(0, int(places[0]) * HOP_LENGTH - kept)
    end = segment.start + (int(places[-1]) + 1) * HOP_LENGTH + kept
    return Segment(start, min(segment.end, end))


def _next_cut(loudness: np.ndarray, start: int, longest: int) -> int:
    """Frame of the quietest place, the latest of equals, that leaves a usable rest."""
    earliest = start + longest // 2
    latest = min(start + longest, len(loudness) - longest // 8)
    later_half = loudness[earliest : latest + 1]
    return earliest + len(later_half) - 1 - int(np.argmin(later_half[::-1]))


def _smoothed(levels: np.ndarray) -> np.ndarray:
    """Mean level in dB around the start of each frame, same length."""
    reach = _SMOOTHING_FRAMES // 2
    sums = np.cumsum(np.pad(levels.astype(np.float64), (reach, reach), mode="edge"))
    sums = np.concatenate([[0.0], sums])
    return ((sums[2 * reach :] - sums[: -2 * reach]) / (2 * reach))[: len(levels)]
