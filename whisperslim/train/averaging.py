"""A running average of the weights (Polyak averaging), kept beside the ones being trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from whisperslim.train.state import Counters


@torch.no_grad()
def update_average(counters: Counters, model: nn.Module, decay: float) -> None:
    """`average <- d * average + (1 - d) * weights`, with `d` smaller in the first steps.

    The decay grows as `(1 + step) / (10 + step)` up to `decay`, so that the average forgets the
    starting point; the ramp is our choice.
    """
    decay = min(decay, (1 + counters.step) / (10 + counters.step))
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name in counters.average:
            counters.average[name].lerp_(parameter.detach(), 1 - decay)
        else:
            counters.average[name] = parameter.detach().clone()


@contextmanager
def swapped_in(counters: Counters, model: nn.Module) -> Iterator[None]:
    """The model holding its average for the length of the block; nothing to do without one."""
    own = {name: model.get_parameter(name).data for name in counters.average}
    try:
        for name, value in counters.average.items():
            model.get_parameter(name).data = value
        yield
    finally:
        for name, value in own.items():
            model.get_parameter(name).data = value
