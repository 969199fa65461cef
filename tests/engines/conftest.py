"""The model that engines are tried on."""

import pytest

from tests.support.tiny import tiny_model_folder
from whisperslim.core.loading import SpeechModel, load_model


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> SpeechModel:
    """A tiny Whisper, loaded once for the tests of a file."""
    return load_model(str(tiny_model_folder(tmp_path_factory.mktemp("tiny") / "model")))
