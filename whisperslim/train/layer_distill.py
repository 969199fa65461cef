"""Learning from a teacher's hidden states, layer by layer.

Chosen layers of the teacher are each compared with the nearest layer of the student that is still
there, as they are or through one linear map shared by all of them. Of arXiv 2305.19549 we know that
it distils layerwise from the unpruned teacher; that states are compared without a map where widths
agree is ZipLM's (arXiv 2302.04089, token by token). The choice of layers, the match with the
nearest survivor, the ties, the map, the losses and their scale are ours.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import nn
from torch.nn import functional as F

Layers = Mapping[str, Sequence[nn.Module]]
"""Stack -> its layers in order."""

Match = tuple[tuple[int, int], ...]
"""Pairs of (teacher layer, student layer), both ascending."""


# Added to the mean square of each channel, as a share of their median. Our choice.
_LEAST_SIZE = 0.01


class LayerWatch:
    """Keeps what every layer of a model is given and returns, during one forward pass.

    Attributes:
        inputs: Stack -> layer index -> `(batch, positions, width)`; likewise `outputs`.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self.inputs: dict[str, dict[int, torch.Tensor]] = {}
        self.outputs: dict[str, dict[int, torch.Tensor]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Forget the last pass and keep the next one's states; hooks are gone afterwards."""
        self.inputs = {stack: {} for stack in self._layers}
        self.outputs = {stack: {} for stack in self._layers}
        with ExitStack() as hooks:
            for stack, layers in self._layers.items():
                for index, layer in enumerate(layers):
                    handle = layer.register_forward_hook(self._keep(stack, index))
                    hooks.callback(handle.remove)
            yield

    def forget(self) -> None:
        """Drop the states, so that they do not outlive the step."""
        self.inputs, self.outputs = {}, {}

    def surviving(self, stack: str) -> list[int]:
        """Layers that changed their input in this pass: neither masked altogether nor absent."""
        found, given = self.outputs[stack], self.inputs[stack]
        if not found:
            return []
        # One wait for the device, however many layers.
        changed = torch.stack([(found[index] != given[index]).any() for index in found])
        return [index for index, here in zip(found, changed.tolist(), strict=True) if here]

    def _keep(self, stack: str, index: int) -> Callable[..., None]:
        def hook(
            _module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
        ) -> None:
            self.inputs[stack][index], self.outputs[stack][index] = inputs[0], output

        return hook


class SharedMap(nn.Module):
    """One linear map from student states to teacher states; the identity at first.

    A plain parameter: `nn.Linear` would advance the random generator.
    """

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(width, device=device))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """`(..., width)` to the same shape, in float32 under autocast too."""
        with torch.autocast(states.device.type, enabled=False):
            return F.linear(states.float(), self.weight)


def evenly_spaced(count: int, wanted: int) -> tuple[int, ...]:
    """`wanted` of `count` layers, at equal distances, the last one included; 0 wants all."""
    number = min(wanted, count) or count
    return tuple((place + 1) * count // number - 1 for place in range(number))


def match_layers(
    chosen: Sequence[int], teacher: int, student: int, surviving: Sequence[int]
) -> Match:
    """Each chosen teacher layer with the nearest surviving student layer.

    Order is kept: of two teacher layers the later one never gets the earlier student layer, though
    both may get the same. Of two student layers that are equally near, the earlier one is taken:
    its output is what reaches the position of the one that is gone.

    Args:
        chosen: Teacher layers, ascending.
        teacher: Layers of the teacher in all. Where the stacks differ in length, a layer stands at
            the same share of the depth.
        student: Layers of the student in all, those gone included.
        surviving: Student layers that are left; none give no pairs.
    """
    if not surviving:
        return ()
    pairs = []
    for layer in chosen:
        # Whole numbers, so that a tie is a tie: distances are multiplied by the teacher's count.
        place = (layer + 1) * student
        nearest = min(sorted(surviving), key=lambda own: abs((own + 1) * teacher - place))
        pairs.append((layer, nearest))
    return tuple(pairs)


def hidden_loss(kind: str, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far student states are from the teacher's, in units of the teacher's own size.

    Whisper's states grow manyfold with depth; without the unit, only the last layers would count,
    and one weight would mean something else for every model.

    Args:
        kind: `mse`: mean squared difference over the teacher's mean square. `channel_mse`: each
            channel's mean squared difference over the teacher's mean square in it, mean over
            channels.
            `l1_cosine`: mean absolute difference over the teacher's, plus 1 - cosine, mean over
            positions.
        found: The student's states, `(places, width)`.
        wanted: The teacher's.
    """
    found, wanted = found.float(), wanted.float()
    if kind == "mse":
        return (found - wanted).square().mean() / wanted.square().mean()
    if kind == "channel_mse":
        unit = wanted.square().mean(0)
        # A channel that the teacher hardly uses would count without bound.
        floor = _LEAST_SIZE * unit.median()
        return ((found - wanted).square().mean(0) / (unit + floor)).mean()
    distance = (found - wanted).abs().mean() / wanted.abs().mean()
    return distance + 1.0 - F.cosine_similarity(found, wanted, dim=-1).mean()
