"""What drives the thresholds of self-pinching gates: a target density, or a fixed penalty.

By target, the loss gains

    lambda1 (d - d*) + lambda2 (d - d*)^2

with `d` the soft density, of units weighted by what the target counts them in and of elements by
size, and `d*` ramped from the density the gates begin with to the target's. Both multipliers are
ascended after each step by the violation's own gradient, `lambda1 += rate (d - d*)`, `lambda2 +=
rate (d - d*)^2`; the first is signed, so a density that falls too low is pulled up again. By
penalty, the loss gains `penalty * d`. The paper's own term and control are not known to us: both
are our choice.

What a unit's threshold is compared with: its weights' size, or also how much the loss depends on
it.

With Fisher information `F_u` of a unit's gate (`importance`) and `n_u` weights in it, the square
of what is compared is

    mean(w_u^2) * f_u^2      f_u = (F_u / n_u)^(1/4), divided by its mean over all gated units

a mean square weight times the root mean square of a gradient. The fourth root, because information
spans ten decades, which one threshold cannot cover. `f_u` is a constant for the gradients. All of
it is our choice: the paper compares the weights themselves.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitSite
from whisperslim.methods.pinching.gates import unit_mean_squares
from whisperslim.methods.pinching.options import SelfPinchingOptions
from whisperslim.methods.shared.importance import FisherGates
from whisperslim.methods.shared.units import per_weight


class DensityControl:
    """The term for one kind of gate, and its multipliers.

    Attributes:
        final: Density to end with, 0 to 1. Not part of the state: whoever changes it does so at
            each step.

    Args:
        options: Control, penalty, ramp, rates.
        density: `final` to begin with.
        total_steps: Steps of the stage, which the ramp is a share of.
        device: Where multipliers live: nothing here waits for the device.
    """

    def __init__(
        self, options: SelfPinchingOptions, density: float, total_steps: int, device: torch.device
    ) -> None:
        self._options, self._total = options, total_steps
        self.final: float | torch.Tensor = density
        self._linear = torch.zeros((), device=device)
        self._quadratic = torch.tensor(options.stiffness, device=device)
        # Negative until the first measurement.
        self._start = torch.tensor(-1.0, device=device)
        self._measured: torch.Tensor | None = None

    def goal(self, step: int) -> torch.Tensor:
        """The density asked for at a step: linear from the start's to the final one; scalar."""
        ramp = self._options.ramp * self._total
        gone = max(0.0, step - self._options.begin * self._total)
        done = min(1.0, gone / ramp) if ramp else 1.0
        return self._start + (self.final - self._start) * done

    def term(self, density: torch.Tensor, step: int) -> torch.Tensor:
        """The loss term of a soft density, scalar, with gradient."""
        if self._options.control == "penalty":
            return self._options.penalty * density
        self._measured = density.detach()
        self._start = torch.where(self._start < 0, self._measured, self._start)
        violation = density - self.goal(step)
        return self._linear * violation + self._quadratic * violation.square()

    def ascend(self, step: int) -> None:
        """Let the multipliers follow the violation last measured; once per step."""
        if self._measured is None:
            return
        violation = self._measured - self.goal(step)
        self._linear = self._linear + self._options.multiplier_rate * violation
        self._quadratic = self._quadratic + self._options.multiplier_rate * violation.square()
        self._measured = None

    def state_dict(self) -> dict[str, Any]:
        """Multipliers and the ramp's start."""
        return {"linear": self._linear, "quadratic": self._quadratic, "start": self._start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._linear, self._quadratic = state["linear"], state["quadratic"]
        self._start = state["start"]


class UnitWorth:
    """Measures the factors while training goes on, and gives every unit's worth, squared."""

    def __init__(
        self, model: nn.Module, groups: Sequence[UnitSite], options: SelfPinchingOptions
    ) -> None:
        self._model, self._groups = model, tuple(groups)
        self._every = options.importance_every
        self._fisher = FisherGates()
        self._fisher.active = self.measures = options.measures
        self._factors: dict[str, torch.Tensor] = {}

    def squares(self, group: UnitSite) -> torch.Tensor:
        """What is compared with the squared threshold, differentiable in weights; `(count,)`."""
        sizes = unit_mean_squares(self._model, group)
        return sizes * self._factors[group.key] if group.key in self._factors else sizes

    def watched(
        self, group: UnitSite, activation: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor | None:
        """A group's mask, measured when it is time to."""
        return self._fisher.watched(group, activation, mask)

    def collect(self, step: int) -> None:
        """Add step `step`'s backward pass, and decide whether the next one is measured."""
        if self.measures:
            self._fisher.collect()
            self._fisher.active = step % self._every == 0
            self._refresh()

    def stop(self) -> None:
        """Stop measuring."""
        self._fisher.active = self.measures = False

    def state_dict(self) -> dict[str, Any]:
        """The measurements."""
        return dict(self._fisher.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._fisher.load_state_dict(state)
        self._refresh()

    @torch.no_grad()
    def _refresh(self) -> None:
        found = self._fisher.information
        known = [group for group in self._groups if group.key in found]
        roots = {key: each.sqrt() for key, each in per_weight(found, known).items()}
        if roots:
            scale = torch.cat([root.sqrt() for root in roots.values()]).mean().clamp_min(1e-12)
            self._factors = {key: root / scale.square() for key, root in roots.items()}
