"""Every depth of the encoder learns to be the last, and upper layers go without tuning.

At each step the encoder ends at a drawn layer: all sub-layers above add nothing, which is what a
cut of them leaves. The loss there is an intermediate CTC loss with the model's own head (Lee &
Watanabe, arXiv 2102.03216), and skipping layers is stochastic depth (Huang et al., arXiv
1603.09382); that one depth is drawn for a step in place of a sum over several, so that with
`whole_share` w the expected loss is w L_n + (1 - w) mean_k L_k, is our choice. A model with a
decoder learns that its decoder attends to states of every depth: ours, too.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitSite, total_price
from whisperslim.core.plan.plan import share_of
from whisperslim.errors import PlanError
from whisperslim.methods.any_depth.options import AnyDepthOptions
from whisperslim.methods.base import Target
from whisperslim.methods.magnitude.method import Magnitude
from whisperslim.methods.magnitude.rounds import DecidedLast, below_one
from whisperslim.methods.shared.reach import frozen_note

_STACK = "encoder"


class AnyDepth(DecidedLast):
    """The method behind `AnyDepthOptions`; nothing is masked for good before the plan.

    The plan takes as many upper layers as the target needs. Elements, when the target asks for
    zeros, go by magnitude from the layers that stay.
    """

    whole = True

    def __init__(self, options: AnyDepthOptions, target: Target) -> None:
        super().__init__(target, Magnitude())
        self._options = options
        self._step, self._depth = 0, 0

    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        """As every masked pruning does; raises `PlanError` for a target that is out of reach."""
        super().attach(model, groups, total_steps)
        self._go_to(0)

    @torch.no_grad()
    def after_step(self, learning_rate: float, step: int) -> None:
        """Draw the next step's depth."""
        super().after_step(learning_rate, step)
        self._go_to(step)

    def state_dict(self) -> dict[str, Any]:
        """Also how many steps are done, which the draws depend on."""
        return {**super().state_dict(), "step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        super().load_state_dict(state)
        self._go_to(int(state["step"]))

    def _go_to(self, step: int) -> None:
        self._step, self._depth = step, self._drawn(step)

    def _drawn(self, step: int) -> int:
        """Layers of the step after `step`, from the seed and its number alone."""
        layers = len(self._layers())
        own = zlib.crc32(f"{self._options.seed} {step}".encode())
        draws = torch.Generator().manual_seed(own)
        share = float(torch.rand((), generator=draws))
        if layers == self._fewest() or share < self._options.whole_share:
            return layers
        return int(torch.randint(self._fewest(), layers, (), generator=draws))

    def _output_gate(self, group: UnitSite, output: torch.Tensor) -> torch.Tensor | None:
        above = group.stack == _STACK and group.layer not in self._layers()[: self._depth]
        if above and self._model.training:
            return output.new_zeros(())
        return super()._output_gate(group, output)

    def _layers(self) -> list[int]:
        """Layers of the encoder that are there and not frozen, from below."""
        return sorted({group.layer for group in self._tuned if group.stack == _STACK})

    def _fewest(self) -> int:
        layers = len(self._layers())
        return min(layers, self._options.fewest or (layers + 1) // 2)

    def _units(self) -> Mapping[str, torch.Tensor]:
        """A layer's height: the upper go first; a decoder's units last."""
        layers = self._layers()
        return {
            group.key: below_one(norms)
            + (
                len(layers) - layers.index(group.layer)
                if group.stack == _STACK
                else len(layers) + 1
            )
            for group, norms in zip(self._tuned, super()._units().values(), strict=True)
        }

    def _aim(self) -> Target:
        """The asked-for target, rounded up to whole layers."""
        total, gone = total_price(self._groups), 0.0
        layers = self._layers()
        for layer in reversed(layers[self._fewest() :]):
            if gone / total >= self._target.removed * (1 - 1e-12):
                break
            gone += sum(
                group.count * group.unit_price
                for group in self._tuned
                if (group.stack, group.layer) == (_STACK, layer)
            )
        if gone / total < self._target.removed * (1 - 1e-12):
            raise PlanError(
                f"a removal target of {self._target.removed:g} cannot be met: without all layers "
                f"of the encoder but {self._fewest()} it is {gone / total:.4f} of "
                f"{share_of(self._groups)}{frozen_note(len(self._frozen))}; lower the target, or "
                "method.fewest"
            )
        return Target(gone / total, self._target.zeroed)
