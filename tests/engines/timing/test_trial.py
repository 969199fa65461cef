"""Trials of a model that writes another language than Hindi alone."""

from pathlib import Path

import pytest

from tests.support.tiny import tiny_model_folder
from whisperslim.core.loading import load_model
from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.engines.export import parity, parity_child
from whisperslim.engines.export.record import read_export
from whisperslim.engines.timing.trial import trial_language, trial_opener
from whisperslim.errors import UsageError
from whisperslim.speech.audio.window import WindowPolicy


def test_a_model_of_english_alone_is_tried_in_english(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Loading torch again for the check of an export takes most of its time; other tests do it.
    monkeypatch.setattr(parity, "run_child", lambda exchange, timeout: parity_child.main(exchange))
    whole = load_model(str(tiny_model_folder(tmp_path / "model")))
    assert trial_language(whole) == "hi"
    save_trimmed(tmp_path / "english", whole, vocabulary_for(whole, ["en"]), "en")
    english = load_model(str(tmp_path / "english"))
    with pytest.raises(UsageError, match="Hindi"):
        english.tokens.check_language("hi")
    trial_opener("onnx", "none", tmp_path, WindowPolicy())("trial", english)
    assert read_export(tmp_path / "trial").language == "en"
