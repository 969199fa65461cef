"""Small pieces for the tests of Sparse Group LASSO."""

from typing import Any

import torch
from torch import nn

from whisperslim.core.families import Slice, UnitSite
from whisperslim.core.families.hearing import StepOutputs
from whisperslim.methods.sgl.options import SGLOptions

NOTHING = StepOutputs(torch.zeros(()), torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
NO_PULL: dict[str, Any] = {
    "lambda_group_encoder": 0.0, "lambda_group_decoder": 0.0,
    "lambda_l1_encoder": 0.0, "lambda_l1_decoder": 0.0,
}  # fmt: skip


def options(**changes: Any) -> SGLOptions:
    """No penalty but those named; every unit pulled alike."""
    usual = {**NO_PULL, "weighting": "uniform", "importance": "norm"}
    return SGLOptions(**{**usual, **changes})


def one_matrix(rows: list[list[float]]) -> tuple[nn.Module, tuple[UnitSite, ...]]:
    """A model of one encoder matrix whose rows are units."""
    weight = torch.tensor(rows)
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    model[0].weight.data = weight
    part, (count, width) = Slice("0.weight", 0, 1, prunable=True), weight.shape
    site = UnitSite("g", "ffn", "encoder", count, 1, width, width, slices=(part,), gate="0")
    return model, (site,)
