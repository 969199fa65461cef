"""The hard concrete distribution against its closed forms and against drawing it many times."""

import math

import pytest
import torch

from whisperslim.methods.l0.masks import (
    BETA,
    GAMMA,
    ZETA,
    deterministic,
    draw_noise,
    log_alpha_for,
    log_probability_open,
    sample,
)

DRAWS = 40_000
EVERY_ALPHA = [-3.0, -1.0, 0.0, 0.7, 2.5]


def logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def drawn(log_alpha: float) -> torch.Tensor:
    torch.manual_seed(5)
    noise = draw_noise(DRAWS, torch.device("cpu"))
    return sample(torch.full((DRAWS,), log_alpha), noise)


def test_the_constants_are_the_papers() -> None:
    assert (-0.1, 1.1, pytest.approx(2 / 3)) == (GAMMA, ZETA, BETA)


@pytest.mark.parametrize("log_alpha", EVERY_ALPHA)
def test_shares_of_zeros_and_ones_are_the_closed_forms(log_alpha: float) -> None:
    values = drawn(log_alpha)
    # z > 0 where s > 1/12, z < 1 where s < 11/12; s has the logistic's distribution function.
    above_zero = 1.0 - logistic(BETA * math.log(1 / 11) - log_alpha)
    at_one = 1.0 - logistic(BETA * math.log(11) - log_alpha)
    error = 4 * math.sqrt(0.25 / DRAWS)
    assert float((values > 0).float().mean()) == pytest.approx(above_zero, abs=error)
    assert float((values == 1).float().mean()) == pytest.approx(at_one, abs=error)
    assert math.exp(log_probability_open(torch.tensor(log_alpha))) == pytest.approx(
        above_zero, abs=1e-6
    )
    assert float(values.min()) >= 0.0 and float(values.max()) <= 1.0


@pytest.mark.parametrize("log_alpha", EVERY_ALPHA)
def test_the_mean_of_draws_is_the_integral_of_the_distribution_function(log_alpha: float) -> None:
    # E[z] is the integral over z in (0, 1) of P(mask > z), by the midpoint rule.
    steps = 10_000
    points = [(step + 0.5) / steps for step in range(steps)]
    stretched = [(point - GAMMA) / (ZETA - GAMMA) for point in points]
    expected = sum(
        1.0 - logistic(BETA * math.log(s / (1.0 - s)) - log_alpha) for s in stretched
    ) / steps  # fmt: skip
    assert float(drawn(log_alpha).mean()) == pytest.approx(expected, abs=4 * 0.5 / DRAWS**0.5)


def test_a_draw_by_hand() -> None:
    # u = 0.3, log alpha = 0.5: s = sigmoid((log(0.3 / 0.7) + 0.5) * 3 / 2) = 0.37258.
    s = logistic((math.log(0.3 / 0.7) + 0.5) * 1.5)
    value = sample(torch.tensor([0.5]), torch.tensor([0.3]))
    assert float(value) == pytest.approx(s * 1.2 - 0.1, abs=1e-6)


def test_the_deterministic_mask_by_hand() -> None:
    values = deterministic(torch.tensor([-3.0, 0.0, 1.0, 3.0])).tolist()
    # sigmoid(-3) = 0.047 is below 1/12 and sigmoid(3) = 0.953 above 11/12.
    assert values == pytest.approx([0.0, 0.5, logistic(1.0) * 1.2 - 0.1, 1.0], abs=1e-6)


def test_a_probability_and_its_log_alpha_are_inverses() -> None:
    for probability in (0.5, 0.9, 0.99, 0.9999):
        there = torch.tensor(log_alpha_for(probability), dtype=torch.float64)
        assert math.exp(log_probability_open(there)) == pytest.approx(probability, rel=1e-9)


def test_log_probabilities_do_not_saturate() -> None:
    values, shift = torch.tensor([-200.0, 0.3, 30.0]), BETA * math.log(11)
    logs = log_probability_open(values)
    assert bool(torch.isfinite(logs).all())
    assert float(logs[1].exp()) == pytest.approx(logistic(0.3 + shift), rel=1e-5)
    # log(1 - e) is -e for the smallest e, which float32 would round to 0.
    assert float(logs[2]) == pytest.approx(-math.exp(-30.0 - shift), rel=1e-4)


def test_the_gradient_is_the_slope_and_stops_where_the_mask_is_clamped() -> None:
    log_alpha = torch.tensor([0.2, 9.0, -9.0], dtype=torch.float64, requires_grad=True)
    noise = torch.tensor([0.6, 0.5, 0.5], dtype=torch.float64)
    sample(log_alpha, noise).sum().backward()
    step = 1e-6
    slopes = [
        float(
            (sample(log_alpha.detach() + step, noise) - sample(log_alpha.detach() - step, noise))[i]
        )
        / (2 * step)
        for i in range(3)
    ]
    assert log_alpha.grad is not None
    assert log_alpha.grad.tolist() == pytest.approx(slopes, abs=1e-6)
    assert log_alpha.grad[0] > 0 and log_alpha.grad[1:].tolist() == [0.0, 0.0]


def test_noise_is_inside_the_unit_interval_and_the_seeds() -> None:
    torch.manual_seed(3)
    first = draw_noise(1000, torch.device("cpu"))
    torch.manual_seed(3)
    assert torch.equal(draw_noise(1000, torch.device("cpu")), first)
    assert float(first.min()) > 0.0 and float(first.max()) < 1.0
