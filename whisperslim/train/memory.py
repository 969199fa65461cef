"""The memory that training uses, and giving back what it no longer uses."""

import psutil
import torch

from whisperslim.machine.heap import give_back


def memory_in_use(device: torch.device) -> int:
    """Bytes: the most that a GPU has held, or what the process holds of the computer's memory now.

    On a CPU, freed memory is given back first. Batches of many lengths leave gaps between
    allocations that glibc would keep: over 500 steps of Whisper-base they came to gigabytes.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    give_back()
    return int(psutil.Process().memory_info().rss)
