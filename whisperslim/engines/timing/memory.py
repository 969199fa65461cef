"""Memory of this process and of a model's weights."""

import threading
from types import TracebackType

import psutil
from torch import nn

SAMPLE_EVERY = 0.005  # seconds; an encoder pass of a short clip lasts some 30 ms


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones counted once."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def resident_bytes(number: int | None = None) -> int:
    """Resident memory now (RSS): weights, libraries and working memory.

    Of the process `number`, 0 once it has ended; None: of this one.
    """
    try:
        return int(psutil.Process(number).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


class PeakMemory:
    """Highest resident memory of this process while the block runs, in bytes, as `peak`.

    That of the process `beside`, if there is one, is added. Read every 5 ms by a thread, so a
    shorter spike may be missed. Memory of a GPU is not in it.
    """

    def __init__(self, beside: int | None = None) -> None:
        self.peak = 0
        self._beside = beside
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self.peak = self._resident()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        self.peak = max(self.peak, self._resident())

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_EVERY):
            self.peak = max(self.peak, self._resident())

    def _resident(self) -> int:
        beside = 0 if self._beside is None else resident_bytes(self._beside)
        return resident_bytes() + beside
