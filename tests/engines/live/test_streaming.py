"""Text while speaking: stretches, pauses and hops on a fake clock, with a fake detector."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whisperslim.engines.live.session import LiveSession
from whisperslim.engines.live.text import LiveOptions, LiveText
from whisperslim.engines.live.voice import FRAME_SAMPLES
from whisperslim.errors import AudioError, RecipeError, UsageError
from whisperslim.speech.audio.audio import SAMPLE_RATE

FRAME = FRAME_SAMPLES / SAMPLE_RATE  # 32 ms


class Loudness:
    """A detector that takes everything loud for speech."""

    def probability(self, frame: np.ndarray) -> float:
        return float(np.abs(frame).max() > 0.05)


class Fake:
    """A model that takes `takes` seconds, and says how long what it heard was."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes, self.now = takes, 0.0
        self.heard: list[float] = []

    def __call__(self, sound: np.ndarray) -> str:
        assert sound.dtype == np.float32 and sound.ndim == 1
        self.now += self.takes
        self.heard.append(len(sound) / SAMPLE_RATE)
        return f"w{len(self.heard)}"

    def clock(self) -> float:
        return self.now


def live(model: Fake, **options: Any) -> LiveText:
    return LiveText(model, Loudness(), LiveOptions(**options), model.clock)


def voice(seconds: float) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.3 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def stream(text: LiveText, sound: np.ndarray, chunk: float = 0.1) -> None:
    """Feed in chunks, working off what is due after each."""
    step = round(chunk * SAMPLE_RATE)
    for start in range(0, len(sound), step):
        text.feed(sound[start : start + step])
        while text.work():
            pass


def test_silence_never_reaches_the_model() -> None:
    model = Fake()
    text = live(model)
    stream(text, quiet(10.0))
    text.finish()
    assert not text.work() and model.heard == []
    assert text.partial().text == ""
    assert (
        text.partial().heard_seconds == text.partial().audio_seconds == pytest.approx(10, abs=0.04)
    )


def test_first_text_comes_after_the_least_speech_it_needs() -> None:
    model = Fake()
    text = live(model, first_seconds=0.4)
    stream(text, np.concatenate([quiet(1.0), voice(0.3)]))
    assert model.heard == []
    stream(text, voice(0.2))
    assert len(model.heard) == 1
    assert abs(model.heard[0] - 0.7) <= 0.1 + FRAME  # 0.4 s and the lead; chunks of 0.1 s
    assert text.partial().tentative == "w1" and text.partial().committed == ""
    assert text.partial().speaking


def test_pause_commits_and_speech_after_it_is_a_new_stretch() -> None:
    model = Fake()
    text = live(model, pause_seconds=0.5)
    stream(text, np.concatenate([voice(2.0), quiet(0.4)]))
    assert text.partial().committed == ""
    stream(text, quiet(0.2))
    first = text.partial()
    assert first.committed == f"w{len(model.heard)}" and first.tentative == ""
    assert not first.speaking
    stream(text, np.concatenate([quiet(1.0), voice(1.0)]))
    assert max(model.heard) <= 2.0 + 0.3, "a new stretch does not hear the one before again"
    assert text.partial().committed == first.committed
    assert text.partial().text == f"{first.committed} w{len(model.heard)}"


def test_committed_text_heard_the_whole_stretch() -> None:
    model = Fake()
    text = live(model)
    stream(text, np.concatenate([voice(1.5), quiet(0.7)]))
    assert model.heard[-1] >= 1.5 - FRAME
    assert model.heard == sorted(model.heard)


@pytest.mark.parametrize(("takes", "gap"), [(0.0, 0.3), (0.1, 0.3), (0.4, 0.6), (1.0, 1.5)])
def test_hops_follow_what_a_pass_takes(takes: float, gap: float) -> None:
    model = Fake(takes)
    text = live(model, hop_seconds=0.3, headroom=1.5, stretch_seconds=28.0)
    stream(text, voice(8.0), chunk=0.05)
    gaps = np.diff(model.heard)
    assert gaps.min() >= gap - FRAME / 2
    assert gaps.max() <= gap + 0.05 + FRAME
    # Never more work than time passes, the very first pass apart.
    assert model.now - takes <= 8.0


