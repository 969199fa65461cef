"""What is installed works without the project's folder beside it."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from whisperslim.jobs.recipe.presets import preset_names
from whisperslim.machine.places import PACKAGE_PARENT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("installed")
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    _run([*build, "--wheel-dir", str(folder / "dist"), str(PACKAGE_PARENT)], folder)
    (wheel,) = (folder / "dist").iterdir()
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def _run(arguments: Sequence[str], cwd: Path, path: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_presets_come_with_the_package(installed: Path, tmp_path: Path) -> None:
    listed = _run(["-m", "whisperslim", "presets"], tmp_path, path=str(installed))
    assert all(name in listed for name in preset_names())


def test_the_package_and_its_runtime_are_imported_without_torch(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, whisperslim\n"
        "assert 'numpy' not in sys.modules, 'the package alone is light'\n"
        "from whisperslim import runtime\n"
        "assert 'site' in runtime.__file__, runtime.__file__\n"
        "heavy = {'torch', 'transformers', 'librosa', 'gradio', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    _run(["-c", code], tmp_path, path=str(installed))


def test_the_page_and_the_demo_corpus_come_with_the_package(
    installed: Path, tmp_path: Path
) -> None:
    code = (
        "from pathlib import Path\n"
        "from whisperslim.machine.places import ASSETS\n"
        "from whisperslim.ui.app.build import build\n"
        "from whisperslim.speech.corpus.dataset import load_items\n"
        "assert 'site/whisperslim/shipped' in str(ASSETS), ASSETS\n"
        "assert len(load_items(str(ASSETS / 'demo_hi'))) > 10\n"
        "build(Path('runs'))\n"
    )
    _run(["-c", code], tmp_path, path=str(installed))
