"""Apply a pruning plan. The only file of the package that changes a tensor's shape."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.families import (
    AttentionSite,
    NarrowsHeads,
    Slice,
    UnitGroup,
    UnitSite,
    family_of,
    unlimited,
)
from whisperslim.core.families.factors import (
    FactoredLinear,
    OpenedLinear,
    linears_of,
    most_units,
    opened,
)
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.surgery.head_width import SortedHeads
from whisperslim.core.surgery.low_rank import Components
from whisperslim.core.surgery.units import kept_of
from whisperslim.errors import PlanError


@torch.no_grad()
def cut(model: nn.Module, groups: Sequence[UnitSite], plan: PruningPlan) -> None:
    """Remove the units the plan drops, in place; then fold, mask and zero what it names.

    Args:
        model: The model `groups` was read from; its linear layers become narrower.
        groups: Every unit group of `model`.
        plan: Must name every group. One that keeps no unit loses its sub-layer altogether.

    Raises:
        PlanError: when the plan does not fit the model; nothing has been changed then.
    """
    _check_groups(model, groups)
    _check_fit(groups, plan)
    _check_rules(model, plan)
    _check_tensors(model, groups, plan)
    for group in groups:
        _keep_units(model, group, plan.keep[group.key])
    set_elements(model, plan)


@torch.no_grad()
def set_elements(model: nn.Module, plan: PruningPlan) -> None:
    """Fold, mask and zero what a plan names in a model that is cut, in place; shapes stay."""
    for name in changed_by(plan):
        weight = model.get_parameter(name)
        weight.copy_(final_values(name, weight, plan))


def changed_by(plan: PruningPlan) -> tuple[str, ...]:
    """Parameters of which the plan changes elements that stay."""
    return tuple(dict.fromkeys([*plan.folds, *plan.masks, *plan.zero]))


def final_values(name: str, kept: torch.Tensor, plan: PruningPlan) -> torch.Tensor:
    """What becomes of a parameter after the cut, `kept`: folded, then masked, then zeroed."""
    values = plan.folds.get(name, kept).detach().to(kept.device, kept.dtype, copy=True)
    if name in plan.masks:
        values.masked_fill_(plan.masks[name].to(kept.device), 0.0)
    if name in plan.zero:
        rule = plan.zero[name]
        values.masked_fill_((values - rule.center).abs() < rule.radius, 0.0)
    return values


@torch.no_grad()
def select_tokens(model: PreTrainedModel, sources: Sequence[Sequence[int]]) -> None:
    """Give a model another vocabulary, in place; the output projection stays tied to the embedding.

    Args:
        model: Whole or cut; its configuration gets the new vocabulary size and nothing else.
        sources: For each new token, the old ids it comes of: of one, a copy of its row; of
            several, their mean.

    Raises:
        PlanError: no token, a token without a source, or an id the model has no row of.
    """
    embedding, projection = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Embedding) or not isinstance(projection, nn.Linear):
        raise PlanError("the model has no embedding that is its output projection, too")
    rows = embedding.num_embeddings
    wrong = [ids for ids in sources if not ids or not 0 <= min(ids) <= max(ids) < rows]
    if wrong or not sources:
        raise PlanError(f"rows {wrong[:1]} cannot be taken from an embedding of {rows} rows")
    old = embedding.weight
    # A mean of one row is that row to the bit.
    chosen = torch.stack([old[list(ids)].mean(0) for ids in sources])
    embedding.weight = nn.Parameter(chosen, requires_grad=old.requires_grad)
    projection.weight = embedding.weight
    embedding.num_embeddings = projection.out_features = len(sources)
    padding = [new for new, ids in enumerate(sources) if tuple(ids) == (embedding.padding_idx,)]
    embedding.padding_idx = padding[0] if padding else None
    cast(Any, model.config).vocab_size = len(sources)


def narrowing(model: nn.Module) -> NarrowsHeads:
    """The family of a model whose heads may have any width.

    Raises:
        PlanError: it is not of such a family.
    """
    family = family_of(model)
    if not isinstance(family, NarrowsHeads):
        raise PlanError(
            f"heads of a {family.model_type} model keep their width; set target.head_width to 0"
        )
    return family


def head_widths(model: nn.Module) -> dict[str, int]:
    """Attention key -> dimensions of its heads; nothing for families whose heads have one width."""
    family = family_of(model)
    if not isinstance(family, NarrowsHeads):
        return {}
    return {site.key: site.width for site in family.attentions(model)}


@torch.no_grad()
def narrow_heads(model: nn.Module, found: Sequence[SortedHeads], widths: Mapping[str, int]) -> None:
    """Sort the dimensions of heads and keep the first ones, in place.

    The output's bias takes over the constant part of what goes.

    Args:
        model: The model that `found` was computed of.
        found: Attentions to narrow.
        widths: Attention key -> dimensions that stay, of each of `found`.

    Raises:
        PlanError: a width is outside 1 to the present one; nothing has been changed then.
    """
    for each in found:
        _check_width(each.site, widths[each.site.key])
    for each in found:
        width = widths[each.site.key]
        for name, value in each.values.items():
            model.get_parameter(name).copy_(value)
        bias = model.get_parameter(f"{each.site.output}.bias")
        bias.add_(each.constants[:, width:].sum(1).to(bias))
        _keep_dimensions(model, each.site, width)


@torch.no_grad()
def open_matrices(model: nn.Module, found: Mapping[str, Components]) -> None:
    """Give linear layers components that can be gated and cut, in place; they compute the same.

    Args:
        model: `found` was computed of it, or of a model of its shapes.
        found: Name of a linear layer -> its components.
    """
    for name, each in found.items():
        linear = cast(nn.Linear, model.get_submodule(name))
        layer = _without_storage(linear, OpenedLinear)
        layer.weight, layer.bias = linear.weight, linear.bias
        for kind in ("down", "up", "mean"):
            setattr(layer, kind, getattr(each, kind).to(linear.weight))
        _replace(model, name, layer)


@torch.no_grad()
def close_matrices(model: nn.Module) -> None:
    """Opened layers are usual ones again, in place; they compute the same."""
    for name in opened(model):
        _replace(model, name, _closed(cast(OpenedLinear, model.get_submodule(name))))


def resize(
    model: nn.Module,
    counts: Mapping[str, int],
    widths: Mapping[str, int] | None = None,
    ranks: Mapping[str, int] | None = None,
    opening: Sequence[str] = (),
) -> None:
    """Give a model on the meta device the shapes of a cut one, before weights are assigned.

    Args:
        model: A whole model.
        counts: Group key -> units that stay.
        widths: Attention key -> dimensions of its heads; those that are not named, or have lost all
            of their heads, keep the present ones.
        ranks: Name of a linear layer -> rank of the two matrices it is stored as; of no other.
        opening: Names of the linear layers that are opened into components.

    Raises:
        PlanError: when a group is unknown or a count is outside 0 to the present count, a width
            outside 1 to the present one, or a layer is no linear one of a sub-layer, or its two
            matrices would not be smaller than the one.
    """
    if widths:
        sites = {site.key: site for site in narrowing(model).attentions(model)}
        unknown = sorted(set(widths) - set(sites))
        if unknown:
            raise PlanError(f"attentions do not match this model: {unknown[:3]}")
        for key, width in widths.items():
            _check_width(sites[key], width)
        with torch.no_grad():
            for key, width in widths.items():
                _keep_dimensions(model, sites[key], width)
    groups = family_of(model).unit_groups(model)
    known = {group.key for group in groups}
    if known != set(counts):
        raise PlanError(f"unit groups do not match this model: {sorted(known ^ set(counts))}")
    wrong = [group for group in groups if not 0 <= counts[group.key] <= group.count]
    if wrong:
        key, most = wrong[0].key, wrong[0].count
        raise PlanError(f"{key} cannot have {counts[key]} units; accepted are 0 to {most}")
    plan = PruningPlan({group.key: tuple(range(counts[group.key])) for group in groups})
    _check_fit(groups, plan)
    with torch.no_grad():
        for group in groups:
            _keep_units(model, group, plan.keep[group.key])
    if ranks or opening:
        _check_linears(model, ranks or {}, opening)
    for name in opening:
        _replace(model, name, _without_storage(model.get_submodule(name), OpenedLinear))
    for name, rank in (ranks or {}).items():
        linear = cast(nn.Linear, model.get_submodule(name))
        with torch.device("meta"):
            sizes = linear.in_features, linear.out_features
            _replace(model, name, FactoredLinear(*sizes, rank, linear.bias is not None))


def _check_linears(model: nn.Module, ranks: Mapping[str, int], opening: Sequence[str]) -> None:
    known = {n for site in family_of(model).unit_groups(model) for n in linears_of(model, site)}
    for name in (*ranks, *opening):
        if name not in known:
            raise PlanError(f"{name} is no linear layer of a sub-layer that is there")
        linear = cast(nn.Linear, model.get_submodule(name))
        most = most_units(linear.in_features, linear.out_features) - 1
        if not 1 <= ranks.get(name, 1) <= most or (name in opening and name in ranks):
            raise PlanError(
                f"{name} cannot be two matrices of rank {ranks.get(name)}; accepted are 1 to {most}"
            )


def _without_storage(linear: Any, kind: type[OpenedLinear]) -> OpenedLinear:
    with torch.device("meta"):
        return kind(linear.in_features, linear.out_features, linear.bias is not None)


def _closed(layer: OpenedLinear) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
    linear.weight, linear.bias = layer.weight, layer.bias
    return linear


def _keep_components(model: nn.Module, group: UnitSite, units: Sequence[int]) -> None:
    """The whole matrix while the last unit is there; two matrices of the rest otherwise."""
    layer = cast(OpenedLinear, model.get_submodule(group.matrix))
    if len(units) == group.count:
        _replace(model, group.matrix, _closed(layer))
        return
    index = torch.tensor(list(units), device=layer.weight.device)
    down, up = layer.down[index].double(), layer.up[:, index].double()
    made = FactoredLinear(layer.in_features, layer.out_features, len(units), layer.bias is not None)
    found = {"first": down @ layer.weight.double(), "second": up}
    if layer.bias is not None:
        mean = layer.mean.double()
        found["bias"] = layer.bias.double() + mean - up @ (down @ mean)
    for name, value in found.items():
        # Whether a layer is trained is as it was.
        trains = layer.weight.requires_grad
        setattr(made, name, nn.Parameter(value.to(layer.weight), requires_grad=trains))
    _replace(model, group.matrix, made)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, leaf = name.rpartition(".")
    module.train(model.training)
    setattr(model.get_submodule(owner), leaf, module)


def _check_width(site: AttentionSite, width: int) -> None:
    if not 1 <= width <= site.width:
        raise PlanError(
            f"heads of {site.key} cannot have {width} dimensions; accepted are 1 to {site.width}"
        )


def _keep_dimensions(model: nn.Module, site: AttentionSite, width: int) -> None:
    """The first dimensions of every head, and none else."""
    if width == site.width:
        return
    units = range(width)
    for name, dim in ((site.query, 0), (site.keys, 0), (site.values, 0), (site.output, 1)):
        part = Slice(f"{name}.weight", dim, 1, prunable=True, repeats=site.heads)
        _select(model, part, units)
        if dim == 0 and getattr(model.get_submodule(name), "bias", None) is not None:
            _select(model, replace(part, parameter=f"{name}.bias"), units)
    narrowing(model).set_head_width(model, site, width)


def _check_groups(model: nn.Module, groups: Sequence[UnitSite]) -> None:
    if unlimited(groups) != family_of(model).unit_groups(model):
        raise PlanError(
            "the unit groups are not this model's as it stands; read them from it and plan again"
        )


def _check_rules(model: nn.Module, plan: PruningPlan) -> None:
    unknown = sorted(set(plan.zero) - set(family_of(model).prunable_weights(model)))
    if unknown:
        raise PlanError(f"the plan zeroes what is no prunable matrix of this model: {unknown[:3]}")


def _check_tensors(model: nn.Module, groups: Sequence[UnitSite], plan: PruningPlan) -> None:
    owners = {part.parameter: (part, group) for group in groups for part in group.slices}
    gone = {group.gate for group in groups if not plan.keep[group.key]}
    known = dict(model.named_parameters())
    for kind, tensors in (("folds", plan.folds), ("masks", plan.masks)):
        for name, tensor in tensors.items():
            if name not in known or name.rsplit(".", 1)[0] in gone:
                raise PlanError(f"the plan's {kind} name {name}, which the cut model does not have")
            shape = list(known[name].shape)
            if name in owners:
                part, group = owners[name]
                shape[part.dim] = shape[part.dim] // group.count * len(plan.keep[group.key])
            if list(tensor.shape) != shape or (tensor.dtype == torch.bool) != (kind == "masks"):
                raise PlanError(
                    f"the plan's {kind} hold {name} as {tensor.dtype} {list(tensor.shape)}, and "
                    f"the cut model needs {shape}, of "
                    f"{'truth values' if kind == 'masks' else 'numbers'}"
                )


def _check_fit(groups: Sequence[UnitGroup], plan: PruningPlan) -> None:
    unknown = sorted(set(plan.keep) - {group.key for group in groups})
    if unknown:
        raise PlanError(f"the plan is of another model: it names {unknown[:3]}")
    for group in groups:
        units = plan.keep.get(group.key)
        if units is None:
            raise PlanError(f"the plan does not mention {group.key}")
        if list(units) != sorted(set(units)):
            raise PlanError(f"the plan for {group.key} must keep distinct units in order")
        if units and (units[0] < 0 or units[-1] >= group.count):
            raise PlanError(f"the plan for {group.key} names units outside 0 to {group.count - 1}")
        last = bool(units) and units[-1] == group.count - 1
        if group.rest and (not units or last > (len(units) == group.count)):
            raise PlanError(
                f"the plan for {group.key} must keep all units, or some without the last, which is "
                "what the others are not"
            )
    empty = sorted({g.place for g in groups} - {g.place for g in groups if plan.keep[g.key]})
    if empty:
        raise PlanError(f"the plan leaves no unit of {', '.join(empty)} in any layer; keep one")


def _keep_units(model: nn.Module, group: UnitSite, units: Sequence[int]) -> None:
    if group.rest:
        _keep_components(model, group, units)
        return
    if len(units) == group.count:
        return
    if not units:
        family_of(model).drop(model, group)
        return
    for part in (*group.slices, *group.buffers):
        _select(model, part, units)
    family_of(model).set_unit_count(model, group, len(units))


def _select(model: nn.Module, part: Slice, units: Sequence[int]) -> None:
    owner, leaf = part.parameter.rsplit(".", 1)
    module = model.get_submodule(owner)
    old = getattr(module, leaf)
    chosen = kept_of(old, part, units)
    if isinstance(old, nn.Parameter):
        chosen = nn.Parameter(chosen, requires_grad=old.requires_grad)
    setattr(module, leaf, chosen)
    if isinstance(module, nn.Linear) and leaf == "weight":
        module.out_features, module.in_features = chosen.shape
