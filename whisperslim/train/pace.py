"""How long optimizer steps take."""

import time

import torch


class Pace:
    """Mean seconds per step since the last report; evaluations and checkpoints left out.

    Steps that follow one another are timed as one stretch. A GPU works behind the program, so it is
    waited for where a stretch begins and ends, and not in between, where it would stand idle.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began: float | None = None
        self._seconds, self._steps = 0.0, 0

    def step(self) -> None:
        """To be called before each step."""
        if self._began is None:
            self._began = self._now()
        self._steps += 1

    def pause(self) -> None:
        """To be called before anything between two steps that is not to count."""
        if self._began is not None:
            self._seconds += self._now() - self._began
            self._began = None

    def mean(self) -> float:
        """Seconds per step, and a new start; 0 when there was no step. A pause, too."""
        self.pause()
        mean = self._seconds / max(1, self._steps)
        self._seconds, self._steps = 0.0, 0
        return mean

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
