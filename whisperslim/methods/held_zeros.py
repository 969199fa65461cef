"""Elements that are to stay at zero while the rest of a model is tuned."""

from collections.abc import Mapping

import torch
from torch import nn


@torch.no_grad()
def hold_zeros(model: nn.Module, zeros: Mapping[str, torch.Tensor]) -> None:
    """Set elements back to zero, in place. `zeros` has, by parameter, which they are.

    To be done after each step: an optimizer with momentum moves weights that have no gradient, too.
    """
    for name, where in zeros.items():
        model.get_parameter(name).masked_fill_(where, 0.0)
