"""An ONNX export is heard where torch, transformers and the app's packages are not installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.browser.conftest import free_port
from tests.engines.onnx.test_engine import sealed_export
from tests.support.models.tiny_ctc import parakeet_folder
from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim.core.loading import load_model
from whisperslim.engines.export.export import export
from whisperslim.engines.export.record import read_export
from whisperslim.engines.onnx.engine import open_export
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.machine.extras import EXTRAS
from whisperslim.speech.audio.decoding import decode
from whisperslim.speech.audio.window import WindowPolicy

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "assets" / "demo_hi" / "audio" / "demo_000.ogg"
# Whatever an extra brings, but for what is served with; and what these need in turn.
HEAVY = {module for extra, modules in EXTRAS.items() if extra != "serve" for module in modules}
HEAVY -= set(EXTRAS["serve"])
HEAVY |= {"numba", "pandas", "datasets"}

_REFUSES = "raise ImportError(f'{__name__} is not installed')\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export as it is written, but for the check against its model."""
    place = tmp_path_factory.mktemp("light")
    speech = load_model(str(tiny_model_folder(place / "model")))
    return sealed_export(speech, place / "export")


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be looked in first, whose packages are there and cannot be imported.

    Unlike a hook of one process, it counts for those that the process starts as well.
    """
    place = tmp_path_factory.mktemp("without")
    for name in HEAVY:
        (place / f"{name}.py").write_text(_REFUSES, "utf-8")
    return place


def heard_lightly(folder: Path, without: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(without), str(ROOT)))
    command = [sys.executable, "-m", "whisperslim", "transcribe", "--model", str(folder), "--json",
               str(CLIP)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_what_is_left_out_is(without: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(without)}
    done = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, text=True,
                          env=environment)  # fmt: skip
    assert "torch is not installed" in done.stderr
    assert {"torch", "av", "regex", "tokenizers", "huggingface_hub"} <= HEAVY


@pytest.mark.parametrize("foreign", [False, True])
def test_the_same_text_without_torch(
    folder: Path, without: Path, foreign: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here for what was written here, and in a process of its own for what was not."""
    if foreign:
        monkeypatch.setenv("WHISPERSLIM_STATE", str(tmp_path))  # another installation's
    done = heard_lightly(folder, without)
    assert done.returncode == 0, done.stderr
    assert ("was not written here" in done.stderr) is foreign
    (found,) = json.loads(done.stdout)
    engine = open_export(folder, read_export(folder), WindowPolicy(), 1)
    wanted = engine.transcribe(decode(CLIP))
    assert wanted.tokens > 0
    assert (found["text"], found["tokens"]) == (wanted.text, wanted.tokens)


def test_pieces_of_words_are_spelled_without_the_library_of_tokenizers(
    without: Path, tmp_path: Path
) -> None:
    tiny_corpus(tmp_path / "corpus", clips=8)
    parakeet_folder(tmp_path / "model", tmp_path / "corpus")
    speech, sound = load_model(str(tmp_path / "model")), decode(CLIP)
    export(speech, "onnx", "none", tmp_path / "export", [sound], "hi", WindowPolicy())
    done = heard_lightly(tmp_path / "export", without)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    wanted = TorchTranscriber(speech, WindowPolicy()).transcribe(sound)
    assert wanted.tokens > 0 and wanted.text
    assert (found["text"], found["tokens"]) == (wanted.text, wanted.tokens)


def test_a_model_that_needs_torch_says_so(folder: Path, without: Path) -> None:
    done = heard_lightly(folder.parent / "model", without)
    assert done.returncode != 0
    assert (
        "torch is not installed; install it with `pip install 'whisperslim[train]'" in done.stderr
    )


def test_an_export_is_served_without_torch_and_without_gradio(folder: Path, without: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "whisperslim", "serve", f"m={folder}", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(without), str(ROOT)))}
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stderr and "Ctrl-C ends it" in child.stderr.readline()
        found = httpx.post(
            f"http://127.0.0.1:{port}/v1/audio/transcriptions", data={"model": "m"},
            files={"file": CLIP.read_bytes()}, timeout=120,
        )  # fmt: skip
        child.terminate()
        assert child.wait(60) == 0
    finally:
        child.kill()
    engine = open_export(folder, read_export(folder), WindowPolicy(), 1)
    assert found.json()["text"] == engine.transcribe(decode(CLIP)).text
