"""Commands in a Python that lacks some packages."""

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

_PROBE = """
import sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {lacking!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Lacking())
from whisperslim.cli import main
main({words!r})
"""


def run_without(
    lacking: Iterable[str], words: Sequence[str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`whisperslim` with these words, where none of the modules `lacking` can be imported."""
    code = _PROBE.format(lacking=set(lacking), words=list(words))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
