"""A clip as a model's input: which numbers, how many, and what follows the clip."""

from dataclasses import replace

import numpy as np

from tests.support.models.inputs import WHISPERS
from whisperslim.inputs import InputSpec
from whisperslim.speech.audio.log_mel import log_mel
from whisperslim.speech.audio.model_input import model_input

CLIP = np.linspace(-0.5, 0.5, 400, dtype=np.float32)


def test_samples_are_the_sound_and_then_silence() -> None:
    found = model_input(CLIP, 4, InputSpec("samples", 0, 3000), log_mel)
    # A frame is 10 ms, 160 samples at 16 kHz.
    assert found.shape == (640,) and found.dtype == np.float32
    assert np.array_equal(found[:400], CLIP) and not found[400:].any()


def test_samples_beyond_the_window_are_dropped() -> None:
    assert np.array_equal(model_input(CLIP, 2, InputSpec("samples", 0, 3000), log_mel), CLIP[:320])


def test_features_have_the_bands_asked_for() -> None:
    found = model_input(CLIP, 4, replace(WHISPERS, bands=128), log_mel)
    assert np.array_equal(found, log_mel(CLIP, 4, 128)) and found.shape == (128, 4)
