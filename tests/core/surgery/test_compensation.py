"""Least squares at the cut against numpy's own, by clips' activations and not by moments."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.support.models.toy_family import D, ToyFamily, toy_model
from tests.support.surgery import masked_and_cut
from whisperslim.core import families
from whisperslim.core.families import UnitSite
from whisperslim.core.plan.plan import PruningPlan, ZeroRule, keep_everything
from whisperslim.core.surgery.compensation import compensated, losing
from whisperslim.core.surgery.moments import Moments, MomentWatch
from whisperslim.core.surgery.units import unit_elements
from whisperslim.errors import PlanError

DAMP = 0.05
KEEP = {
    "encoder.0.ffn": (0, 3, 4),
    "encoder.0.conv": (0, 1, 2, 3),
    "encoder.1.ffn": (1, 2, 4),
    "encoder.1.conv": (0, 2),
}
PLAN = PruningPlan(KEEP)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families._FAMILIES, "toy", ToyFamily())


def states() -> torch.Tensor:
    return torch.randn(40, 9, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def sites(model: nn.Module) -> tuple[UnitSite, ...]:
    return ToyFamily().unit_groups(model)


@torch.no_grad()
def measured(model: nn.Module, watched: tuple[UnitSite, ...]) -> dict[str, Moments]:
    watch = MomentWatch(watched)
    watch.attach(model)
    for part in states().split(15):  # batches of unlike sizes
        model(part)
    watch.detach()
    return watch.moments()


def fitted(model: nn.Module, plan: PruningPlan, damp: float = DAMP) -> PruningPlan:
    found = measured(model, losing(sites(model), plan))
    return compensated(model, sites(model), plan, found, damp)


def without(model: nn.Module, key: str, units: tuple[int, ...] = ()) -> PruningPlan:
    """All but what is lost of one site."""
    return PruningPlan({**keep_everything(sites(model)).keep, key: units})


@torch.no_grad()
def inputs_of(model: nn.Module, site: UnitSite) -> np.ndarray:
    """What a gate module is given, `(positions, channels)`."""
    seen: list[torch.Tensor] = []
    module = model.get_submodule(site.gate)
    handle = module.register_forward_pre_hook(lambda m, given: seen.append(given[0]))
    model(states())
    handle.remove()
    return seen[0].movedim(site.gate_axis, -1).flatten(0, -2).numpy()


def ridge(x: np.ndarray, y: np.ndarray, old: np.ndarray, damp: float) -> np.ndarray:
    """`argmin |X A^T - Y|^2 / n + l |A - old|^2` by numpy.linalg.lstsq of the stacked system."""
    pull = np.sqrt(len(x) * damp * np.mean(np.mean(x**2, axis=0)))
    stacked = np.concatenate([x, pull * np.eye(x.shape[1])])
    wanted = np.concatenate([y, pull * old.T])
    return np.linalg.lstsq(stacked, wanted, rcond=None)[0].T


def by_numpy(model: nn.Module, site: UnitSite, units: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """New weights and bias of the module that reads a site."""
    reader, x = model.get_submodule(site.gate), inputs_of(model, site)
    part = site.slices[-1]
    index = unit_elements(part, units, x.shape[1]).numpy()
    weight = reader.weight.detach().flatten(1).numpy()
    mean = x.mean(0)
    centered = x - mean
    found = ridge(centered[:, index], centered @ weight.T, weight[:, index], DAMP)
    bias = reader.bias.detach().numpy() + weight @ mean - found @ mean[index]
    return found, bias


def test_moments_are_of_every_position_whatever_the_batches() -> None:
    model = toy_model()
    for site in sites(model):
        x, found = inputs_of(model, site), measured(model, (site,))[site.key]
        assert found.count == len(x)
        np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-10)
        np.testing.assert_allclose(found.square, x.T @ x / len(x), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(x.T, bias=True), atol=1e-10)


def test_what_varies_little_about_a_large_mean_is_not_lost() -> None:
    """In float32, products about zero would leave nothing of a variance of a ten-thousandth."""
    site = sites(toy_model())[0]
    model = toy_model().float()
    watch = MomentWatch([site])
    watch.attach(model)
    gate = model.get_submodule(site.gate)
    rng = torch.Generator().manual_seed(3)
    given = [
        5.0 + 1e-4 * torch.randn(2, 60, gate.weight.shape[1], generator=rng) for _ in range(3)
    ]  # fmt: skip
    for states in given:
        gate(states)
    x = torch.cat([each.flatten(0, 1) for each in given]).double().numpy()
    found = watch.moments()[site.key].covariance.numpy()
    wanted = np.cov(x.T, bias=True)
    assert np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max()
    assert np.linalg.eigvalsh(found).min() > 0


def test_positions_that_do_not_count_are_left_out() -> None:
    model, given = toy_model(), states()
    site = sites(model)[0]
    counted = torch.rand(given.shape[:2], generator=torch.Generator().manual_seed(2)) > 0.5
    watch = MomentWatch([site])
    watch.attach(model)
    watch.counted = lambda stack, states: states[counted]
    with torch.no_grad():
        model(given)
    x = inputs_of(model, site)[counted.flatten().numpy()]
    np.testing.assert_allclose(watch.moments()[site.key].mean, x.mean(0), rtol=1e-10)


def test_the_fit_is_that_of_numpys_least_squares() -> None:
    model = toy_model()
    found = compensated(
        model, sites(model), PLAN, measured(model, losing(sites(model), PLAN)), DAMP
    )
    lost = {site.key: site for site in losing(sites(model), PLAN)}
    assert set(lost) == {"encoder.0.ffn", "encoder.1.ffn", "encoder.1.conv"}
    assert len(found.folds) == 2 * len(lost), "a matrix and a bias each, and nothing else"
    for key, site in lost.items():
        weight, bias = by_numpy(model, site, KEEP[key])
        fold = found.folds[f"{site.gate}.weight"]
        np.testing.assert_allclose(fold.flatten(1), weight, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.folds[f"{site.gate}.bias"], bias, rtol=1e-8, atol=1e-10)


@torch.no_grad()
def test_it_repairs_and_masked_equals_cut() -> None:
    model = toy_model()
    plan = fitted(model, PLAN, 1e-6)
    wanted, errors = model(states()), []
    for each in (PLAN, plan):
        _, under_masks, found = masked_and_cut(model, sites(model), each, lambda net: net(states()))
        errors.append(float((found - wanted).square().mean()))
        assert (under_masks - found).abs().max() < 1e-11
    assert errors[1] < 0.7 * errors[0]


def test_zeros_stay_out_and_the_rest_makes_up_for_them() -> None:
    """Each row by numpy over its own free elements."""
    model = toy_model()
    site = sites(model)[0]
    name = f"{site.gate}.weight"
    model.get_parameter(name).data[2, [0, 4]] = 0.0  # zero as tuned, in a row
    plan = PruningPlan(KEEP, zero={name: ZeroRule(0.0, 0.3)})
    found = compensated(
        model, sites(model), plan, measured(model, losing(sites(model), plan)), DAMP
    )
    assert name not in found.zero
    weight, x = model.get_parameter(name).detach().numpy(), inputs_of(model, site)
    index = list(KEEP[site.key])
    free = np.abs(weight[:, index]) >= 0.3
    assert 0 < free.sum() < free.size and not free[2, 0]
    centered = x - x.mean(0)
    pull = np.sqrt(len(x) * DAMP * np.mean(centered[:, index].var(0)))
    for row in range(D):
        own = np.array(index)[free[row]]
        stacked = np.concatenate([centered[:, own], pull * np.eye(len(own))])
        wanted = np.concatenate([centered @ weight[row], pull * weight[row, own]])
        expected = np.zeros(len(index))
        if len(own):
            expected[free[row]] = np.linalg.lstsq(stacked, wanted, rcond=None)[0]
        np.testing.assert_allclose(found.folds[name][row], expected, rtol=1e-6, atol=1e-8)
        assert (found.folds[name][row].numpy() == 0).tolist() == (~free[row]).tolist()


def test_a_whole_sublayers_mean_goes_to_the_bias_before_it() -> None:
    model = toy_model()
    plan = PruningPlan(
        {**{s.key: tuple(range(s.count)) for s in sites(model)}, "encoder.1.ffn": ()}
    )
    found = compensated(
        model, sites(model), plan, measured(model, losing(sites(model), plan)), DAMP
    )
    site, before = sites(model)[2], sites(model)[1]
    reader = model.get_submodule(site.gate)
    weight, bias = reader.weight.detach().numpy(), reader.bias.detach().numpy()
    output = (inputs_of(model, site) @ weight.T + bias).mean(0)
    (name,) = found.folds
    assert name == f"{before.gate}.bias"
    expected = model.get_parameter(name).detach().numpy() + output
    np.testing.assert_allclose(found.folds[name], expected, rtol=1e-9)


def test_the_first_sublayer_leaves_no_mean_to_anyone() -> None:
    model = toy_model()
    plan = PruningPlan(
        {**{s.key: tuple(range(s.count)) for s in sites(model)}, "encoder.0.ffn": ()}
    )
    found = compensated(
        model, sites(model), plan, measured(model, losing(sites(model), plan)), DAMP
    )
    assert found == plan


def test_units_that_are_never_active_change_nothing() -> None:
    model = toy_model()
    site = sites(model)[0]
    still = Moments(10, torch.zeros(5).double(), torch.zeros(5, 5).double())
    plan = without(model, site.key, (1, 3))
    found = compensated(model, sites(model), plan, {site.key: still})
    kept = model.get_parameter(f"{site.gate}.weight")[:, [1, 3]]
    torch.testing.assert_close(found.folds[f"{site.gate}.weight"], kept.detach())


def test_what_is_no_matrix_is_refused() -> None:
    model = toy_model()
    model.layers[1][1].pointwise2 = nn.Conv1d(8, D, 3, padding=1).double()
    with pytest.raises(PlanError, match=r"no matrix over.*encoder\.1\.conv.*compensate"):
        fitted(model, PLAN)
