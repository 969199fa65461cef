"""Narrower attention heads: what a head computes, in coordinates sorted by how much they matter.

Queries and keys of a head are seen through their products alone, `(Q q)^T (K k)` with `q` a state
and a one for the bias, `k` a state less the mean of all, whose part is the same for every key and
leaves the softmax alone. Values are seen through the output projection, `O (V v)`; the mean of `v`
and the bias of the values add a constant, since the weights of attention sum to one.

Any invertible `T` changes `Q` to `T^T Q` and `K` to `T^-1 K`, or `O` to `O T` and `V` to `T^-1 V`,
without changing a product. With `G = Q E[q q^T] Q^T = L L^T` and `H = K C[k] K^T = M M^T`

    L^T M = U S W^T,    T = M W S^-1/2,    T^-1 = S^-1/2 U^T L^T

makes both second moments the diagonal `S`. Keeping the first `r` coordinates is then the best
approximation of rank `r` of the products, in the mean square over pairs of `q` and `k`, and its
error the sum of `S_i^2` behind. For values `G = O^T O` and `H = V C[v] V^T`.

The best low-rank approximation of attention's products given the inputs' second moments is in
MoDeGPT, Lin et al., arXiv 2408.09632 (there for values and outputs; queries and keys lose whole
dimensions there, as rotary positions need); balancing instead of two inverse roots, the treatment
of means and the choice of widths are ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from whisperslim.core.families.base import AttentionSite
from whisperslim.core.surgery.moments import Moments, WatchedInput
from whisperslim.errors import PlanError

# Heads keep a multiple of this many dimensions, as kernels are made. Our choice.
STEP = 8
# What is added to the diagonal of a second moment, as a share of its mean: of a head that is dead
# in some direction the inverse exists then, and all stays exact.
_RIDGE = 1e-9
# Our choice: an error of the scores counts as much as one of the values. Both are relative to what
# one position's value adds, and are averaged over the positions attended to.
_SCORES = 1.0


@dataclass(frozen=True)
class SortedHeads:
    """An attention that computes what it did, its dimensions sorted, and what each is worth.

    Attributes:
        site: The attention.
        values: Parameter name -> new values, of the old shape.
        scores: Entry `r`: mean square error of a score, scaled, with `r` dimensions kept, mean over
            heads; `(width + 1,)` float64.
        mixed: Entry `r`: mean square error of one position's output with `r` dimensions kept, as a
            share of its variance, of all heads together; `(width + 1,)` float64.
        constants: Column `i`: what dimension `i` of every head adds whatever is heard,
            `(outputs, width)`; the output's bias takes over what goes.
    """

    site: AttentionSite
    values: Mapping[str, torch.Tensor]
    scores: torch.Tensor
    mixed: torch.Tensor
    constants: torch.Tensor

    @property
    def errors(self) -> torch.Tensor:
        """What a choice of widths minimizes the sum of, by dimensions kept."""
        return _SCORES * self.scores + self.mixed


def watching(sites: Sequence[AttentionSite]) -> tuple[WatchedInput, ...]:
    """Both inputs of each attention; keys and values are made of the same states."""
    return tuple(
        WatchedInput(f"{site.key}.{name}", stack, gate)
        for site in sites
        for name, stack, gate in (
            ("queries", site.stack, site.query),
            ("keys", site.source, site.keys),
        )
    )


@torch.no_grad()
def sorted_heads(
    model: nn.Module, site: AttentionSite, moments: Mapping[str, Moments]
) -> SortedHeads:
    """Sort the dimensions of every head of an attention. The model is not changed.

    Args:
        model: The model `site` is of.
        site: An attention of it.
        moments: Of `watching`, by key.
    """
    asking, heard = moments[f"{site.key}.queries"], moments[f"{site.key}.keys"]
    query, query_bias = _rows(model, site, site.query)
    keys, keys_bias = _rows(model, site, site.keys)
    values, values_bias = _rows(model, site, site.values)
    output = model.get_parameter(f"{site.output}.weight").double()
    output = output.unflatten(1, (site.heads, site.width)).movedim(1, 0)  # heads, out, width
    asked = torch.cat([query, query_bias[..., None]], -1)
    spread = heard.covariance
    turn, back, score = _balanced(asked @ _with_one(asking) @ asked.mT, keys @ spread @ keys.mT)
    asked, keys = turn.mT @ asked, back @ keys
    keys_bias = (back @ keys_bias[..., None])[..., 0]
    turn, back, mix = _balanced(output.mT @ output, values @ spread @ values.mT)
    output, values = output @ turn, back @ values
    values_bias = (back @ values_bias[..., None])[..., 0]
    constant = values @ heard.mean + values_bias
    found = {
        f"{site.query}.weight": asked[..., :-1],
        f"{site.query}.bias": asked[..., -1],
        f"{site.keys}.weight": keys,
        f"{site.keys}.bias": keys_bias,
        f"{site.values}.weight": values,
        f"{site.values}.bias": values_bias,
        f"{site.output}.weight": output.movedim(0, 1),
    }
    own = dict(model.named_parameters())
    return SortedHeads(
        site,
        {n: v.reshape(own[n].shape).to(own[n].dtype) for n, v in found.items() if n in own},
        _left_over(score.square()).mean(0) * site.scaling**2,
        _left_over(mix.square()).sum(0) / mix.square().sum().clamp_min(1e-300),
        torch.einsum("how,hw->ow", output, constant),
    )


@torch.no_grad()
def narrowed_alike(
    model: nn.Module,
    whole: nn.Module,
    narrow: nn.Module,
    sites: Sequence[tuple[AttentionSite, AttentionSite]],
) -> list[SortedHeads]:
    """What `narrow_heads` needs to narrow `model` as `whole` was to become `narrow`.

    Dimensions of a head are turned by the same matrices, which are solved for: the narrow weights
    are products of the whole ones with them. So weights of `model` and `whole` that are near each
    other stay near. What was added to the output's bias is added here, too. There are no errors to
    choose widths by: all are 0.

    Args:
        model: Of the shapes of `whole`; not changed.
        whole: The model that heads were narrowed of.
        narrow: What became of it.
        sites: Every attention, as it is in `whole` and in `narrow`.
    """
    models = model, whole, narrow
    return [_alike(site, narrow_site, models) for site, narrow_site in sites]


def _alike(
    site: AttentionSite, narrow_site: AttentionSite, models: tuple[nn.Module, ...]
) -> SortedHeads:
    model, whole, narrow = models
    own = dict(model.named_parameters())
    values: dict[str, torch.Tensor] = {}
    for name in (site.query, site.keys, site.values):
        rows, biases = _rows(model, site, name)
        mine = torch.cat([rows, biases[..., None]], -1)
        theirs, became = (
            torch.cat([weight, bias[..., None]], -1)
            for weight, bias in (_rows(whole, site, name), _rows(narrow, narrow_site, name))
        )
        turned = _solved(theirs.mT, became.mT).mT @ mine
        values[f"{name}.weight"] = _with_zeros(turned[..., :-1], site.width)
        values[f"{name}.bias"] = _with_zeros(turned[..., -1:], site.width)[..., 0]
    outputs = [
        module.get_parameter(f"{site.output}.weight").double()
        .unflatten(1, (site.heads, -1)).movedim(1, 0)
        for module in models
    ]  # fmt: skip
    mine, theirs, became = outputs
    turned = mine @ _solved(theirs, became)
    values[f"{site.output}.weight"] = _with_zeros(turned.mT, site.width).mT.movedim(0, 1)
    added = narrow.get_parameter(f"{site.output}.bias") - whole.get_parameter(f"{site.output}.bias")
    constants = torch.zeros(len(added), site.width, dtype=torch.double, device=added.device)
    if narrow_site.width < site.width:
        constants[:, -1] = added
    none = torch.zeros(site.width + 1, dtype=torch.double, device=added.device)
    return SortedHeads(
        site,
        {n: v.reshape(own[n].shape).to(own[n].dtype) for n, v in values.items() if n in own},
        none,
        none,
        constants,
    )


def _solved(whole: torch.Tensor, narrow: torch.Tensor) -> torch.Tensor:
    """`X` of `whole @ X = narrow`, the smallest one where a head is not of full rank."""
    return torch.linalg.pinv(whole) @ narrow


def _with_zeros(rows: torch.Tensor, width: int) -> torch.Tensor:
    """`(heads, width, columns)` with rows of zeros behind those that are there."""
    missing = width - rows.shape[1]
    return torch.cat([rows, rows.new_zeros(len(rows), missing, rows.shape[2])], 1)


def choose_widths(found: Sequence[SortedHeads], mean: float) -> dict[str, int]:
    """Attention key -> dimensions of its heads, `mean` on average over all heads at most.

    Multiples of `STEP`, at least one; each step down is taken where the error grows least for the
    weights it saves.

    Raises:
        PlanError: the mean is not between `STEP` and the present one.
    """
    width = {each.site.key: each.site.width for each in found}
    heads = {each.site.key: each.site.heads for each in found}
    errors = {each.site.key: each.errors for each in found}
    total = sum(heads.values())
    if not STEP <= mean <= sum(width[key] * heads[key] for key in width) / total:
        most = sum(width[key] * heads[key] for key in width) / total
        raise PlanError(
            f"heads of {mean:g} dimensions on average cannot be made of heads of {most:g}; "
            f"accepted are {STEP} to {most:g}"
        )

    def growth(key: str) -> float:
        fewer = _step_down(width[key])
        return float(errors[key][fewer] - errors[key][width[key]]) / (
            (width[key] - fewer) * heads[key]
        )

    while sum(width[key] * heads[key] for key in width) > mean * total + 1e-9:
        able = [key for key in width if width[key] > STEP]
        best = min(able, key=growth)
        width[best] = _step_down(width[best])
    return width


def _step_down(width: int) -> int:
    return (width - 1) // STEP * STEP


def _rows(model: nn.Module, site: AttentionSite, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights `(heads, width, inputs)` and biases `(heads, width)`, zeros where there are none."""
    module = cast(nn.Linear, model.get_submodule(name))
    shape = (site.heads, site.width)
    weight = module.weight.double().unflatten(0, shape)
    if module.bias is None:
        return weight, weight.new_zeros(shape)
    return weight, module.bias.double().unflatten(0, shape)


