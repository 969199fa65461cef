"""How many cores of the processor this process may use. Leaf module."""

import os

import psutil


def usable_cores() -> int:
    """Physical cores, or fewer when this process is confined to some of the processor."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return min(physical, len(affinity(0))) if affinity else physical
