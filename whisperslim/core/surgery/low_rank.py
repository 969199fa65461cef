"""The components of linear layers: directions of the output, sorted by how much of it they carry.

For a layer `y = W x + b` with mean input `m` and covariance `C`, the best `A` of rank `r` in

    E |A (x - m) - W (x - m)|^2,      W C W^T = U S U^T,      A = U_r U_r^T W

is `W` followed by a projection on the first `r` eigenvectors of the covariance of the output, and
its error the sum of the rest of `S`: dropping a component costs exactly its eigenvalue, which is
its squared singular value in `W C^1/2`, and the rest are not touched. What is dropped leaves its
mean to the bias. Without a bias there is nothing to take it, and moments are about zero.

The best approximation for given second moments of the input is in DRONE (Chen et al., NeurIPS 2021)
and SVD-LLM (Wang et al., arXiv 2403.07378, which takes a Cholesky factor of `C`), and by the
covariance of features, about their mean, in atomic feature mimicking (Yu & Wu, arXiv 2206.09325).
Counting what is behind the break-even rank as one unit, and the scale below, are ours.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from whisperslim.core.families import NarrowsHeads, OpensLinears, family_of
from whisperslim.core.families.factors import (
    OpenedLinear,
    factored,
    linears_of,
    most_units,
    opened,
)
from whisperslim.core.surgery.moments import Moments, WatchedInput
from whisperslim.errors import PlanError

# What is added to eigenvalues before components are scaled by them, as a share of the largest: dead
# directions keep a scale. Our choice.
_LEAST = 1e-6


@dataclass(frozen=True)
class Components:
    """Of one linear layer, to be opened by `shrink.open_matrices`.

    Attributes:
        down, up, mean: As of `OpenedLinear`; float64.
        lost: Mean square error of the output without each unit, `(components + 1,)` float64: of the
            last, of all that the others are not.
    """

    down: torch.Tensor
    up: torch.Tensor
    mean: torch.Tensor
    lost: torch.Tensor


def watching(model: nn.Module) -> tuple[WatchedInput, ...]:
    """The linear layers of a model's sub-layers that can be stored as two matrices.

    Raises:
        PlanError: some are two matrices already, or the family has layers of other kinds.
    """
    if factored(model):
        raise PlanError(
            "the model has layers of two matrices already, which are not opened again; give the "
            "model it was made from, or choose another method"
        )
    family, sources = family_of(model), dict[str, str]()
    if not (isinstance(family, OpensLinears) and family.opens_linears):
        raise PlanError(
            f"linear layers of a {family.model_type} model are not opened into components; choose "
            "another method than low_rank"
        )
    if isinstance(family, NarrowsHeads):
        for site in family.attentions(model):
            sources |= {site.keys: site.source, site.values: site.source}
    return tuple(
        WatchedInput(name, sources.get(name, group.stack), name)
        for group in family.unit_groups(model)
        for name in linears_of(model, group)
        if most_units(*model.get_parameter(f"{name}.weight").shape) > 1
    )


def unmeasured(model: nn.Module) -> dict[str, Components]:
    """Components that only have the right shapes: to ask what a plan can reach."""
    found = {}
    for name in (site.key for site in watching(model)):
        outputs, inputs = model.get_parameter(f"{name}.weight").shape
        count = most_units(inputs, outputs) - 1
        nothing = torch.zeros(outputs, count)
        found[name] = Components(nothing.T, nothing, nothing.sum(1), torch.zeros(count + 1))
    return found


def components_in(model: nn.Module) -> dict[str, Components]:
    """Those of a model's opened layers, by name; what they are worth is not known any more."""
    layers = {name: cast(OpenedLinear, model.get_submodule(name)) for name in opened(model)}
    return {
        name: Components(
            layer.down.double(), layer.up.double(), layer.mean.double(),
            layer.mean.new_zeros(len(layer.down) + 1).double(),
        )
        for name, layer in layers.items()
    }  # fmt: skip


@torch.no_grad()
def components(model: nn.Module, name: str, found: Moments) -> Components:
    """Of the linear layer `name`, for the moments of its input. The model is not changed."""
    layer = cast(nn.Linear, model.get_submodule(name))
    weight = layer.weight.double()
    centered = layer.bias is not None
    spread = weight @ (found.covariance if centered else found.square) @ weight.T
    values, vectors = torch.linalg.eigh((spread + spread.T) / 2)
    values, vectors = values.flip(0).clamp_min(0.0), vectors.flip(1)
    count = most_units(layer.in_features, layer.out_features) - 1
    # Rows and columns share the size of what is between them, as numbers of few bits need.
    scale = (values[:count] + _LEAST * values[0].clamp_min(1e-30)).pow(0.25)
    mean = weight @ found.mean
    return Components(
        vectors[:, :count].T / scale[:, None],
        vectors[:, :count] * scale,
        mean if centered else torch.zeros_like(mean),
        torch.cat([values[:count], values[count:].sum()[None]]),
    )
