"""The voice detector: the same figures as its makers' own code, and sense on speech and silence."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from whisperslim.engines.live import voice
from whisperslim.engines.live.voice import FRAME_SAMPLES, SileroDetector
from whisperslim.errors import SourceError
from whisperslim.speech.audio.decoding import decode

CLIP = Path(__file__).parents[3] / "assets" / "demo_hi" / "audio" / "demo_000.ogg"


def frames_of(sound: np.ndarray) -> np.ndarray:
    return sound[: len(sound) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)


def test_probabilities_are_those_of_the_packages_own_wrapper() -> None:
    threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad

        theirs = load_silero_vad(onnx=True)
        sound = decode(CLIP)
        expected = theirs.audio_forward(torch.from_numpy(sound.copy()), 16_000)[0].numpy()
    finally:
        torch.set_num_threads(threads)
    detector = SileroDetector()
    found = np.array([detector.probability(frame) for frame in frames_of(sound)])
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-6)
    assert found.max() > 0.9, "speech"
    assert found[:5].max() < 0.2, "the silence before it"


def test_silence_and_hum_are_no_voice() -> None:
    detector = SileroDetector()
    time = np.arange(32_000) / 16_000
    hum = (0.3 * np.sin(2 * np.pi * 50 * time)).astype(np.float32)
    for sound in (np.zeros(32_000, np.float32), hum):
        assert max(detector.probability(frame) for frame in frames_of(sound)) < 0.5


def test_two_recordings_share_nothing() -> None:
    speech = frames_of(decode(CLIP))
    fresh, used = SileroDetector(), SileroDetector()
    for frame in speech:
        used.probability(frame)
    silence = np.zeros(FRAME_SAMPLES, np.float32)
    assert fresh.probability(silence) == SileroDetector().probability(silence)
    assert used.probability(silence) != fresh.probability(silence)


def test_looking_for_the_weights_leaves_torch_its_threads() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        SileroDetector()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_other_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="512"):
        SileroDetector().probability(np.zeros(100, np.float32))


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="pip install silero-vad"):
        voice._weights()
