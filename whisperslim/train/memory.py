"""What training holds in memory, and giving back what it does not."""

import ctypes
import ctypes.util
from collections.abc import Callable
from functools import cache

import psutil
import torch


def memory_in_use(device: torch.device) -> int:
    """Bytes: the most a GPU has held, or what the process holds of the computer's now.

    On a processor, freed memory is given back first. Batches of many lengths leave gaps between
    allocations that glibc would keep: over 500 steps of Whisper-base they came to gigabytes.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    _trim()()
    return int(psutil.Process().memory_info().rss)


@cache
def _trim() -> Callable[[], object]:
    """glibc's `malloc_trim(0)`; nothing where the C library has no such function."""
    name = ctypes.util.find_library("c")
    trim = getattr(ctypes.CDLL(name), "malloc_trim", None) if name else None
    return (lambda: trim(0)) if trim is not None else (lambda: None)
