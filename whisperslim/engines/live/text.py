"""Text while somebody is still speaking: a preview, never the result.

Speech since the last pause is transcribed again and again; a pause of half a second closes a
stretch, whose text then stays. The rules are our choice. A recording's transcript comes from the
complete recording, not from here.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from whisperslim.engines.base import check_audio
from whisperslim.engines.live.voice import FRAME_SAMPLES, VoiceDetector
from whisperslim.fields import check, option
from whisperslim.speech.audio.audio import SAMPLE_RATE
from whisperslim.speech.audio.window import cut_at_silences

_LEAD_SECONDS = 0.3  # kept before the first frame with voice: soft openings are missed by it
_TAIL_SECONDS = 0.2  # kept after the last one
_LONGEST_HOP = 3.0  # seconds; one slow pass, say of a busy machine, must not silence the preview


@dataclass(frozen=True)
class LiveOptions:
    """When speech that goes on is transcribed."""

    pause_seconds: float = option(
        0.5, "A pause this long ends a stretch; its text stays.", unit="s", minimum=0.1, maximum=5.0
    )
    voice_threshold: float = option(
        0.5, "Speech begins at this probability.", minimum=0.05, maximum=0.95
    )
    rest_threshold: float = option(
        0.35, "Speech goes on down to this probability.", minimum=0.0, maximum=0.95
    )
    first_seconds: float = option(
        0.4, "Speech needed before the first text.", unit="s", minimum=0.1, maximum=5.0
    )
    least_seconds: float = option(
        0.2, "A stretch with less speech is a click and gets no text.", unit="s", minimum=0.0,
        maximum=2.0,
    )  # fmt: skip
    hop_seconds: float = option(
        0.3, "New sound needed before the text is made again.", unit="s", minimum=0.1, maximum=3.0
    )
    headroom: float = option(
        1.5, "New sound needed, in times of what the last pass took.", minimum=1.0, maximum=10.0
    )
    stretch_seconds: float = option(
        12.0, "Speech without a pause is cut at a quiet place after this.", unit="s", minimum=2.0,
        maximum=28.0,
    )  # fmt: skip
    max_seconds: float = option(
        120.0, "What comes after this is not previewed.", unit="s", minimum=1.0, maximum=3600.0
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Partial:
    """What is known so far.

    Attributes:
        committed: Text of the stretches that have ended.
        tentative: Text of the one still spoken; the next one may differ.
        audio_seconds: Sound fed so far.
        heard_seconds: Sound up to which the text covers all speech.
        speaking: Whether there was voice within the last pause's length.
        full: Whether the limit on length was reached; later sound is left out.
    """

    committed: str = ""
    tentative: str = ""
    audio_seconds: float = 0.0
    heard_seconds: float = 0.0
    speaking: bool = False
    full: bool = False

    @property
    def text(self) -> str:
        """Both texts."""
        return " ".join(part for part in (self.committed, self.tentative) if part)


@dataclass
class _Stretch:
    """Speech between two pauses: frames of 32 ms, and for each whether it has voice."""

    start: int  # frame of the recording
    frames: list[np.ndarray] = field(default_factory=list)
    voiced: list[bool] = field(default_factory=list)
    closed: bool = False
    heard: int = 0  # frames that `text` was made of
    text: str = ""

    @property
    def voiced_end(self) -> int:
        """Frames up to and with the last one that has voice."""
        return len(self.voiced) - next(
            (i for i, has_voice in enumerate(reversed(self.voiced)) if has_voice), len(self.voiced)
        )

    @property
    def all_heard(self) -> bool:
        return self.heard >= max(1, self.voiced_end)


class LiveText:
    """Preview of one recording: `feed` takes sound, `work` makes text, `partial` returns it.

    One thread may feed while another works. Holds the sound that still needs text and no more:
    after `work` has caught up, at most a stretch (12 s, under 1 MB).
    """

    def __init__(
        self,
        hear: Callable[[np.ndarray], str],
        detector: VoiceDetector,
        options: LiveOptions = LiveOptions(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`hear` makes text of 16 kHz speech; `clock` gives seconds and times it."""
        self._hear, self._detector, self._options, self._clock = hear, detector, options, clock
        self._lock = threading.Lock()
        self._rest = np.zeros(0, np.float32)  # less than a frame
        self._lead: deque[np.ndarray] = deque(maxlen=_frames(_LEAD_SECONDS))
        self._stretches: deque[_Stretch] = deque()
        self._committed: list[str] = []
        self._frames_seen = 0
        self._hop = options.hop_seconds
        self._has_voice = False
        self._ended = False

    def feed(self, audio: np.ndarray) -> None:
        """Take the next sound: mono float32 at 16 kHz, any length, 0 included. Does not wait.

        Raises `AudioError` for anything else. Sound over the limit is left out.
        """
        if isinstance(audio, np.ndarray) and audio.shape == (0,):
            return
        check_audio(audio)
        with self._lock:
            sound = np.concatenate([self._rest, audio])
            whole = len(sound) // FRAME_SAMPLES * FRAME_SAMPLES
            self._rest = sound[whole:].copy()
            for frame in sound[:whole].reshape(-1, FRAME_SAMPLES):
                if self._ended:
                    return
                self._take(frame.copy())

    def finish(self) -> None:
        """End the sound: the last stretch is closed, so that `work` makes its text."""
        with self._lock:
            self._end()

    def work(self) -> bool:
        """Make one text if it is time for one; returns whether it did. Takes as long as the model
        does."""
        with self._lock:
            stretch = self._due()
            if stretch is None:
                return False
            count = len(stretch.frames)
            sound = np.concatenate(stretch.frames)
        started = self._clock()
        text = self._hear(sound)
        took = self._clock() - started
        with self._lock:
            stretch.text, stretch.heard = text, count
            wanted = max(self._options.hop_seconds, self._options.headroom * took)
            self._hop = min(_LONGEST_HOP, wanted)
            self._commit()
        return True

    def is_due(self) -> bool:
        """Whether `work` has something to do."""
        with self._lock:
            return self._due() is not None

    def partial(self) -> Partial:
        """What is known so far."""
        with self._lock:
            unheard = next((s for s in self._stretches if not s.all_heard), None)
            until = self._frames_seen if unheard is None else unheard.start + unheard.heard
            speaking = bool(self._stretches) and not self._stretches[-1].closed
            return Partial(
                committed=" ".join(self._committed),
                tentative=" ".join(s.text for s in self._stretches if s.text),
                audio_seconds=_seconds(self._frames_seen),
                heard_seconds=_seconds(until),
                speaking=speaking,
                full=self._frames_seen >= _frames(self._options.max_seconds),
            )

    def _take(self, frame: np.ndarray) -> None:
        self._frames_seen += 1
        options = self._options
        bound = options.rest_threshold if self._has_voice else options.voice_threshold
        self._has_voice = self._detector.probability(frame) >= bound
        last = self._stretches[-1] if self._stretches else None
        if last is not None and not last.closed:
            self._lengthen(last, frame)
        elif self._has_voice:
            self._begin(frame)
        else:
            self._lead.append(frame)
        if self._frames_seen >= _frames(options.max_seconds):
            self._end()

    def _begin(self, frame: np.ndarray) -> None:
        frames = [*self._lead, frame]
        self._lead.clear()
        voiced = [False] * (len(frames) - 1) + [True]
        self._stretches.append(_Stretch(self._frames_seen - len(frames), frames, voiced))

    def _lengthen(self, stretch: _Stretch, frame: np.ndarray) -> None:
        stretch.frames.append(frame)
        stretch.voiced.append(self._has_voice)
        quiet = len(stretch.frames) - stretch.voiced_end
        if quiet >= _frames(self._options.pause_seconds):
            self._close(stretch)
        elif len(stretch.frames) > _frames(self._options.stretch_seconds):
            self._cut(stretch)

    def _close(self, stretch: _Stretch) -> None:
        end = min(len(stretch.frames), stretch.voiced_end + _frames(_TAIL_SECONDS))
        self._lead.extend(stretch.frames[end:])
        del stretch.frames[end:], stretch.voiced[end:]
        stretch.closed = True
        if sum(stretch.voiced) < _frames(self._options.least_seconds):
            self._stretches.remove(stretch)
        self._commit()

    def _cut(self, stretch: _Stretch) -> None:
        """Split a stretch that has no pause in two; a pass that runs on it counts for neither."""
        sound = np.concatenate(stretch.frames)
        longest = self._options.stretch_seconds
        at = max(1, cut_at_silences(sound, longest)[0].end // FRAME_SAMPLES)
        first = _Stretch(
            stretch.start, stretch.frames[:at], stretch.voiced[:at], True, 0, stretch.text
        )
        rest = _Stretch(stretch.start + at, stretch.frames[at:], stretch.voiced[at:])
        self._stretches.remove(stretch)
        self._stretches.extend([first, rest])

    def _end(self) -> None:
        if self._stretches and not self._stretches[-1].closed:
            self._close(self._stretches[-1])
        self._ended = True

    def _due(self) -> _Stretch | None:
        """The oldest stretch that needs a text now."""
        for stretch in self._stretches:
            if stretch.closed or self._has_new(stretch):
                return stretch
        return None

    def _has_new(self, stretch: _Stretch) -> bool:
        if not stretch.heard:
            return sum(stretch.voiced) >= _frames(self._options.first_seconds)
        new = len(stretch.frames) - stretch.heard
        return not stretch.all_heard and new >= _frames(self._hop)

    def _commit(self) -> None:
        while self._stretches and self._stretches[0].closed and self._stretches[0].all_heard:
            text = self._stretches.popleft().text
            if text:
                self._committed.append(text)


def _frames(seconds: float) -> int:
    """Frames of the detector in that time, at least one."""
    return max(1, round(seconds * SAMPLE_RATE / FRAME_SAMPLES))


def _seconds(frames: int) -> float:
    return frames * FRAME_SAMPLES / SAMPLE_RATE