def test_one_slow_pass_does_not_silence_the_preview() -> None:
    model = Fake(takes=60.0)
    text = live(model)
    stream(text, voice(0.5))
    model.takes = 0.0
    stream(text, voice(3.5))
    assert len(model.heard) >= 2


def test_nothing_new_is_not_heard_again() -> None:
    model = Fake()
    text = live(model, pause_seconds=5.0)
    stream(text, np.concatenate([voice(1.0), quiet(4.0)]))
    heard = list(model.heard)
    stream(text, quiet(0.8))
    assert model.heard == heard


def test_a_click_gets_no_text() -> None:
    model = Fake()
    text = live(model, least_seconds=0.2)
    stream(text, np.concatenate([quiet(1.0), voice(0.1), quiet(2.0)]))
    assert model.heard == [] and text.partial().text == ""


def test_speech_without_a_pause_is_cut_where_it_is_quiet() -> None:
    model = Fake()
    text = live(model, stretch_seconds=6.0)
    # The only quiet place, too short for a pause, is at 4.0 to 4.3 s.
    sound = np.concatenate([voice(4.0), 0.0 * voice(0.3), voice(4.0)])
    stream(text, sound)
    text.finish()
    while text.work():
        pass
    assert max(model.heard) <= 6.0 + 0.1 + FRAME
    assert any(4.0 <= length <= 4.3 + FRAME for length in model.heard)
    assert len(text.partial().committed.split()) == 2


def test_memory_is_a_stretch_however_long_one_speaks() -> None:
    text = live(Fake(), stretch_seconds=4.0, max_seconds=60.0)
    most = 0
    for _ in range(50):
        stream(text, voice(1.0))
        most = max(most, sum(len(s.frames) for s in text._stretches))
    assert most <= 4.2 / FRAME


def test_sound_over_the_limit_is_left_out() -> None:
    model = Fake()
    text = live(model, max_seconds=2.0)
    stream(text, voice(10.0))
    found = text.partial()
    assert found.full and found.audio_seconds == pytest.approx(2.0, abs=FRAME)
    assert found.committed and not text.work()
    passes = len(model.heard)
    stream(text, voice(1.0))
    assert len(model.heard) == passes


def test_end_of_the_recording_hears_the_last_words() -> None:
    model = Fake()
    text = live(model)
    text.feed(voice(0.3))
    assert not text.is_due()
    text.finish()
    assert text.work() and text.partial().committed == "w1"
    text.feed(voice(3.0))
    assert not text.is_due(), "what comes after the end is not taken"


def test_chunks_of_any_length_give_the_same_stretches() -> None:
    sound = np.concatenate([quiet(0.5), voice(1.2), quiet(0.8), voice(0.9), quiet(0.9)])
    found = []
    for chunk in (0.01, 0.25, 4.3):
        model = Fake()
        text = live(model)
        stream(text, sound, chunk)
        found.append(text.partial().audio_seconds)
        assert len(text.partial().committed.split()) == 2
    assert len(set(found)) == 1


def test_sound_that_comes_while_the_model_works_is_kept() -> None:
    model = Fake()
    text = live(model)

    def hear_and_feed(sound: np.ndarray) -> str:
        if not model.heard:
            text.feed(np.concatenate([voice(1.0), quiet(1.0)]))
        return model(sound)

    text._hear = hear_and_feed
    text.feed(voice(1.0))
    assert text.work()
    assert text.partial().tentative == "w1", "the pause came, but its words were not all heard"
    assert text.work()
    assert text.partial().committed == "w2" and model.heard[1] >= 2.0


def test_two_previews_share_nothing() -> None:
    one, two = live(Fake()), live(Fake())
    stream(one, voice(1.0))
    assert one.partial().text and two.partial().text == "" and two.partial().audio_seconds == 0


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros(10, np.int16),
        np.zeros((2, 10), np.float32),
        np.array([np.nan], np.float32),
        np.full(10, 300.0, np.float32),
        None,
    ],
)
def test_unusable_sound_is_refused(wrong: Any) -> None:
    text = live(Fake())
    with pytest.raises(AudioError):
        text.feed(wrong)
    text.feed(np.zeros(0, np.float32))


