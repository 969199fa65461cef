"""A model unlike Whisper: GLU pairs, channels as units, gates on another axis, and BatchNorm."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from whisperslim.core.families import Slice, UnitSite

D, HIDDEN, CHANNELS, WIDTH, LAYERS = 6, 5, 8, 2, 2


class GluBlock(nn.Module):
    """`x + out(a * sigmoid(b))`, with `a` and `b` the halves of what one matrix gives."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.out = nn.Linear(D, 2 * HIDDEN), nn.Linear(HIDDEN, D)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states + self.out(F.glu(self.pair(states), dim=-1))


class ConvBlock(nn.Module):
    """A Conformer's convolution: pointwise with GLU, depthwise, BatchNorm, pointwise."""

    def __init__(self) -> None:
        super().__init__()
        self.pointwise1 = nn.Conv1d(D, 2 * CHANNELS, 1)
        self.depthwise = nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS)
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.pointwise2 = nn.Conv1d(CHANNELS, D, 1)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        hidden = F.glu(self.pointwise1(states.transpose(1, 2)), dim=1)
        hidden = F.silu(self.norm(self.depthwise(hidden)))
        return states + self.pointwise2(hidden).transpose(1, 2)


class Toy(nn.Module):
    """Two layers of both blocks on states `(batch, positions, D)`."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="toy")
        self.layers = nn.ModuleList(nn.Sequential(GluBlock(), ConvBlock()) for _ in range(LAYERS))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            states = layer(states)
        return states


def toy_model(seed: int = 0) -> Toy:
    """Random, every statistic of its norms too; in evaluation mode and float64."""
    torch.manual_seed(seed)
    model = Toy().double().eval()
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data.normal_()
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.abs_().add_(0.5)
    return model


class ToyFamily:
    """As far as a cut needs it."""

    model_type = "toy"

    def unit_groups(self, model: nn.Module) -> tuple[UnitSite, ...]:
        return tuple(
            site
            for index in range(LAYERS)
            for site in (_glu_site(model, index), _conv_site(model, index))
        )

    def prunable_weights(self, model: nn.Module) -> dict[str, str]:
        return {
            part.parameter: site.stack
            for site in self.unit_groups(model)
            for part in site.slices
            if part.prunable
        }

    def set_unit_count(self, model: nn.Module, group: UnitSite, count: int) -> None:
        if group.kind == "channels":
            block = model.get_submodule(group.gate.removesuffix(".pointwise2"))
            channels = count * group.width
            block.pointwise1.out_channels = 2 * channels
            depthwise = block.depthwise
            depthwise.in_channels = depthwise.out_channels = depthwise.groups = channels
            block.norm.num_features = block.pointwise2.in_channels = channels


def _glu_site(model: nn.Module, index: int) -> UnitSite:
    at = f"layers.{index}.0"
    return UnitSite(
        f"encoder.{index}.ffn", "ffn", "encoder", model.get_submodule(f"{at}.out").in_features, 1,
        3 * D, 3 * D + 2, index,
        slices=(
            Slice(f"{at}.pair.weight", 0, 1, prunable=True, repeats=2),
            Slice(f"{at}.pair.bias", 0, 1, prunable=False, repeats=2),
            Slice(f"{at}.out.weight", 1, 1, prunable=True),
        ),
        gate=f"{at}.out",
    )  # fmt: skip


def _conv_site(model: nn.Module, index: int) -> UnitSite:
    at = f"layers.{index}.1"
    count = model.get_submodule(f"{at}.pointwise2").weight.shape[1] // WIDTH
    own = ("depthwise.weight", "depthwise.bias", "norm.weight", "norm.bias")
    weights = WIDTH * (3 * D + 3)
    return UnitSite(
        f"encoder.{index}.conv", "channels", "encoder", count, WIDTH,
        weights, weights + 5 * WIDTH, index,
        slices=(
            Slice(f"{at}.pointwise1.weight", 0, WIDTH, prunable=True, repeats=2),
            Slice(f"{at}.pointwise1.bias", 0, WIDTH, prunable=False, repeats=2),
            *(Slice(f"{at}.{n}", 0, WIDTH, prunable=n == "depthwise.weight") for n in own),
            Slice(f"{at}.pointwise2.weight", 1, WIDTH, prunable=True),
        ),
        gate=f"{at}.pointwise2",
        gate_axis=1,
        buffers=tuple(
            Slice(f"{at}.norm.{name}", 0, WIDTH, prunable=False)
            for name in ("running_mean", "running_var")
        ),
    )  # fmt: skip
