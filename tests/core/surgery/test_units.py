"""Units that own parts of several halves, of any axis and of buffers: masked, cut, resized."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.models.toy_family import CHANNELS, HIDDEN, WIDTH, D, ToyFamily, toy_model
from tests.support.surgery import masked_and_cut
from whisperslim.core import families
from whisperslim.core.families import Slice, UnitGroup
from whisperslim.core.plan.plan import PruningPlan, ZeroRule
from whisperslim.core.surgery.gates import attach_gates
from whisperslim.core.surgery.shrink import cut, resize
from whisperslim.core.surgery.units import as_units, kept_of, zeros_per_unit
from whisperslim.errors import PlanError
from whisperslim.methods.shared.units import scale_units, unit_norms

GLU, CONV = "encoder.0.ffn", "encoder.1.conv"
KEEP = {
    "encoder.0.ffn": (0, 3, 4),
    "encoder.1.ffn": (2,),
    "encoder.0.conv": (1,),
    "encoder.1.conv": (0, 2, 3),
}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families._FAMILIES, "toy", ToyFamily())


def states() -> torch.Tensor:
    return torch.randn(3, 7, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def on_states(model: nn.Module) -> torch.Tensor:
    return model(states())


def sites(model: nn.Module) -> tuple[families.UnitSite, ...]:
    return ToyFamily().unit_groups(model)


@torch.no_grad()
def test_masked_equals_cut() -> None:
    model = toy_model()
    dense = model(states())
    smaller, wanted, found = masked_and_cut(model, sites(model), PruningPlan(KEEP), on_states)
    assert (wanted - found).abs().max() < 1e-12
    assert (wanted - dense).abs().max() > 0.1
    assert {site.key: site.count for site in sites(smaller)} == {k: len(u) for k, u in KEEP.items()}


def test_a_cut_keeps_both_halves_and_the_statistics_of_a_unit() -> None:
    model = toy_model()
    smaller = deepcopy(model)
    cut(smaller, sites(model), PruningPlan(KEEP))
    (glu, _), (_, conv) = model.layers
    (thin, _), (_, narrow) = smaller.layers
    rows = [0, 3, 4, HIDDEN, HIDDEN + 3, HIDDEN + 4]
    assert torch.equal(thin.pair.weight, glu.pair.weight[rows])
    assert torch.equal(thin.pair.bias, glu.pair.bias[rows])
    channels = [0, 1, 4, 5, 6, 7]  # units 0, 2 and 3 of two channels each
    both = [*channels, *(CHANNELS + c for c in channels)]
    assert torch.equal(narrow.pointwise1.weight, conv.pointwise1.weight[both])
    assert torch.equal(narrow.depthwise.weight, conv.depthwise.weight[channels])
    assert torch.equal(narrow.pointwise2.weight, conv.pointwise2.weight[:, channels])
    for name in ("running_mean", "running_var"):
        assert torch.equal(getattr(narrow.norm, name), getattr(conv.norm, name)[channels])
        assert name in dict(narrow.norm.named_buffers())


def test_a_cut_removes_exactly_what_the_groups_say() -> None:
    model = toy_model()
    before = sum(p.numel() for p in model.parameters())
    expected = sum((s.count - len(KEEP[s.key])) * s.parameters_per_unit for s in sites(model))
    owned = sum(s.count * s.weights_per_unit for s in sites(model))
    names = ToyFamily().prunable_weights(model)
    assert owned == sum(model.get_parameter(name).numel() for name in names)
    cut(model, sites(model), PruningPlan(KEEP))
    assert before - sum(p.numel() for p in model.parameters()) == expected


def test_a_model_without_memory_gets_the_shapes_of_the_cut_one() -> None:
    smaller, empty = toy_model(), toy_model().to("meta")
    cut(smaller, sites(smaller), PruningPlan(KEEP))
    resize(empty, {key: len(units) for key, units in KEEP.items()})
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in smaller.state_dict().items()}


@torch.no_grad()
def test_a_gate_on_channels_scales_its_own_unit_only() -> None:
    model = toy_model()
    site = next(each for each in sites(model) if each.key == CONV)
    gate, seen = torch.tensor([1.0, 0.5, 2.0, 0.0], dtype=torch.float64), []
    module = model.get_submodule(site.gate)
    attach_gates(model, [site], lambda group, x: gate)
    module.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    activation = torch.randn(2, CHANNELS, 5, dtype=torch.float64)
    module(activation)
    for unit, factor in enumerate(gate):
        own = slice(unit * WIDTH, (unit + 1) * WIDTH)
        assert torch.equal(seen[0][:, own], activation[:, own] * factor)


@torch.no_grad()
def test_norms_and_scaling_reach_all_that_a_unit_owns() -> None:
    model = toy_model()
    site = next(each for each in sites(model) if each.key == GLU)
    pair, out = model.layers[0][0].pair, model.layers[0][0].out
    own = [pair.weight[1], pair.weight[HIDDEN + 1], pair.bias[[1, HIDDEN + 1]], out.weight[:, 1]]
    expected = torch.cat(own).norm()
    norms = unit_norms(model, site)
    assert float(norms[1]) == pytest.approx(float(expected), rel=1e-6)
    factor = torch.ones(site.count, dtype=torch.float64)
    factor[1] = 0.5
    scale_units(model, site, factor)
    expected_norms = norms * factor
    torch.testing.assert_close(unit_norms(model, site), expected_norms.float())


@torch.no_grad()
def test_zeros_of_both_halves_are_their_units() -> None:
    model = toy_model()
    model.layers[0][0].pair.weight[[2, HIDDEN + 2, HIDDEN + 4]] = 0.0
    model.layers[0][0].pair.bias.zero_()  # no prunable weights
    found = zeros_per_unit(dict(model.named_parameters()), sites(model))
    assert found[GLU] == (0, 0, 2 * D, 0, D)
    assert sum(found[CONV]) == 0


def test_elements_of_a_slice_by_hand() -> None:
    # Two halves of two units of two columns each.
    matrix = torch.arange(16.0).view(2, 8)
    part = Slice("w", 1, 2, prunable=True, repeats=2)
    assert kept_of(matrix, part, (1,)).tolist() == [[2, 3, 6, 7], [10, 11, 14, 15]]
    sums = as_units(matrix, part).sum(dim=(0, 2, 3))
    assert sums.tolist() == [0 + 1 + 4 + 5 + 8 + 9 + 12 + 13, 2 + 3 + 6 + 7 + 10 + 11 + 14 + 15]


def test_facts_are_the_group_without_its_place() -> None:
    site = sites(toy_model())[1]
    assert type(site.facts) is UnitGroup
    assert site.facts == UnitGroup("encoder.0.conv", "channels", "encoder", 4, 2, 42, 52)


def folded(model: nn.Module, seed: int = 4) -> PruningPlan:
    """New values for two matrices and a bias no unit owns, and elements of two that go."""
    generator = torch.Generator().manual_seed(seed)
    smaller = deepcopy(model)
    cut(smaller, sites(model), PruningPlan(KEEP))

    def drawn(name: str) -> torch.Tensor:
        shape = smaller.get_parameter(name).shape
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    folds = ("layers.0.0.out.weight", "layers.1.1.pointwise2.weight", "layers.0.0.out.bias")
    masks = ("layers.0.0.out.weight", "layers.1.0.pair.weight")
    return PruningPlan(
        KEEP,
        zero={"layers.1.1.pointwise2.weight": ZeroRule(0.0, 0.4)},
        folds={name: drawn(name) for name in folds},
        masks={name: drawn(name) > 0 for name in masks},
    )


@torch.no_grad()
def test_masked_equals_cut_with_folds_masks_and_rules() -> None:
    model = toy_model()
    plan, before = folded(model), {n: p.clone() for n, p in model.named_parameters()}
    _, plain, _ = masked_and_cut(model, sites(model), PruningPlan(KEEP), on_states)
    _, wanted, found = masked_and_cut(model, sites(model), plan, on_states)
    assert (wanted - found).abs().max() < 1e-12
    assert (wanted - plain).abs().max() > 0.1
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_the_cut_comes_first_then_folds_then_zeros() -> None:
    model = toy_model()
    plan = folded(model)
    out = plan.folds["layers.0.0.out.weight"].masked_fill(plan.masks["layers.0.0.out.weight"], 0)
    wide = plan.folds["layers.1.1.pointwise2.weight"]
    cut(model, sites(model), plan)
    assert torch.equal(model.layers[0][0].out.weight, out)
    assert torch.equal(model.layers[0][0].out.bias, plan.folds["layers.0.0.out.bias"])
    zero = wide.abs() < 0.4
    assert 0 < zero.sum() < zero.numel(), "the rule is for folded values"
    assert torch.equal(model.layers[1][1].pointwise2.weight, wide.masked_fill(zero, 0.0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": {"layers.0.0.out.weight": torch.zeros(D, HIDDEN)}}, r"needs \[6, 3\]"),
        ({"folds": {"layers.0.0.out.bias": torch.zeros(D).bool()}}, "of numbers"),
        ({"masks": {"layers.0.0.out.bias": torch.zeros(D)}}, "of truth values"),
        ({"folds": {"layers.9.bias": torch.zeros(D)}}, "does not have"),
    ],
)
def test_folds_that_do_not_fit_change_nothing(changes: dict[str, Any], message: str) -> None:
    model = toy_model()
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(PlanError, match=message):
        cut(model, sites(model), PruningPlan(KEEP, **changes))
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
