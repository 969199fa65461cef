"""Reading `tokenizer.json` alone gives what transformers gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny import tiny_model_folder
from whisperslim.core.families.whisper.tokens import load_tokens
from whisperslim.errors import CheckpointError, UsageError
from whisperslim.exported.tokens import TOKENIZER_FILE, read_tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("tokens") / "model")


def test_prompt_end_and_text_are_those_of_transformers(folder: Path) -> None:
    light, whole = read_tokens(folder), load_tokens(folder)
    assert light.prompt("hi") == whole.prompt("hi")
    assert light.end == whole.end
    draw = np.random.default_rng(0)
    for length in range(200):
        ids = draw.integers(0, whole.end + 1, length % 40).tolist()
        assert light.decode(ids) == whole.decode(ids)
    spoken = "नमस्ते, आप कैसे हैं? 25 रुपये"
    assert light.decode(whole.encode(spoken)) == spoken


def test_a_language_without_a_token_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="klingon"):
        read_tokens(folder).prompt("klingon")


def test_what_is_no_tokenizer_of_whisper_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tokens(tmp_path)
    file = tmp_path / TOKENIZER_FILE
    file.write_text("{}")
    with pytest.raises(CheckpointError, match="damaged"):
        read_tokens(tmp_path)
    layout = json.loads((folder / TOKENIZER_FILE).read_text("utf-8"))
    layout["added_tokens"] = [
        token for token in layout["added_tokens"] if token["content"] != "<|transcribe|>"
    ]
    layout["model"]["vocab"].pop("<|transcribe|>", None)
    file.write_text(json.dumps(layout), "utf-8")
    with pytest.raises(CheckpointError, match="not Whisper's"):
        read_tokens(tmp_path)
