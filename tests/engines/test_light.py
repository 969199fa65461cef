"""An ONNX export is heard where torch, transformers and the app's packages are not installed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engines.onnx.test_engine import exported
from tests.support.tiny import tiny_model_folder
from whisperslim.core.disk.storage import file_sha256
from whisperslim.core.loading import load_model
from whisperslim.engines.export.record import read_export
from whisperslim.engines.onnx.engine import open_export
from whisperslim.exported.tokens import TOKENIZER_FILE
from whisperslim.speech.audio.audio import decode
from whisperslim.speech.audio.window import WindowPolicy

CLIP = Path(__file__).parents[2] / "assets" / "demo_hi" / "audio" / "demo_000.ogg"
HEAVY = ("torch", "transformers", "librosa", "scipy", "numba", "gradio", "plotly", "pandas",
         "ctranslate2", "onnx", "jiwer", "safetensors", "sounddevice", "datasets")  # fmt: skip

_PROBE = """
import sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ImportError(f"{{name}} is not installed")

sys.meta_path.insert(0, Refusing())
from whisperslim.cli import main
sys.argv = ["whisperslim", "transcribe", "--model", {model!r}, "--json", {clip!r}]
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("light")
    made = exported(load_model(str(tiny_model_folder(place / "model"))), place / "export")
    record = read_export(made)
    known = {"tokenizer_sha256": file_sha256(made / TOKENIZER_FILE)}
    replace(record, settings={**record.settings, **known}).write(made)
    return made


def heard_lightly(folder: Path) -> subprocess.CompletedProcess[str]:
    code = _PROBE.format(heavy=HEAVY, model=str(folder), clip=str(CLIP))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_same_text_without_torch(folder: Path) -> None:
    done = heard_lightly(folder)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    engine = open_export(folder, read_export(folder), WindowPolicy(), 1)
    wanted = engine.transcribe(decode(CLIP))
    assert wanted.tokens > 0
    assert (found["text"], found["tokens"]) == (wanted.text, wanted.tokens)


def test_a_model_that_needs_torch_says_so(folder: Path) -> None:
    done = heard_lightly(folder.parent / "model")
    assert done.returncode != 0
    assert "torch is not installed; install it with `pip install torch" in done.stderr
