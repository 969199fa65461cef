"""Models that are given the samples of a recording themselves, rather than features of them."""

from abc import ABC, abstractmethod

import torch
from torch import nn

from whisperslim.inputs import InputSpec

_MOST_SECONDS = 30  # nothing in the models bounds it; our choice, as Whisper's
_FRAME_SAMPLES = 160  # 10 ms, in which windows are counted


class HearsSamples(ABC):
    """The part of a family that says so. Zeros at the end of a clip are padding."""

    @abstractmethod
    def head(self, model: nn.Module) -> nn.Linear | nn.Conv1d:
        """What scores the states; its weights say where the model is."""

    def input_spec(self, model: nn.Module) -> InputSpec:
        """Samples; what else the model needs of them is made by `encode`."""
        return InputSpec("samples", 0, 100 * _MOST_SECONDS)

    def no_sound(self, model: nn.Module, frames: int) -> torch.Tensor:
        """Samples `(1, 160 * frames)`."""
        return self.head(model).weight.new_zeros(1, _FRAME_SAMPLES * frames)


def heard_samples(samples: torch.Tensor) -> torch.Tensor:
    """Samples of each clip up to the last that is not zero, `(batch,)`."""
    place = torch.arange(1, samples.shape[1] + 1, device=samples.device)
    return (place * (samples != 0)).amax(1)
