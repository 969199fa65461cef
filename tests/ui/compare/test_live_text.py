"""Text while somebody speaks: calls of the page's script, on one side and on both."""

import base64
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from tests.ui.compare.test_compare import BASE, FakeSession, Listener
from whisperslim.engines.live.text import Partial
from whisperslim.errors import AudioError, UsageError
from whisperslim.jobs.run.folder import RunDir
from whisperslim.ui.compare import live_text
from whisperslim.ui.compare.fields import lay_out_compare
from whisperslim.ui.compare.live_text import Previews, _answered, previews_of
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.side_choice import SideChoice


def piece(samples: int) -> str:
    return base64.b64encode(np.zeros(samples, "<i2").tobytes()).decode()


def test_a_preview_from_begin_to_end(app: AppContext, listener: Listener, run: RunDir) -> None:
    previews = previews_of(app)
    asked = {"slim": run.name, "engine": "torch", "language": "hi", "rate": 16_000}
    key = previews.begin(asked)["key"]
    assert listener.previewed == [(SideChoice(str(run.slim_path)), "hi")]
    found = previews.feed({"key": key, "pcm": piece(4000)})
    assert found == {"kept": "kept", "now": "4000", "state": "listening"}
    assert previews.feed({"key": key, "pcm": piece(100_000)})["state"] == "full"
    assert previews.end({"key": key})["now"] == "last"
    with pytest.raises(UsageError, match="ended"):
        previews.feed({"key": key, "pcm": piece(1)})


