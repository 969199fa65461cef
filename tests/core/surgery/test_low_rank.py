"""Layers of two matrices: opened ones compute the same, masked equals cut, costs are as said."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.models.low_rank import (
    moments_on_noise,
    opened_by,
    opened_on_noise,
    plan_by_variance,
)
from tests.support.models.narrow import noise_inputs
from tests.support.surgery import masked_and_cut
from tests.support.tiny import D_MODEL, FFN, tiny_model, tiny_model_folder
from whisperslim.core.cost.cost import cost_of
from whisperslim.core.families import UnitSite, family_of, prunable_total
from whisperslim.core.families.factors import FactoredLinear, factored, most_units, opened
from whisperslim.core.loading import load_model
from whisperslim.core.plan.plan import PruningPlan, keep_everything, plan_to_budget
from whisperslim.core.store.checkpoint import count_parameters, describe_cut, save_slim
from whisperslim.core.surgery.low_rank import Components, components_in, watching
from whisperslim.core.surgery.moments import Moments
from whisperslim.core.surgery.shrink import close_matrices, cut, resize
from whisperslim.errors import CheckpointError, PlanError

# Of 32 x 32: 1024 weights, 64 for each component. Of 32 x 48: 1536, 80 each; 19 leave 16.
SQUARE, LONG = 16, 20
FC1, OUT = "model.encoder.layers.1.fc1", "model.decoder.layers.0.encoder_attn.out_proj"
KEYS = "model.decoder.layers.1.encoder_attn.k_proj"


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(**noise_inputs()).logits
    return found


def groups_of(model: Any) -> tuple[UnitSite, ...]:
    return family_of(model).unit_groups(model)


def planned(share: float) -> tuple[Any, tuple[UnitSite, ...], PruningPlan]:
    model = tiny_model()
    found = opened_on_noise(model)
    return model, groups_of(model), plan_by_variance(model, found, share)


def states_into(model: Any, name: str) -> np.ndarray:
    seen: list[torch.Tensor] = []
    module = model.get_submodule(name)
    hook = module.register_forward_pre_hook(lambda m, given: seen.append(given[0].flatten(0, -2)))
    logits(model)
    hook.remove()
    return torch.cat(seen).double().numpy()


def test_units_are_what_is_smaller_than_the_matrix() -> None:
    assert most_units(D_MODEL, D_MODEL) == SQUARE and 15 * 64 < 1024 <= 16 * 64
    assert most_units(D_MODEL, FFN) == most_units(FFN, D_MODEL) == LONG
    assert 19 * 80 < 1536 <= 20 * 80
    model = tiny_model()
    dense, parameters = prunable_total(groups_of(model)), count_parameters(model)
    opened_on_noise(model)
    found = {group.key: group for group in groups_of(model)}
    assert len(found) == 6 * 4 + 4 * 2 and {g.kind for g in found.values()} == {"ranks"}
    assert (found["encoder.0.fc1.ranks"].count, found["encoder.0.fc1.ranks"].rest) == (LONG, 16)
    square = found["decoder.1.encoder_attn.k_proj.ranks"]
    assert (square.count, square.rest) == (SQUARE, 64)
    assert square.weights(range(SQUARE)) == 1024 and square.weights((0, 1)) == 128
    assert found["encoder.0.fc1.ranks"].weights(range(LONG)) == 1536
    assert prunable_total(groups_of(model)) == dense and count_parameters(model) == parameters


def test_opening_and_closing_change_nothing_to_the_bit() -> None:
    model = tiny_model()
    before = logits(model)
    opened_on_noise(model)
    assert len(opened(model)) == 32
    assert torch.equal(logits(model), before)
    # Gates that stand at one act, and change nothing.
    for group in groups_of(model):
        model.get_submodule(group.gate).register_forward_pre_hook(lambda m, given: given)
    assert torch.equal(logits(model), before)
    close_matrices(model)
    assert opened(model) == () and torch.equal(logits(model), before)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_masked_equals_cut_and_what_is_gone_is_counted(share: float) -> None:
    model, groups, plan = planned(share)
    smaller, wanted, found = masked_and_cut(model, groups, plan, logits)
    assert not torch.allclose(wanted, logits(model), atol=1e-2)
    assert (wanted - found).abs().max() <= 1e-6 * wanted.abs().max()
    names, whole = family_of(smaller).prunable_weights(smaller), prunable_total(groups)
    left = sum(smaller.get_parameter(name).numel() for name in names)
    assert prunable_total(groups_of(smaller)) == left
    assert plan.removed == pytest.approx(1 - left / whole, abs=1e-12)
    # By less than one component; all of them are nearer to the target than that.
    assert share <= plan.removed < share + 80 / whole
    assert count_parameters(smaller) == count_parameters(model) - (whole - left)


def test_no_matrix_becomes_two_that_are_not_smaller() -> None:
    for share in (0.05, 0.3, 0.6):
        model, groups, plan = planned(share)
        smaller = deepcopy(model)
        cut(smaller, groups, plan)
        for group in groups:
            module: Any = smaller.get_submodule(group.matrix)
            kept = len(plan.keep[group.key])
            if kept == group.count:
                assert type(module) is torch.nn.Linear
                assert torch.equal(module.weight, model.get_submodule(group.matrix).weight)
                continue
            assert isinstance(module, FactoredLinear) and module.rank == kept
            two = module.first.numel() + module.second.numel()
            assert two == kept * (module.in_features + module.out_features)
            assert two < module.in_features * module.out_features
            assert module.bias is None or module.bias.shape == (module.out_features,)


@pytest.mark.parametrize(("name", "kept"), [(FC1, 5), (OUT, 9), (KEYS, 3)])
def test_a_component_costs_what_is_said_and_no_other_choice_is_better(name: str, kept: int) -> None:
    """Against numpy's singular values of the matrix times the root of the input's moments."""
    model = tiny_model()
    given = states_into(model, name)
    given = given[:: max(1, len(given) // 400)]
    linear: Any = model.get_submodule(name)
    weight = linear.weight.detach().double().numpy()
    bias = 0.0 if linear.bias is None else linear.bias.detach().double().numpy()
    centered = given - given.mean(0) if linear.bias is not None else given
    values, vectors = np.linalg.eigh(centered.T @ centered / len(given))
    root = vectors * np.sqrt(values.clip(0))
    singular = np.linalg.svd(weight @ root, compute_uv=False)

    found = opened_on_sample(model, name, given)
    group = next(g for g in groups_of(model) if g.matrix == name)
    cut(model, groups_of(model), keep_first(groups_of(model), {group.key: kept}))
    two: Any = model.get_submodule(name)
    first, second = (getattr(two, n).detach().double().numpy() for n in ("first", "second"))
    wanted = given @ weight.T + bias
    seen = given @ first.T @ second.T + (0.0 if two.bias is None else two.bias.detach().numpy())
    error = ((wanted - seen) ** 2).sum(1).mean()
    assert error == pytest.approx((singular[kept:] ** 2).sum(), rel=1e-4)
    assert error == pytest.approx(float(found.lost[kept:].sum()), rel=1e-4)
    np.testing.assert_allclose(found.lost[:-1], singular[: group.count - 1] ** 2, atol=1e-9)
    if linear.bias is not None:
        np.testing.assert_allclose(seen.mean(0), wanted.mean(0), atol=1e-5)


def opened_on_sample(model: Any, name: str, given: np.ndarray) -> Components:
    """All opened on noise, `name` by the rows `given`."""
    rows = torch.tensor(given)
    moments = Moments(len(rows), rows.mean(0), rows.T @ rows / len(rows))
    return opened_by(model, {**moments_on_noise(model), name: moments})[name]


def keep_first(groups: Sequence[UnitSite], kept: Mapping[str, int]) -> PruningPlan:
    whole = keep_everything(groups).keep
    return PruningPlan({key: units[: kept.get(key, len(units))] for key, units in whole.items()})


@pytest.mark.parametrize("units", [(), (0, 3, SQUARE - 1)])
def test_what_is_no_two_matrices_is_refused(units: tuple[int, ...]) -> None:
    model = tiny_model()
    opened_on_noise(model)
    groups = groups_of(model)
    plan = keep_everything(groups)
    plan = PruningPlan({**plan.keep, "encoder.0.self_attn.q_proj.ranks": units})
    before = logits(model)
    with pytest.raises(PlanError, match="must keep all units, or some without the last"):
        cut(model, groups, plan)
    assert torch.equal(logits(model), before), "nothing has changed"


def saved(model: Any, folder: Path) -> Any:
    dense = tiny_model()
    record = describe_cut(
        "tiny", groups_of(dense), count_parameters(dense), keep_everything(groups_of(dense)), "hi"
    )
    record = replace(record, ranks=factored(model), opened=opened(model))
    save_slim(folder / "saved", model, record, side_files=tiny_model_folder(folder / "tiny"))
    return load_model(str(folder / "saved"))


def test_saved_equals_reloaded(tmp_path: Path) -> None:
    model, groups, plan = planned(0.4)
    again = saved(model, tmp_path / "opened")
    assert again.groups() == groups
    assert torch.equal(logits(again.model), logits(model))
    for one, other in zip(components_in(model).values(), components_in(again.model).values(),
                          strict=True):  # fmt: skip
        assert torch.equal(one.up, other.up) and torch.equal(one.mean, other.mean)
    cut(model, groups, plan)
    again = saved(model, tmp_path / "cut")
    assert factored(again.model) == factored(model) != {}
    assert torch.equal(logits(again.model), logits(model))
    state = again.model.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("ranks", "opening", "wrong"),
    [
        ({FC1: LONG}, (), "accepted are 1 to 19"),
        ({FC1: 0}, (), "accepted are 1 to 19"),
        ({FC1: 3}, (FC1,), "accepted are 1 to 19"),
        ({"model.encoder.conv1": 3}, (), "is no linear layer of a sub-layer"),
        ({}, ("proj_out",), "is no linear layer of a sub-layer"),
    ],
)
def test_a_record_of_impossible_shapes_is_refused(
    ranks: dict[str, int], opening: tuple[str, ...], wrong: str, tmp_path: Path
) -> None:
    model = tiny_model()
    counts = {group.key: group.count for group in groups_of(model)}
    with pytest.raises(PlanError, match=wrong):
        resize(model, counts, None, ranks, opening)
    record = describe_cut(
        "tiny", groups_of(model), count_parameters(model), keep_everything(groups_of(model)), "hi"
    )
    record = replace(record, ranks=ranks, opened=opening)
    side = tiny_model_folder(tmp_path / "tiny")
    save_slim(tmp_path / "saved", model, record, side_files=side)
    with pytest.raises(CheckpointError, match=wrong):
        load_model(str(tmp_path / "saved"))


def test_the_report_counts_factors_where_they_are(tmp_path: Path) -> None:
    model, groups, plan = planned(0.5)
    dense = cost_of(load_model(str(tiny_model_folder(tmp_path / "tiny"))))
    cut(model, groups, plan)
    report = cost_of(saved(model, tmp_path).path)
    assert report.parameters == sum(row.parameters for row in report.rows)
    assert report.parameters == count_parameters(model)
    assert report.dense_parameters == report.parameters + report.removed == dense.parameters
    assert report.removed_of_prunable == pytest.approx(plan.removed)
    rows = {row.key: row for row in report.rows}
    assert [row.key for row in report.rows] == [row.key for row in dense.rows]
    block = rows["encoder.1.ffn"]
    assert (block.units, block.units_dense) == (FFN, FFN)
    assert block.ranks == {
        name: len(plan.keep[f"encoder.1.{name}.ranks"])
        for name in ("fc1", "fc2")
        if f"model.encoder.layers.1.{name}" in factored(model)
    }
    assert block.removed == sum(
        D_MODEL * FFN - rank * (D_MODEL + FFN) for rank in block.ranks.values()
    )
    # A product takes two operations a weight and position.
    ratio = (2 * D_MODEL * FFN - block.removed) / (2 * D_MODEL * FFN)
    assert block.flops == pytest.approx(ratio * block.flops_dense)
    assert report.dense_bytes == pytest.approx(dense.bytes_on_disk, rel=0.02)
    # Opened, it is the dense one.
    again = tiny_model()
    opened_on_noise(again)
    whole = cost_of(saved(again, tmp_path / "whole").path)
    assert (whole.parameters, whole.removed, whole.flops) == (dense.parameters, 0, dense.flops)


def test_two_matrices_are_not_opened_again() -> None:
    model, groups, plan = planned(0.5)
    cut(model, groups, plan)
    with pytest.raises(PlanError, match="has layers of two matrices already"):
        watching(model)
    assert moments_on_noise(tiny_model()).keys() == set(opened(planned(0.1)[0]))


def test_units_of_a_model_with_two_matrices_can_be_cut() -> None:
    """Heads own rows of the second matrix and columns of the first; what is shared stays."""
    model, groups, plan = planned(0.5)
    cut(model, groups, plan)
    sites = groups_of(model)
    scores = {site.key: torch.arange(site.count).double() for site in sites}
    fewer = plan_to_budget(scores, sites, 0.2)
    smaller, wanted, found = masked_and_cut(model, sites, fewer, logits)
    assert (wanted - found).abs().max() <= 1e-6 * wanted.abs().max()
    left = 1 - prunable_total(groups_of(smaller)) / prunable_total(sites)
    assert fewer.removed == pytest.approx(left) and left >= 0.2
