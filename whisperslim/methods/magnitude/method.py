"""The baselines: one-shot and iterative magnitude pruning, and pruning at random.

One-shot: after a share of the steps the least important units and elements go, once, and the rest
of the steps tunes what is left. Iterative (Han et al., arXiv 1506.02626; Frankle & Carbin, arXiv
1803.03635, without their rewinding): prune a share of what remains, tune with the mask fixed,
repeat. Random: one-shot with drawn importances.

Magnitude is theirs. Over whole units it is the root mean square of what the unit owns, and how
layers are compared is an option; both are ours, as is Fisher information as another importance.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from whisperslim.core.families import UnitSite
from whisperslim.errors import PlanError
from whisperslim.methods.base import Calibration, Target
from whisperslim.methods.magnitude.options import (
    FisherOptions,
    IMPOptions,
    OneShotOptions,
    RandomOptions,
)
from whisperslim.methods.magnitude.rounds import (
    DecidedLast,
    Importance,
    MaskedPruning,
    Schedule,
    rms_norms,
)
from whisperslim.methods.sgl.two_pass import standardized
from whisperslim.methods.shared.importance import FisherGates
from whisperslim.methods.shared.units import per_weight

# Frankle & Carbin's rate: each round prunes a fifth of what remains.
_STAYS_PER_ROUND = 0.8
# Steps between measurements in training, if there is any; the clean clips replace them.
_EVERY = 4


class Magnitude:
    """Root mean square of units, absolute value of elements; one scale for all, or per layer."""

    def __init__(self, compare: str = "global") -> None:
        self._compare = compare
        self._model: nn.Module = nn.Identity()

    def attach(self, model: nn.Module, groups: Sequence[UnitSite]) -> None:
        """Nothing to measure: weights are read when asked."""
        self._model = model

    def detach(self) -> None:
        """There are no hooks."""

    def collect(self, step: int) -> None:
        """Nothing to measure."""

    def calibrate(self, data: Calibration, groups: Sequence[UnitSite]) -> None:
        """Nothing to measure."""

    def units(self, groups: Sequence[UnitSite]) -> Mapping[str, torch.Tensor]:
        """Root mean square of each unit, standardized within its group for `layer`."""
        return self._compared({group.key: rms_norms(self._model, group) for group in groups})

    def elements(self, name: str) -> torch.Tensor:
        """`|w| / scale`."""
        return self._model.get_parameter(name).detach().float().abs() / self.scale(name)

    def scale(self, name: str) -> float:
        """The matrix's root mean square for `layer`; 1 otherwise, and for a matrix of zeros."""
        if self._compare == "global":
            return 1.0
        weight = self._model.get_parameter(name).detach()
        return float(weight.float().square().mean().sqrt()) or 1.0

    def state_dict(self) -> dict[str, Any]:
        """Empty: the weights hold everything."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""

    def _compared(self, values: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        return standardized(values) if self._compare == "layer" else values


class Fisher(Magnitude):
    """Fisher information of units per weight; elements by magnitude.

    Measured on `clips` clean clips where there is time to, and else while training goes on.
    """

    def __init__(self, compare: str, every: int, clips: int) -> None:
        super().__init__(compare)
        self._every, self._gates, self._clips = every, FisherGates(), clips

    def attach(self, model: nn.Module, groups: Sequence[UnitSite]) -> None:
        """Hook gates that stand at one; the first step is measured."""
        super().attach(model, groups)
        self._gates.attach(model, groups)
        self._gates.active = True

    def detach(self) -> None:
        """Remove the gates."""
        self._gates.detach()

    def collect(self, step: int) -> None:
        """Add the last backward pass, and decide whether the next one is measured."""
        self._gates.collect()
        self._gates.active = step % self._every == 0

    def calibrate(self, data: Calibration, groups: Sequence[UnitSite]) -> None:
        """Forget what training has measured; the clean clips count instead."""
        if self._clips:
            self._gates.take(data.information(groups, self._clips))

    def units(self, groups: Sequence[UnitSite]) -> Mapping[str, torch.Tensor]:
        """Information per weight, standardized within its group for `layer`.

        Raises:
            PlanError: when nothing has been measured yet.
        """
        if not self._gates.measured:
            raise PlanError(
                "no importance has been measured; train for a step at least, or choose "
                "importance magnitude"
            )
        return self._compared(per_weight(self._gates.information, groups))

    def state_dict(self) -> dict[str, Any]:
        """The measurements."""
        return dict(self._gates.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._gates.load_state_dict(state)


class Drawn(Magnitude):
    """Uniform numbers that depend on the seed and the name alone, never on weights or order."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def units(self, groups: Sequence[UnitSite]) -> Mapping[str, torch.Tensor]:
        """One number in [0, 1) per unit."""
        return {group.key: self._draw(group.key, (group.count,)) for group in groups}

    def elements(self, name: str) -> torch.Tensor:
        """One number in [0, 1) per element."""
        weight = self._model.get_parameter(name)
        return self._draw(name, tuple(weight.shape)).to(weight.device)

    def _draw(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        # On the CPU, whose generator gives the same numbers whatever device the model is on. It
        # takes only the low 32 bits of a seed, so seed and name must be mixed into those.
        own = zlib.crc32(f"{self._seed} {name}".encode())
        return torch.rand(shape, generator=torch.Generator().manual_seed(own))


def one_shot(options: OneShotOptions, target: Target) -> MaskedPruning:
    """All at once, after the first step or a share of them."""
    return MaskedPruning(target, Schedule(1, options.begin), _importance(options))


def by_fisher(options: FisherOptions, target: Target) -> MaskedPruning:
    """When the stage is done, which needs no step."""
    importance = Fisher(options.compare, _EVERY, options.clips)
    return DecidedLast(target, importance)


def iterative(options: IMPOptions, target: Target) -> MaskedPruning:
    """The same share of what remains in every round."""
    rounds = options.rounds or rounds_for(target)
    return MaskedPruning(target, Schedule(rounds, options.settle), _importance(options))


def random(options: RandomOptions, target: Target) -> MaskedPruning:
    """One-shot, at random."""
    return MaskedPruning(target, Schedule(1, options.begin), Drawn(options.seed))


def rounds_for(target: Target) -> int:
    """How many rounds let each take about a fifth of the weights that are left; one at least."""
    stays = 1 - target.removed - target.zeroed
    if stays <= 0:
        raise PlanError(
            f"{target.removed:g} removed and {target.zeroed:g} zeroed leave nothing; lower them"
        )
    return max(1, round(math.log(stays) / math.log(_STAYS_PER_ROUND)))


def _importance(options: OneShotOptions | IMPOptions) -> Importance:
    if options.importance == "fisher":
        return Fisher(options.compare, options.importance_every, options.importance_clips)
    return Magnitude(options.compare)
