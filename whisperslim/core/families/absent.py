"""Modules that stand where a sub-layer or a layer was taken out. They hold no tensor."""

import torch
from torch import nn


class AbsentAttention(nn.Module):
    """Adds nothing to the residual stream, and touches no cache."""

    def forward(
        self, hidden_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, None]:
        """Nothing to add: a zero of no dimensions, and no attention weights."""
        return hidden_states.new_zeros(()), None


class AbsentLinear(nn.Module):
    """Either projection of a feed-forward block that was taken out."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """A zero of no dimensions, which every activation function of Whisper leaves at zero."""
        return hidden_states.new_zeros(())


class AbsentLayer(nn.Module):
    """A layer all of whose sub-layers were taken out."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """The input itself."""
        return hidden_states
