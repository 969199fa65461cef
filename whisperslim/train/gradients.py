"""How passes of one optimizer step count, over micro-batches and over processes, and their sum.

The loss of a step is the mean over the target tokens of all its clips, whichever pass or process
they are in. A method's own terms do not depend on the data; the weights of all passes sum to one,
so that they count once.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch.optim import Optimizer

from whisperslim.core import ranks

# Numbers that are sent at once: 64 MB. All at once would take as much memory as the model.
_BUCKET = 1 << 24


def pass_weights(tokens: Sequence[int]) -> list[float]:
    """What each pass of this process counts, given the target tokens of each."""
    every = ranks.total(sum(tokens))
    if not every:
        return [1.0 / (len(tokens) * ranks.size())] * len(tokens)
    return [own / every for own in tokens]


def share_of(tokens: int) -> float:
    """What a single pass of this process counts."""
    return pass_weights([tokens])[0]


def sum_gradients(
    optimizer: Optimizer, losses: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Replace every gradient by the sum over all processes, the same to the bit in each.

    Returns the losses, likewise. A parameter without gradient in every process stays without.
    """
    if ranks.size() == 1:
        return dict(losses)
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    present = ranks.summed(torch.tensor([each.grad is not None for each in parameters]).int())
    for bucket in _buckets([p for p, there in zip(parameters, present, strict=True) if there]):
        flat = torch.cat([_gradient(each).flatten() for each in bucket])
        parts = ranks.summed(flat).split([each.numel() for each in bucket])
        for each, part in zip(bucket, parts, strict=True):
            each.grad = part.view_as(each)
    found = ranks.summed(torch.stack([loss.float() for loss in losses.values()]))
    return dict(zip(losses, found.unbind(), strict=True))


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Neighbors of one number format together, up to the bucket's size."""
    bucket: list[torch.Tensor] = []
    for each in parameters:
        held = sum(other.numel() for other in bucket)
        if bucket and (held + each.numel() > _BUCKET or bucket[0].dtype != each.dtype):
            yield bucket
            bucket = []
        bucket.append(each)
    if bucket:
        yield bucket