def test_a_preview_asked_for_before_the_lists_have_come_is_of_what_they_offer(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    previews_of(app).begin({"slim": None, "engine": None, "language": "hi", "rate": 16_000})
    assert [side.path for side, _ in listener.previewed] == [str(run.slim_path)]


def test_previews_share_nothing_and_are_bounded(app: AppContext) -> None:
    now = [0.0]
    previews = Previews(lambda *given: FakeSession(), clock=lambda: now[0])
    keys = [previews.begin({"rate": 48_000})["key"] for _ in range(8)]
    assert len(set(keys)) == 8
    previews.feed({"key": keys[0], "pcm": piece(4800)})
    assert previews.feed({"key": keys[1], "pcm": piece(0)})["now"] == "0"
    with pytest.raises(UsageError, match="the most"):
        previews.begin({"rate": 48_000})
    now[0] = 20.0
    previews.feed({"key": keys[0], "pcm": ""})
    now[0] = 40.0
    previews.begin({"rate": 48_000})
    assert previews.feed({"key": keys[0], "pcm": ""})["state"] == "listening"
    with pytest.raises(UsageError, match="ended"):
        previews.feed({"key": keys[1], "pcm": ""})


class OneAtATime(FakeSession):
    """Counts the calls that came while another was in it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Lock()
        self.overlaps = 0

    def hold(self) -> None:
        if not self.inside.acquire(blocking=False):
            self.overlaps += 1
            return
        time.sleep(0.02)
        self.inside.release()

    def feed(self, audio: np.ndarray, wait: float = 0.0) -> Partial:
        self.hold()
        return super().feed(audio, wait)

    def close(self) -> Partial:
        self.hold()
        return super().close()


def test_calls_that_come_at_once_take_turns() -> None:
    session = OneAtATime()
    previews = Previews(lambda *given: session)
    key = previews.begin({"rate": 44_100})["key"]
    asked = {"key": key, "pcm": piece(4410)}
    with ThreadPoolExecutor(8) as pool:
        fed = list(pool.map(lambda _: _answered(previews.feed, asked), range(16)))
        ends = [pool.submit(_answered, previews.end, asked) for _ in range(2)]
        late = list(pool.map(lambda _: _answered(previews.feed, asked), range(4)))
    assert {each["state"] for each in fed} == {"listening"} and session.overlaps == 0
    reported = sorted(each.result().get("state", "refused") for each in ends)
    assert reported == ["ended", "refused"], "a preview ends once"
    assert all(each.get("state") == "listening" or "ended" in each["error"] for each in late)


@pytest.mark.parametrize("asked", [None, 3, "x", [], {}, {"key": 5}, {"key": ["a"]}])
def test_hostile_calls_get_a_sentence(app: AppContext, asked: Any) -> None:
    previews = previews_of(app)
    for act in (previews.begin, previews.feed, previews.end):
        assert set(_answered(act, asked)) == {"error"}


@pytest.mark.parametrize("pcm", [None, 5, "no base64!", "AAA", "A" * 3_000_000, ["AAAA"]])
def test_unusable_sound_gets_a_sentence(pcm: Any) -> None:
    previews = Previews(lambda *given: FakeSession())
    key = previews.begin({"rate": 48_000})["key"]
    assert "error" in _answered(previews.feed, {"key": key, "pcm": pcm})


@pytest.mark.parametrize("rate", [None, 0, -1, 10**9, "48000", 48_000.5, True])
def test_unusable_rates_get_a_sentence(rate: Any) -> None:
    previews = Previews(lambda *given: FakeSession())
    assert "error" in _answered(previews.begin, {"rate": rate})


def test_the_script_is_part_of_the_page(app: AppContext) -> None:
    with gr.Blocks():
        tab = lay_out_compare(app)
    assert tab.live.value is True
    script = Path(live_text._SCRIPT).read_text("utf-8")
    for name in ("begin", "feed", "end"):
        assert f"server.{name}(" in script
    assert "innerHTML" not in script, "text of a model must not become markup"


# --- the dense model beside it ----------------------------------------------------------------

RATE = {"language": "hi", "rate": 16_000}


def test_both_models_hear_the_same_sound(app: AppContext, listener: Listener, run: RunDir) -> None:
    previews = previews_of(app)
    dense = {"dense": BASE, "dense_engine": "torch", "dense_window": "30s"}
    key = previews.begin({"slim": run.name, "engine": "torch", **dense, **RATE})["key"]
    slim_side, dense_side = SideChoice(str(run.slim_path)), SideChoice(BASE, "30s")
    assert listener.previewed == [(slim_side, "hi")], "the dense side must not delay the first word"
    found = previews.feed({"key": key, "pcm": piece(4000)})
    assert listener.previewed == [(slim_side, "hi"), (dense_side, "hi")]
    assert found["now"] == "4000" and found["dense"] == {"kept": "kept", "now": "4000"}
    assert previews.end({"key": key})["dense"]["now"] == "last"


def test_the_dense_model_waits_for_the_first_word_and_then_hears_all() -> None:
    slim, dense = FakeSession(), FakeSession()
    slim.feed = lambda audio, wait=0.0: Partial("", "")  # type: ignore[method-assign]
    previews = Previews(lambda *given: slim, lambda given: dense)
    key = previews.begin({"dense": "d", "rate": 16_000})["key"]
    for _ in range(3):
        assert "dense" not in previews.feed({"key": key, "pcm": piece(100)})
    del slim.feed
    found = previews.feed({"key": key, "pcm": piece(50)})
    assert found["dense"]["now"] == "350" and dense.samples == 350
    previews.feed({"key": key, "pcm": piece(50)})
    assert dense.samples == 400


def test_what_waits_for_the_dense_model_does_not_grow_for_ever() -> None:
    slim, dense = FakeSession(), FakeSession()
    slim.feed = lambda audio, wait=0.0: Partial("", "", full=True)  # type: ignore[method-assign]
    previews = Previews(lambda *given: slim, lambda given: dense)
    key = previews.begin({"dense": "d", "rate": 16_000})["key"]
    for _ in range(3):
        previews.feed({"key": key, "pcm": piece(100)})
    assert previews._open[key].unheard == []


def test_a_dense_model_that_is_too_slow_writes_once_in_each_recording() -> None:
    begun = []

    def begin_dense(given: Any) -> Any:
        begun.append(given["dense"])
        return FakeSession(pass_seconds=2.25)

    previews = Previews(lambda *given: FakeSession(), begin_dense)
    for _ in range(2):
        key = previews.begin({"dense": "d", "rate": 16_000})["key"]
        first = previews.feed({"key": key, "pcm": piece(100)})["dense"]
        assert "2.2 s behind" in first["note"] and first["now"] == "100", (
            "its text is there to stay"
        )
        assert "now" not in previews.feed({"key": key, "pcm": piece(100)})["dense"]
    assert begun == ["d", "d"]


def test_how_far_the_dense_text_is_behind_is_said() -> None:
    dense = FakeSession()
    heard = [Partial("", "a", 9.0, 5.0, True), Partial("", "a", 9.0, 8.0, True),
             Partial("", "a", 9.0, 5.0, False)]  # fmt: skip
    dense.feed = lambda audio, wait=0.0: heard.pop(0)  # type: ignore[method-assign]
    previews = Previews(lambda *given: FakeSession(), lambda given: dense)
    key = previews.begin({"dense": "d", "rate": 16_000})["key"]
    found = [previews.feed({"key": key, "pcm": piece(100)})["dense"] for _ in range(3)]
    assert found[0]["note"] == "4 s behind"
    assert "note" not in found[1], "a second is no delay"
    assert "note" not in found[2], "silence is not waited for"


def test_a_dense_model_that_must_be_fetched_first_is_left_out(
    app: AppContext, listener: Listener, run: RunDir
) -> None:
    listener.missing = True
    previews = previews_of(app)
    dense = {"dense": BASE, "dense_engine": "torch", "dense_window": "30s"}
    key = previews.begin({"slim": run.name, "engine": "torch", **dense, **RATE})["key"]
    found = previews.feed({"key": key, "pcm": piece(4000)})
    assert found["now"] == "4000" and "press Compare once" in found["dense"]["note"]
    assert len(listener.previewed) == 1


def test_a_slow_dense_model_stops_and_the_slim_one_goes_on() -> None:
    slow = FakeSession(pass_seconds=2.25)
    previews = Previews(lambda *given: FakeSession(), lambda given: slow)
    key = previews.begin({"dense": "d", "rate": 16_000})["key"]
    assert "2.2 s" in previews.feed({"key": key, "pcm": piece(100)})["dense"]["note"]
    assert slow.closed
    again = previews.feed({"key": key, "pcm": piece(100)})
    assert again["now"] == "200" and "continues alone" in again["dense"]["note"]
    assert slow.samples == 100 and "dense" not in previews.end({"key": key})


def test_an_error_of_the_dense_model_is_reported_and_the_slim_one_goes_on() -> None:
    class Failing(FakeSession):
        def feed(self, audio: np.ndarray, wait: float = 0.0) -> Any:
            raise AudioError("no sound")

    previews = Previews(lambda *given: FakeSession(), lambda given: Failing())
    key = previews.begin({"dense": "d", "rate": 16_000})["key"]
    found = previews.feed({"key": key, "pcm": piece(100)})
    assert found["now"] == "100" and found["dense"] == {"note": "no sound"}
