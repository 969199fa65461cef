"""Floating-point operations of a forward pass, counted on shapes alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from whisperslim.core.families import family_of

FLOPS_NOTE = (
    "matrix products and convolutions, a multiply-add counted as two; {name}: {frames} feature "
    "frames through the encoder once, {tokens} tokens through the decoder in one teacher-forced "
    "pass; causal attention counted as a full square, softmax, norms and activations not counted"
)


@dataclass(frozen=True)
class Workload:
    """What the operations are counted for. `frames` are 10 ms feature frames, an even number."""

    name: str
    frames: int
    tokens: int

    def describe(self) -> str:
        """What a count for this workload means."""
        return FLOPS_NOTE.format(name=self.name, frames=self.frames, tokens=self.tokens)


# 5 s of audio get 5.5 s in a fitted window of the usual margin and step; 30 tokens are about six
# Hindi words. Our choice.
WORKLOADS = (Workload("5 s of speech, fitted window", 550, 30), Workload("30 s window", 3000, 30))


@dataclass(frozen=True)
class FlopCount:
    """`total` of a pass and `places`: the share of each named place."""

    total: int
    places: Mapping[str, int]


@torch.no_grad()
def count_flops(
    skeleton: PreTrainedModel,
    workload: Workload,
    places: Mapping[str, Sequence[nn.Module]],
) -> FlopCount:
    """Count one pass of `workload`.

    Args:
        skeleton: A model on the meta device; its attention implementation is set to eager, since
            the counter knows no fused attention of the CPU and would leave it out silently.
        workload: Window and tokens.
        places: Name -> modules that belong to it; modules of two places must not be nested.
    """
    skeleton.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, _attributed(counter, places) as found:
        family_of(skeleton).training_pass(skeleton, workload.frames, workload.tokens)
    return FlopCount(counter.get_total_flops(), found)


@contextmanager
def _attributed(
    counter: FlopCounterMode, places: Mapping[str, Sequence[nn.Module]]
) -> Iterator[dict[str, int]]:
    """Place -> operations between entering and leaving its modules, filled as the pass runs.

    The counter's own table names modules by the route of calls, which is ambiguous here: the
    encoder's layers are called without the encoder.
    """
    found = dict.fromkeys(places, 0)
    with ExitStack() as stack:
        for place, modules in places.items():
            for module in modules:
                for handle in _hooks(module, place, counter, found):
                    stack.callback(handle.remove)
        yield found


def _hooks(
    module: nn.Module, place: str, counter: FlopCounterMode, found: dict[str, int]
) -> tuple[RemovableHandle, RemovableHandle]:
    def entering(*_: object) -> None:
        found[place] -= counter.get_total_flops()

    def leaving(*_: object) -> None:
        found[place] += counter.get_total_flops()

    return module.register_forward_pre_hook(entering), module.register_forward_hook(leaving)