def test_unreasonable_options_are_refused() -> None:
    with pytest.raises(RecipeError, match="pause_seconds"):
        LiveOptions(pause_seconds=0.0)


# --- a session: feeding never waits -----------------------------------------------------------


class Lane(ThreadPoolExecutor):
    """Runs what it is given only when asked."""

    def __init__(self) -> None:
        super().__init__(1)
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, work: Callable[..., Any], *given: Any, **named: Any) -> Future[Any]:
        job: Future[Any] = Future()
        self.waiting.append((job, work))
        return job

    def run(self) -> None:
        for job, work in self.waiting:
            if job.set_running_or_notify_cancel():
                try:
                    job.set_result(work())
                except UsageError as error:
                    job.set_exception(error)
        self.waiting.clear()


def test_a_busy_lane_means_fewer_passes_and_no_backlog() -> None:
    lane, model, prepared = Lane(), Fake(), []
    session = LiveSession(live(model), lambda: prepared.append(True), lane)
    for _ in range(20):
        assert session.feed(voice(0.2)).text == ""
    assert len(lane.waiting) == 1 and not session.ready
    lane.run()
    assert prepared == [True]
    for _ in range(5):
        session.feed(voice(0.2))
    assert session.ready and len(lane.waiting) == 1
    lane.run()
    assert session.feed(voice(0.2)).text == "w1"
    assert len(model.heard) == 1 and model.heard[0] == pytest.approx(5.0, abs=FRAME)


def test_what_went_wrong_in_the_lane_is_reported() -> None:
    lane = Lane()

    def fail() -> None:
        raise UsageError("no such language")

    session = LiveSession(live(Fake()), fail, lane)
    session.feed(voice(0.2))
    lane.run()
    with pytest.raises(UsageError, match="no such language"):
        session.feed(voice(0.2))


def test_a_closed_session_takes_nothing_more() -> None:
    with ThreadPoolExecutor(1) as lane:
        model = Fake()
        session = LiveSession(live(model), lambda: None, lane)
        lane.submit(lambda: None).result()
        session.feed(voice(1.0))
        found = session.close()
        passes = len(model.heard)
        assert session.feed(voice(5.0)) == session.close()
        assert found.audio_seconds < 1.1 and len(model.heard) == passes


def test_closing_waits_for_the_pass_at_work() -> None:
    begun, go = threading.Event(), threading.Event()

    def hear(sound: np.ndarray) -> str:
        begun.set()
        go.wait(10)
        return "done"

    with ThreadPoolExecutor(1) as lane:
        session = LiveSession(LiveText(hear, Loudness()), lambda: None, lane)
        lane.submit(lambda: None).result()
        session.feed(voice(1.0))
        assert begun.wait(10)
        threading.Timer(0.05, go.set).start()
        assert session.close().text == "done"


# --- the real thing ---------------------------------------------------------------------------


@pytest.mark.real
def test_whisper_writes_while_a_demo_clip_is_still_spoken() -> None:
    from whisperslim.core.loading import load_model
    from whisperslim.engines.live.voice import SileroDetector
    from whisperslim.engines.torch_engine import TorchTranscriber
    from whisperslim.speech.audio.decoding import decode
    from whisperslim.speech.audio.window import WindowPolicy

    engine = TorchTranscriber(load_model("openai/whisper-base"), WindowPolicy())
    heard: list[np.ndarray] = []

    def hear(sound: np.ndarray) -> str:
        heard.append(sound)
        return engine.transcribe(sound).text

    demo = Path(__file__).parents[3] / "assets" / "demo_hi" / "audio" / "demo_000.ogg"
    clip, still = decode(demo), Fake()
    text = LiveText(hear, SileroDetector(), LiveOptions(), still.clock)
    stream(text, np.concatenate([quiet(1.0), clip[: len(clip) // 2]]), chunk=0.25)
    assert text.partial().tentative and not text.partial().committed
    stream(text, np.concatenate([clip[len(clip) // 2 :], quiet(1.0)]), chunk=0.25)
    found = text.partial()
    assert found.committed and found.tentative == ""
    assert found.committed.endswith(engine.transcribe(heard[-1]).text)
    # The clip has silence around its 2.8 s of speech; nothing else was heard as speech.
    assert 2.0 < len(heard[-1]) / SAMPLE_RATE < 3.775
