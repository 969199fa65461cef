"""The load test: its arithmetic, and another's library behind our server."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engines.served_peer import Peer
from benchmarks.engines.serving import Tally, _asked
from benchmarks.systems.opening import Heard, Opened
from tests.server.scripted import opened, serving, tone, wav
from whisperslim.server.app import Bounds
from whisperslim.speech.audio.window import WindowPolicy


def test_a_tally_has_the_middle_and_the_twentieth_slowest() -> None:
    tally = Tally([float(n) for n in range(1, 101)], audio=50.0, refusals=3, lost=["gone"])
    found = tally.record(wall=25.0)
    assert (found["answered"], found["lost"], found["lost_said"]) == (100, 1, ["gone"])
    assert found["audio_seconds_per_second"] == 2.0 and found["refused_and_tried_again"] == 3
    assert (found["median_seconds"], found["p95_seconds"]) == (51.0, 96.0)
    assert "median_seconds" not in Tally(lost=["gone"]).record(wall=1.0)


def test_another_library_is_given_the_whole_recording_and_no_padding() -> None:
    given: list[np.ndarray] = []

    def listen(audio: np.ndarray) -> Heard:
        given.append(audio)
        return Heard("said", None, None)

    peer = Peer(Opened(listen, "a peer", 7), "hi", WindowPolicy())
    assert peer.transcribe(tone(40.0), "hi").text == "said"
    (audio,) = given
    np.testing.assert_array_equal(audio, tone(40.0))
    with pytest.raises(ValueError, match="hi"):
        peer.transcribe(tone(1.0), "mr")


def test_nothing_is_lost_when_the_queue_overflows(tmp_path: Path) -> None:
    clips = []
    for seconds in (0.5, 0.6):
        clips.append(tmp_path / f"{seconds}.wav")
        clips[-1].write_bytes(wav(seconds))
    with serving(opened(), Bounds(waiting=2)) as (_, url):
        found = asyncio.run(_asked(url, clips, clients=20, rounds=2))
    assert (found["answered"], found["lost"], found["other_text_than_alone"]) == (40, 0, 0)
