"""Sounds of clips that are stretches of a recording."""

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from whisperslim.errors import AudioError
from whisperslim.speech.corpus import clip_reader
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.clip_reader import ClipReader, stamp_of
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.corpus.parts import Cut
from whisperslim.speech.corpus.report import examine

RATE = 16_000
STEPS = np.arange(2 * RATE, dtype=np.int16)


@pytest.fixture
def clips(tmp_path: Path) -> list[Item]:
    """Two seconds whose samples count up, and two halves of them: the first, and the last."""
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(STEPS.tobytes())
    whole = Item("x", "x.wav", "एक", folder=tmp_path)
    return [whole, replace(whole, cut=Cut(0.0, 1.0)), replace(whole, cut=Cut(1.0, 1.0))]


def test_a_stretch_has_its_own_samples(clips: list[Item]) -> None:
    heard = [np.rint(ClipReader().samples(clip) * 32768).astype(int).tolist() for clip in clips]
    assert heard == [STEPS.tolist(), STEPS[:RATE].tolist(), STEPS[RATE:].tolist()]


def test_stretches_are_told_apart(clips: list[Item], tmp_path: Path) -> None:
    reader, cache = ClipReader(), AudioCache(tmp_path / "cache")
    assert len({stamp_of(clip) for clip in clips}) == len({reader.digest(c) for c in clips}) == 3
    for _ in range(2):  # decoded, then from the cache
        assert [len(cache.load(clip)) for clip in clips] == [2 * RATE, RATE, RATE]
        assert cache.load(clips[1])[-1] * 32768 == RATE - 1
    assert AudioCache(tmp_path / "cache").durations(clips) == [2.0, 1.0, 1.0]


def test_a_recording_is_decoded_once_for_all_its_stretches(
    clips: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    usual = clip_reader.of_data_set
    monkeypatch.setattr(
        clip_reader, "of_data_set", lambda path: decoded.append(path) or usual(path)
    )
    reader = ClipReader()
    for clip in clips[1:] * 3:
        reader.samples(clip)
    assert decoded == [clips[0].path]


def test_a_stretch_beyond_the_end_is_a_problem_of_that_clip(clips: list[Item]) -> None:
    beyond = replace(clips[0], key="beyond", cut=Cut(2.0, 1.0))
    with pytest.raises(AudioError, match=r"lasts 2\.0 s, .* begin at 2 s"):
        ClipReader().samples(beyond)
    report = examine([clips[1], beyond])
    assert [(p.key, p.kind) for p in report.problems if p.kind == "unreadable"] == [
        ("beyond", "unreadable")
    ]
    assert report.seconds == 1.0


def test_only_the_same_stretch_is_shared(clips: list[Item]) -> None:
    link = clips[0].path.with_name("link.wav")
    link.symlink_to(clips[0].path)
    other = [replace(clips[1], key="other", file="link.wav", text="दो")]
    shared = [p.key for p in examine(clips, against=other).problems if p.kind == "shared_audio"]
    assert shared == ["x"]  # three clips have that key
    assert len(examine(clips, against=other).problems) - len(examine(clips).problems) == 1
