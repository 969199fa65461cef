"""Sparse Group LASSO: the operators and penalties, by hand."""

import math

import pytest
import torch

from tests.methods.sgl.tiny_sgl import NOTHING, one_matrix, options
from tests.support.tiny_job import TARGET, Workshop, weights
from whisperslim.core.loading import SpeechModel
from whisperslim.methods.base import Target
from whisperslim.methods.sgl.method import (
    SparseGroupLasso,
    group_factor,
    shrink_columns,
    soft_threshold,
)
from whisperslim.methods.sgl.options import SGLOptions
from whisperslim.methods.shared.units import scale_units, unit_norms


def test_soft_threshold_by_hand() -> None:
    model, groups = one_matrix([[1.0, -0.3, 0.05, -0.1, 0.0]])
    soft_threshold(model, groups, options(lambda_l1_encoder=10.0), learning_rate=0.01)
    # Every weight moves 0.01 * 10 = 0.1 towards zero, and stops there.
    assert model[0].weight[0].tolist() == pytest.approx([0.9, -0.2, 0.0, 0.0, 0.0], abs=1e-7)
    assert (model[0].weight[0, 2:] == 0).all(), "zeros are exact"


def test_soft_threshold_uses_the_strength_of_its_stack() -> None:
    model, groups = one_matrix([[1.0, -1.0]])
    soft_threshold(model, groups, options(lambda_l1_decoder=10.0), learning_rate=0.01)
    assert model[0].weight[0].tolist() == [1.0, -1.0]


def test_group_factor_by_hand() -> None:
    norms = torch.tensor([5.0, 2.0, 1.0, 0.0])
    factor = group_factor(norms, torch.tensor([1.0, 1.0, 1.0, 1.0]))
    assert factor.tolist() == pytest.approx([0.8, 0.5, 0.0, 0.0])
    assert (factor[2:] == 0).all(), "at and below the threshold a unit is exactly dead"
    assert group_factor(norms[:3], torch.zeros(3)).tolist() == [1.0, 1.0, 1.0]


def test_the_unit_step_by_hand() -> None:
    model, groups = one_matrix([[3.0, 4.0], [0.3, 0.4]])
    method = SparseGroupLasso(options(lambda_group_encoder=50.0), Target(0.0, 0.0))
    method.attach(model, groups, total_steps=10)
    method.after_step(learning_rate=0.01, step=1)
    # Threshold 0.01 * 50 * sqrt(2) = 0.7071; norms 5 and 0.5.
    shrunk = 1 - 0.5 * math.sqrt(2) / 5
    assert model[0].weight[0].tolist() == pytest.approx([3 * shrunk, 4 * shrunk])
    assert (model[0].weight[1] == 0).all()
    # The logged value is that of the penalty, strength * sqrt(size) * norm, before the step.
    logged = method.loss_terms(NOTHING, 2)["group_encoder"]
    assert float(logged) == pytest.approx(50 * math.sqrt(2) * 5.5)


def test_the_step_is_the_minimizer_of_its_objective() -> None:
    """prox(v) minimizes ||w - v||^2 / 2 + threshold * ||w||: no neighbor does better."""
    v = torch.tensor([0.6, -1.1, 0.2], dtype=torch.float64)
    for threshold in (0.3, 1.0, 2.0):
        w = v * group_factor(v.norm()[None], torch.tensor([threshold], dtype=torch.float64))

        def cost(x: torch.Tensor, threshold: float = threshold) -> float:
            return float((x - v).square().sum() / 2 + threshold * x.norm())

        generator = torch.Generator().manual_seed(0)
        for size in (1e-3, 1e-1, 1.0):
            moves = size * torch.randn(200, 3, generator=generator, dtype=torch.float64)
            assert min(cost(w + move) for move in moves) >= cost(w)


