"""Whether torchrun has started this process as one of several, without loading torch. Leaf."""

import os


def launched() -> tuple[int, int] | None:
    """Rank of this process, from 0, and how many there are; None for a process of its own."""
    # torchrun sets all three; a scheduler's job may have some of the others by itself.
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    world = int(os.environ["WORLD_SIZE"])
    return (int(os.environ["RANK"]), world) if world > 1 else None
