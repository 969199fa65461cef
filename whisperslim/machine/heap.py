"""Giving back memory that the C library keeps. Leaf module."""

import ctypes
import ctypes.util
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Return freed memory to the system, which glibc keeps; nothing where the C library cannot."""
    _trim()()


@cache
def _trim() -> Callable[[], object]:
    """glibc's `malloc_trim(0)`; nothing where the C library has no such function."""
    name = ctypes.util.find_library("c")
    trim = getattr(ctypes.CDLL(name), "malloc_trim", None) if name else None
    return (lambda: trim(0)) if trim is not None else (lambda: None)