def test_paper_grouping_zeroes_whole_columns() -> None:
    model, groups = one_matrix([[3.0, 0.03], [4.0, 0.04]])
    shrink_columns(model, groups, options(lambda_group_encoder=10.0), learning_rate=0.01)
    # Threshold 0.1 * sqrt(2) = 0.1414; column norms 5 and 0.05.
    shrunk = 1 - 0.1 * math.sqrt(2) / 5
    assert model[0].weight[:, 0].tolist() == pytest.approx([3 * shrunk, 4 * shrunk])
    assert (model[0].weight[:, 1] == 0).all()


def test_unit_norms_by_hand(shop: Workshop) -> None:
    speech = shop.student()
    attention = speech.model.model.decoder.layers[1].encoder_attn
    layer = speech.model.model.decoder.layers[1]
    groups = {group.key: group for group in speech.groups()}
    head = slice(8, 16)
    owned = [
        attention.q_proj.weight[head], attention.k_proj.weight[head], attention.v_proj.weight[head],
        attention.q_proj.bias[head], attention.v_proj.bias[head],
        attention.out_proj.weight[:, head],
    ]  # fmt: skip
    expected = math.sqrt(sum(float(part.detach().double().square().sum()) for part in owned))
    found = unit_norms(speech.model, groups["decoder.1.encoder_attn.heads"])
    assert float(found[1]) == pytest.approx(expected, rel=1e-5)
    owned = [layer.fc1.weight[5], layer.fc1.bias[5], layer.fc2.weight[:, 5]]
    expected = math.sqrt(sum(float(part.detach().double().square().sum()) for part in owned))
    assert float(unit_norms(speech.model, groups["decoder.1.ffn"])[5]) == pytest.approx(expected)


def test_scaling_units_scales_what_they_own_and_no_more(shop: Workshop) -> None:
    speech = shop.student()
    before = weights(speech)
    for group in speech.groups():
        factor = torch.arange(group.count) % 3 / 2.0
        norms = unit_norms(speech.model, group)
        scale_units(speech.model, group, factor)
        torch.testing.assert_close(unit_norms(speech.model, group), norms * factor)
    owned = {part.parameter for group in speech.groups() for part in group.slices}
    for name, parameter in speech.model.named_parameters():
        assert (name in owned) is not torch.equal(parameter, before[name]), name


def squared_by_hand(speech: SpeechModel, chosen: SGLOptions) -> dict[str, float]:
    """Sums over the matrices of layers, found by name and not by group."""
    sums = {"l1_encoder": 0.0, "l1_decoder": 0.0, "squared_encoder": 0.0, "squared_decoder": 0.0}
    for name, parameter in speech.model.named_parameters():
        if ".layers." in name and parameter.ndim == 2:
            stack = name.split(".")[1]
            sums[f"l1_{stack}"] += float(parameter.detach().double().abs().sum())
            sums[f"squared_{stack}"] += float(parameter.detach().double().square().sum())
    strengths = {
        "l1_encoder": chosen.lambda_l1_encoder, "l1_decoder": chosen.lambda_l1_decoder,
        "squared_encoder": chosen.lambda_group_encoder,
        "squared_decoder": chosen.lambda_group_decoder,
    }  # fmt: skip
    return {name: strengths[name] * value for name, value in sums.items() if strengths[name]}


@pytest.mark.parametrize("grouping", ["units", "paper"])
def test_the_squared_form_is_the_sum_of_squares(shop: Workshop, grouping: str) -> None:
    """Squared column norms summed over columns are squared weights summed: grouping cancels out."""
    speech = shop.student()
    chosen = options(
        form="squared", grouping=grouping, lambda_group_encoder=0.3, lambda_group_decoder=0.7,
        lambda_l1_decoder=0.2,
    )  # fmt: skip
    method = SparseGroupLasso(chosen, TARGET)
    method.attach(speech.model, speech.groups(), 10)
    terms = method.loss_terms(NOTHING, 1)
    expected = squared_by_hand(speech, chosen)
    assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(
        expected, rel=1e-5
    )
    sum(terms.values()).backward()
    fc1 = speech.model.model.decoder.layers[0].fc1.weight
    torch.testing.assert_close(fc1.grad, 2 * 0.7 * fc1 + 0.2 * fc1.sign())
