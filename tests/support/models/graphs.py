"""Checks of a graph that scores frames, for every family that has one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from whisperslim.core.loading import SpeechModel
from whisperslim.engines.export.export import export
from whisperslim.engines.export.parity import read_verdict
from whisperslim.engines.onnx.export import write
from whisperslim.engines.opening import open_transcriber
from whisperslim.exported.names import FEATURES, FRAMES_FILE, LOGITS, STATES
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import Item


def check_graph(
    speech: SpeechModel, place: Path, precision: str = "none", error: float = 1e-4
) -> None:
    """States and logits are the model's, of sound with padding behind it and of sound without.

    `error` is the largest difference, as a share of the largest value.
    """
    place.mkdir()
    write(speech, place, precision)
    graph = onnxruntime.InferenceSession(place / FRAMES_FILE, providers=["CPUExecutionProvider"])
    sound = 0.1 * np.random.default_rng(5).standard_normal(24_000).astype(np.float32)
    for heard in (24_000, 16_161, 5_000):
        given = np.where(np.arange(24_000) < heard, sound, 0.0).astype(np.float32)[None]
        with torch.no_grad():
            states = speech.family.encode(speech.model, torch.from_numpy(given))
            wanted = (states, speech.family.project(speech.model, states))
        found = graph.run([STATES, LOGITS], {FEATURES: given})
        for right, own in zip(wanted, found, strict=True):
            assert own.shape == right.shape
            assert np.abs(own - right.numpy()).max() <= error * float(right.abs().max())


def check_export(speech: SpeechModel, place: Path, items: Sequence[Item], cache: Path) -> None:
    """A whole export has the model's texts."""
    clips = [AudioCache(cache).load(item) for item in items]
    with torch.no_grad():  # random models write blanks alone
        speech.family.head(speech.model).bias[speech.tokens.blank] -= 4.0
    export(speech, "onnx", "none", place, clips, "hi", WindowPolicy())
    verdict = read_verdict(place)
    assert verdict.ok and verdict.same_text == len(clips)
    assert verdict.encoder_error is not None and verdict.encoder_error < 1e-4
    opened = open_transcriber(str(place), WindowPolicy())
    assert any(opened.transcribe(clip).words for clip in clips), "silence would prove nothing"
