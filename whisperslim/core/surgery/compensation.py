"""Least squares at the cut: the matrix that reads a site's units takes over from those that go.

With `x` the site's activations before the cut, mean `m` and covariance `C`, `W` and `b` the weights
and the bias that read them, `S` what stays, the new weights `A` and bias `c` minimize

    E |A x_S + c - W x - b|^2 + l |A - W_S|^2        l = DAMP * mean diagonal of C_SS

    A (C_SS + l I) = W C_{.S} + l W_S                c = b + W m - A m_S

Least squares after a choice of units: Kwon et al., arXiv 2204.09656, section 4.3, and ZipLM, arXiv
2302.04089; pulling towards the old weights, and the bias that takes the means, are our choice.
Elements that are zero, or become so, stay out: each row is fitted on the rest of its elements.

A sub-layer that goes as a whole leaves its mean output to the bias of the one before it, as sites
are ordered. That is exact where every sub-layer adds to one stream and reads it through its own
norm, since nothing that is left stands between the two; where none is left before it, the mean goes
too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import Slice, UnitSite
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.moments import Moments
from whisperslim.core.surgery.shrink import final_values
from whisperslim.core.surgery.units import kept_of, unit_elements
from whisperslim.errors import PlanError

# Of 1e-2 and 1e-1, the better on speech that the fit has not seen. Our choice.
DAMP = 0.1
_TOLERANCE, _MOST_ROUNDS = 1e-7, 500


def losing(sites: Sequence[UnitSite], plan: PruningPlan) -> tuple[UnitSite, ...]:
    """The sites that a plan takes units from: those that can be made up for.

    Components of a matrix are none: they are uncorrelated, and their mean stays in any case.
    """
    return tuple(s for s in sites if len(plan.keep[s.key]) < s.count and not s.rest)


@torch.no_grad()
def compensated(
    model: nn.Module,
    sites: Sequence[UnitSite],
    plan: PruningPlan,
    moments: Mapping[str, Moments],
    damp: float = DAMP,
) -> PruningPlan:
    """`plan` with folds that make up for what it cuts. The model is not changed.

    Every site is fitted to the moments of the model before the cut, whatever goes before it: one
    pass serves all sites and all sizes. What the plan folds already is left as it is.

    Args:
        model: Before the cut.
        sites: All its sites.
        plan: Rules of matrices that are fitted become zeros of the folds.
        moments: Of each of `losing`, by group key.
        damp: `l` above, as a share of the mean diagonal.

    Raises:
        PlanError: a site's units are read by something else than a matrix.
    """
    folds, zero = dict(plan.folds), dict(plan.zero)
    before: dict[str, str] = {}  # stack -> bias of the sub-layer before
    for site in sites:
        if site.rest:
            continue
        units, name, bias = plan.keep[site.key], f"{site.gate}.weight", f"{site.gate}.bias"
        reader: Any = model.get_submodule(site.gate)
        own: torch.Tensor | None = getattr(reader, "bias", None)
        if len(units) < site.count and name not in plan.folds:
            found, whole = moments[site.key], _matrix(reader, site)
            mean = whole @ found.mean + (0.0 if own is None else own.double())
            if units:
                folds[name], left = _taken_over(model, site, plan, found, whole, damp)
                zero.pop(name, None)
                if own is not None:
                    folds[bias] = (mean - left).to(own.dtype)
            elif site.stack in before:
                target = before[site.stack]
                value = folds.get(target, model.get_parameter(target))
                folds[target] = (value.double() + mean).to(value.dtype)
        if units and own is not None:
            before[site.stack] = bias
    return replace(plan, folds=folds, zero=zero)


def _taken_over(
    model: nn.Module,
    site: UnitSite,
    plan: PruningPlan,
    found: Moments,
    whole: torch.Tensor,
    damp: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`A` as the reader's parameter is shaped once cut, and `A m_S`, `(out,)` float64."""
    name, units = f"{site.gate}.weight", plan.keep[site.key]
    weight = model.get_parameter(name)
    part = next(part for part in site.slices if part.parameter == name)
    kept = final_values(name, kept_of(weight, part, units), plan)
    index = _channels(site, part, units).to(weight.device)
    centered = getattr(model.get_submodule(site.gate), "bias", None) is not None
    fitted = _fitted(whole, found, index, (kept != 0).flatten(1), damp, centered)
    return fitted.to(weight.dtype).view_as(kept), fitted @ found.mean[index]


def _matrix(reader: nn.Module, site: UnitSite) -> torch.Tensor:
    """The reader's weights, `(out, channels)` float64."""
    weight = getattr(reader, "weight", None)
    if weight is None or weight.numel() != len(weight) * site.count * site.width:
        raise PlanError(
            f"{site.gate} is no matrix over the units of {site.key}, so their cut cannot be made "
            "up for; set shrink.compensate to false"
        )
    return weight.flatten(1).double()


def _channels(site: UnitSite, part: Slice, units: Sequence[int]) -> torch.Tensor:
    return unit_elements(part, units, site.count * site.width)


def _fitted(
    whole: torch.Tensor,
    found: Moments,
    index: torch.Tensor,
    free: torch.Tensor,
    damp: float,
    centered: bool,
) -> torch.Tensor:
    """`A` of the module's equations, with zeros where `free` is not; `(out, kept)` float64.

    Without a bias there is nothing to take the means, and moments are about zero.
    """
    spread = found.covariance if centered else found.square
    left = spread[index][:, index]
    # A site whose activations never move has nothing to fit: any pull keeps its old weights.
    pull = damp * left.diagonal().mean().clamp_min(torch.finfo(torch.float64).tiny * 1e6)
    left = left + pull * torch.eye(len(left), dtype=left.dtype, device=left.device)
    right = whole @ spread[:, index] + pull * whole[:, index]
    if bool(free.all()):
        return torch.linalg.solve(left, right.T).T
    return _on_support(left, right, free, whole[:, index])


def _on_support(
    left: torch.Tensor, right: torch.Tensor, free: torch.Tensor, start: torch.Tensor
) -> torch.Tensor:
    """Solve `A left = right` in the `free` elements of each row: conjugate gradients, all rows at
    once, preconditioned by the inverse of all of `left`, which is near where few are not free."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(left))
    answer = start * free
    residual = (right - answer @ left) * free
    scaled = (residual @ inverse) * free
    step = scaled
    energy = (residual * scaled).sum(1, keepdim=True)
    wanted = right * free
    enough = _TOLERANCE**2 * (wanted * (wanted @ inverse)).sum(1, keepdim=True)
    for _ in range(_MOST_ROUNDS):
        if bool((energy <= enough).all()):
            break
        along = (step @ left) * free
        # Rows that are done have no direction left.
        length = energy / (step * along).sum(1, keepdim=True).clamp_min(1e-300)
        answer += length * step
        residual -= length * along
        scaled = (residual @ inverse) * free
        fresh = (residual * scaled).sum(1, keepdim=True)
        step = scaled + fresh / energy.clamp_min(1e-300) * step
        energy = fresh
    return answer
