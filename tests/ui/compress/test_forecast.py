"""The expected size beside the form: what goes with the tokens of other languages."""

import json
from pathlib import Path

import pytest

from tests.support.tiny import tiny_model_folder
from whisperslim.core.loading import load_model
from whisperslim.core.trimming import vocabulary_for
from whisperslim.ui.compress.forecast import forecast_html
from whisperslim.ui.compress.tab import forecast
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.embedding import embedding
from whisperslim.ui.context.models import ModelSize
from whisperslim.ui.context.run_watch import RunWatch


def test_tokens_that_go_make_the_model_smaller() -> None:
    page = forecast_html(ModelSize(1_000_000_000, 600_000_000), 0.5, 0.0, "float16", 100_000_000)
    assert "1,000.0 M → 600.0 M" in page
    assert "40.0 % fewer" in page
    assert "100.0 M of the embedding are removed" in page


def test_tokens_that_go_are_counted_from_the_models_own_tokenizer(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    found = embedding(str(folder))
    kept = vocabulary_for(load_model(str(folder)), ["hi"]).size
    assert found.without_others([], False) == 0
    rows = config["vocab_size"] - kept
    assert found.without_others(["hi"], False) == rows * config["d_model"] > 0


def test_tokens_of_a_model_that_is_not_here_are_left_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WHISPERSLIM_CACHE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    app = AppContext(RunWatch(tmp_path / "runs"))
    page = forecast(app, "openai/whisper-base", 0.3, 0.1, "float16", ["hi"])
    assert "once the model has been fetched" in page
