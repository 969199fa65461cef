"""Threads in a process that computes and answers."""

import os
import subprocess
import sys

_TELL = """
import os, sys
from whisperslim.machine.threads import for_a_server
assert "numpy" not in sys.modules
for_a_server()
import numpy, psutil
numpy.ones((200, 200)) @ numpy.ones((200, 200))
left = os.environ.get("OPENBLAS_NUM_THREADS")
print(psutil.Process().num_threads(), left, sys.getswitchinterval())
"""


def told(**environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    return subprocess.run(
        [sys.executable, "-c", _TELL], env={**kept, **environment}, check=True,
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def test_numpy_gets_one_thread_and_nothing_is_left_for_other_processes() -> None:
    assert told() == "1 None 0.0005"


def test_the_environment_says_otherwise() -> None:
    assert told(OPENBLAS_NUM_THREADS="2") == "2 2 0.0005"
