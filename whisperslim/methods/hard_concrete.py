"""The hard concrete distribution: masks that are exactly 0 or 1 often, and yet have gradients.

From Louizos et al., "Learning sparse neural networks through L0 regularization" (arXiv
1712.01312), with that paper's constants:

    s = sigmoid((log u - log(1 - u) + log_alpha) / beta),   u uniform in (0, 1)
    z = clamp(s * (zeta - gamma) + gamma, 0, 1)
    P(z > 0) = sigmoid(log_alpha - beta * log(-gamma / zeta))
"""

import math

import torch

GAMMA, ZETA, BETA = -0.1, 1.1, 2.0 / 3.0
# P(z > 0) is a sigmoid of log_alpha moved by this much.
SHIFT = -BETA * math.log(-GAMMA / ZETA)
# Noise at 0 or 1 has an infinite logit, whose gradient is not a number.
_EDGE = 1e-6


def draw_noise(size: int, device: torch.device) -> torch.Tensor:
    """Uniform noise in (0, 1), `(size,)`, drawn on the CPU: the same numbers on every device."""
    return torch.rand(size).clamp(_EDGE, 1.0 - _EDGE).to(device)


def sample(log_alpha: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Masks in [0, 1] for uniform `noise` of `log_alpha`'s shape, with gradient to `log_alpha`."""
    return _stretch(torch.sigmoid((torch.logit(noise) + log_alpha) / BETA))


def deterministic(log_alpha: torch.Tensor) -> torch.Tensor:
    """The mask used where nothing is drawn, in [0, 1] (equation 13 of the paper)."""
    return _stretch(torch.sigmoid(log_alpha))


def probability_open(log_alpha: torch.Tensor) -> torch.Tensor:
    """`P(z > 0)`."""
    return torch.sigmoid(log_alpha + SHIFT)


def log_probability_open(log_alpha: torch.Tensor) -> torch.Tensor:
    """`log P(z > 0)`, exact where the probability is nearly 0 or 1."""
    return torch.nn.functional.logsigmoid(log_alpha + SHIFT)


def log_alpha_for(probability: float) -> float:
    """The `log_alpha` at which `P(z > 0)` is `probability`, a number in (0, 1)."""
    return math.log(probability / (1.0 - probability)) - SHIFT


def _stretch(values: torch.Tensor) -> torch.Tensor:
    return (values * (ZETA - GAMMA) + GAMMA).clamp(0.0, 1.0)