def _with_one(found: Moments) -> torch.Tensor:
    """Second moments of `x` with a one behind, `(channels + 1, channels + 1)`."""
    top = torch.cat([found.square, found.mean[:, None]], 1)
    last = torch.cat([found.mean, found.mean.new_ones(1)])
    return torch.cat([top, last[None]])


def _balanced(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """`T`, `T^-1` and the diagonal of `S` of the module's equations, descending, for each head."""
    lower, other = _root(left), _root(right)
    u, s, wt = torch.linalg.svd(lower.mT @ other)
    root = s.sqrt()
    return other @ wt.mT / root[:, None], (u / root[:, None]).mT @ lower.mT, s


def _root(square: torch.Tensor) -> torch.Tensor:
    """Cholesky factor, of what is made positive definite."""
    mean = square.diagonal(dim1=-2, dim2=-1).mean(-1)
    mean = mean.where(mean > 0, 1.0)  # of a head that is zero
    eye = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    return torch.linalg.cholesky(square + _RIDGE * mean[:, None, None] * eye)


def _left_over(values: torch.Tensor) -> torch.Tensor:
    """`(..., n)` -> `(..., n + 1)`: sums of all from each place on; 0 behind the last."""
    sums = values.flip(-1).cumsum(-1).flip(-1)
    return torch.cat([sums, sums.new_zeros(*sums.shape[:-1], 1)], -1)
