"""How much the loss depends on each unit, measured while training goes on."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from whisperslim.core import ranks
from whisperslim.core.families import UnitSite
from whisperslim.core.surgery.gates import attach_gates


class FisherGates:
    """Running mean of squared per-clip gradients of gates that stand at one, or at a mask.

    With a gate `z_u = 1` on unit `u`, the expected square of `dL/dz_u` is the diagonal Fisher
    information of that gate: the second-order estimate of the loss rise when the unit goes
    (Theis et al., arXiv 1801.05787). Gates are constants, so the model's output is unchanged.

    `decay` is of the running mean; at 1 every measurement counts the same.
    """

    def __init__(self, decay: float = 0.9) -> None:
        self._decay = decay
        self._handles: list[RemovableHandle] = []
        self._gates: list[tuple[str, torch.Tensor]] = []
        self._mean: dict[str, torch.Tensor] = {}
        self.measured = 0
        self.active = False

    def attach(self, model: nn.Module, groups: Sequence[UnitSite]) -> None:
        """Hook the gates; nothing is measured until `active` is set."""
        self._handles = attach_gates(model, groups, self.watched)

    def detach(self) -> None:
        """Remove the hooks; measurements stay."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def collect(self) -> None:
        """Fold the gradients of the last backward pass into the running mean.

        That pass is of a loss that is a mean over all clips of a step. Clips whose gradient is zero
        are no part of it, and are not counted.
        """
        rows: dict[str, list[torch.Tensor]] = {}
        for key, gate in self._gates:
            if gate.grad is not None:
                rows.setdefault(key, []).append(gate.grad.float().flatten(0, -2))
        self._gates = []
        fresh = _mean_squares({key: torch.cat(parts) for key, parts in rows.items()})
        if fresh:
            # A plain mean at first, or the first few clips would rule for long.
            keep = min(self._decay, self.measured / (self.measured + 1))
            self.measured += 1
            for key, value in fresh.items():
                old = self._mean.get(key, value)
                self._mean[key] = keep * old + (1 - keep) * value

    def take(self, information: Mapping[str, torch.Tensor]) -> None:
        """Information measured elsewhere, in place of what has been measured here."""
        self._mean, self._gates = dict(information), []
        self.measured = max(1, self.measured)

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

    def watched(
        self, group: UnitSite, activation: torch.Tensor, gate: torch.Tensor | None = None
    ) -> torch.Tensor | None:
        """A mask of the caller's, `(count,)`, or None for ones; measured when active.

        A closed gate's gradient is how opening it would change the loss, so closed units are still
        measured.
        """
        if not (self.active and torch.is_grad_enabled()):
            return gate
        # One gate per clip: the square must be taken before the sum over clips.
        shape = (activation.shape[0], 1, group.count)
        probe = torch.zeros(shape, device=activation.device, requires_grad=True)
        self._gates.append((group.key, probe))
        return probe + (1.0 if gate is None else gate)


def _mean_squares(rows: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of per-clip gradients `(clips, count)` of a mean loss: the mean over clips of the squares of
    the gradients of each clip's own loss, `(count,)`. Over the clips of all processes.
    """
    if not rows:
        return {}
    # A clip's gradient carries one over the number of clips, which its square would carry twice: a
    # remainder batch of one clip would count as much as all the others.
    sums = {
        key: torch.cat([own.square().sum(0), (own != 0).any(1).sum().to(own)[None]])
        for key, own in rows.items()
    }
    every = ranks.summed(torch.cat(list(sums.values())))
    parts = every.split([len(own) for own in sums.values()])
    return {key: part[:-1] * part[-1] for key, part in zip(sums, parts, strict=True)}
