"""The runtime's own entry: a name in, a text out."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny import tiny_model_folder, write_tone
from whisperslim import runtime
from whisperslim.engines.opening import open_transcriber
from whisperslim.errors import AudioError, UsageError
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import hearing_window


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("runtime") / "model")


def test_a_file_its_bytes_and_its_sound_give_the_engines_text(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "tone.wav"
    write_tone(file, seconds=0.7, pitch=300)
    engine = open_transcriber(str(model), hearing_window("trim"))
    wanted = engine.transcribe(decode(file))
    assert wanted.text
    listen = runtime.load(model, window="trim")
    for recording in (file, str(file), file.read_bytes(), decode(file)):
        found = listen.transcribe(recording)
        assert (found.text, found.segments) == (wanted.text, wanted.segments)
    assert (listen.name, listen.size()) == (engine.name, engine.size())


def test_what_cannot_be_heard_is_refused(model: Path) -> None:
    listen = runtime.load(model)
    with pytest.raises(AudioError, match="mono float32"):
        listen.transcribe(np.zeros((2, 16_000), np.float32))
    sound = np.zeros(16_000, np.float32)
    assert listen.transcribe(sound, "Hindi").note == listen.transcribe(sound, "hi").note
    with pytest.raises(UsageError, match="no-such"):
        listen.transcribe(np.zeros(16_000, np.float32), "no-such")
    with pytest.raises(UsageError, match="window"):
        runtime.load(model, window="wide")
