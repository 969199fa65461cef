"""How much the loss depends on each unit, measured while training goes on."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core.families import UnitGroup
from whisperslim.core.gates import attach_gates


class FisherGates:
    """Running mean of squared per-clip gradients of gates that stand at one.

    With a gate `z_u = 1` on unit `u`, the expected square of `dL/dz_u` is the diagonal Fisher
    information of that gate: the second-order estimate of the loss rise when the unit goes
    (Theis et al., arXiv 1801.05787). Gates are constants, so the model's output is unchanged.
    """

    def __init__(self, decay: float = 0.9) -> None:
        self._decay = decay
        self._handles: list[RemovableHandle] = []
        self._gates: list[tuple[str, torch.Tensor]] = []
        self._mean: dict[str, torch.Tensor] = {}
        self.measured = 0
        self.active = False

    def attach(self, model: nn.Module, groups: Sequence[UnitGroup]) -> None:
        """Hook the gates; nothing is measured until `active` is set."""
        self._handles = attach_gates(model, groups, self._gate)

    def detach(self) -> None:
        """Remove the hooks; measurements stay."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def collect(self) -> None:
        """Fold the gradients of the last backward pass into the running mean."""
        fresh: dict[str, torch.Tensor] = {}
        for key, gate in self._gates:
            if gate.grad is not None:
                square = gate.grad.float().flatten(0, -2).square().sum(0)
                fresh[key] = fresh.get(key, torch.zeros_like(square)) + square
        self._gates = []
        if fresh:
            self.measured += 1
            for key, value in fresh.items():
                old = self._mean.get(key, value)
                self._mean[key] = self._decay * old + (1 - self._decay) * value

    @property
    def information(self) -> Mapping[str, torch.Tensor]:
        """Group key -> running mean per unit, `(count,)`; empty before the first measurement."""
        return self._mean

    def state_dict(self) -> dict[str, object]:
        """Running means and counters."""
        return {"mean": self._mean, "measured": self.measured, "active": self.active}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Inverse of `state_dict`."""
        mean = state["mean"]
        if not isinstance(mean, dict):
            raise TypeError("importance state must hold a dict of means")
        self._mean = dict(mean)
        self.measured = int(str(state["measured"]))
        self.active = bool(state["active"])

    def _gate(self, group: UnitGroup, activation: torch.Tensor) -> torch.Tensor | None:
        if not (self.active and torch.is_grad_enabled()):
            return None
        # One gate per clip: the square must be taken before the sum over clips.
        gate = torch.ones(
            activation.shape[0], 1, group.count, device=activation.device, requires_grad=True
        )
        self._gates.append((group.key, gate))
        return gate
