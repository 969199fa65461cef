"""A process that holds a lock until it is killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code`, which locks `path` (`sys.argv[1]`) and calls `hold()`."""
    hold = "import sys\ndef hold():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    child = subprocess.Popen(
        [sys.executable, "-c", hold + code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout and child.stdout.readline() == "held\n"
    yield child
    child.kill()
    child.communicate()
