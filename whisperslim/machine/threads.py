"""How threads share the cores, in a process that computes and answers at once. Leaf module."""

import os
import sys

_BLAS = "OPENBLAS_NUM_THREADS"
_SWITCH_SECONDS = 0.0005  # our choice; Python's own is 5 ms


def for_a_server() -> None:
    """Keep threads from taking the cores from each other. Call it before NumPy is imported.

    NumPy's products, small ones here, wake a thread for each core, which then spins for tens of
    milliseconds, while an engine or the server could use its core: so they get one thread, unless
    the environment says how many. Processes started from this one are not affected. And a thread
    that wants to run Python is let in sooner: a decoder does after each token.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    if _BLAS in os.environ or "numpy" in sys.modules:
        return
    os.environ[_BLAS] = "1"
    try:
        __import__("numpy")  # reads it once
    finally:
        del os.environ[_BLAS]
