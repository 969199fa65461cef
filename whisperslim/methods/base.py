"""What a compression method is, and the register of those that exist.

Recipes, forms and help ask the register for every method's options, so torch is not loaded here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from whisperslim.errors import UsageError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from whisperslim.core.families import UnitSite
    from whisperslim.core.families.hearing import StepOutputs
    from whisperslim.core.plan.plan import PruningPlan, Scores
    from whisperslim.core.surgery.moments import Moments

LossTerms = Mapping[str, "torch.Tensor"]
"""Ordered name -> scalar. The sum is backpropagated; the names go to the log unchanged."""


@dataclass(frozen=True)
class Target:
    """Shares of the dense model to remove and to zero.

    Attributes:
        removed: Of what the method counts in (`CompressionMethod.costs`), or else the groups'
            prices: prunable weights if neither says otherwise.
        zeroed: Of the prunable weights.
    """

    removed: float
    zeroed: float


class Calibration(Protocol):
    """Clean clips of the training data, for what a method measures outside of training."""

    def information(self, groups: Sequence[UnitSite], clips: int) -> Scores:
        """Fisher information of every unit: mean squared gradient of a gate that stands at one.

        Over `clips` clips without augmentation, in evaluation mode, or all there are if those are
        fewer; `(count,)` for each group. The model is left as it is.
        """
        ...

    def moments(self, groups: Sequence[UnitSite], clips: int) -> Mapping[str, Moments]:
        """First and second moments of what goes into each group's gate module, by group key.

        Over clips as of `information`, in float32, and over the positions that the family counts
        for learning from a teacher (`counted_states`): of Whisper's encoder all, since its decoder
        also attends to the silence that pads a batch; of its decoder those at which something is
        predicted.
        """
        ...


class CompressionMethod(ABC):
    """One way of finding out what a model can do without. A method overrides what it needs.

    The loop calls `attach`, `calibrate` before the first step, and per optimizer step: forward (the
    method acts through hooks), `loss_terms`, backward, optimizer, `after_step`, and `hold_zeros`
    where weights are averaged. After training: `calibrate` once more, `scores`, and `plan`. With
    no steps at all (`train.steps: 0`) a method may do all of its work in `calibrate`.
    """

    whole: bool = False
    """Whether a group may lose its last unit, and with it the whole sub-layer."""

    @property
    def costs(self) -> Mapping[str, float] | None:
        """What the removal target is counted in: group key -> cost of one unit, once attached.

        None: the groups' prices, or prunable weights where they have none.
        """
        return None

    @abstractmethod
    def attach(self, model: nn.Module, groups: Sequence[UnitSite], total_steps: int) -> None:
        """Start acting on `model`. Changes no output until training begins."""

    def calibrate(self, data: Calibration, trained: bool) -> None:
        """Measure what is needed: before the first step, and when training is done (`trained`).

        Whatever is kept of it belongs in `state_dict`.
        """

    def param_groups(self) -> list[dict[str, Any]]:
        """Extra optimizer groups for parameters the method owns."""
        return []

    def loss_terms(self, outputs: StepOutputs, step: int) -> LossTerms:
        """The method's own terms, added to the data terms."""
        return {}

    def after_step(self, learning_rate: float, step: int) -> None:
        """Called when the optimizer has stepped; `step` counts from 1."""

    def hold_zeros(self) -> None:
        """Put elements that are to stay at zero back to zero, in place; often there are none.

        Called with a running average of the weights in their place: it remembers what was there
        before they became zero.
        """

    def gauges(self) -> Mapping[str, Mapping[str, float]]:
        """Quantities to draw over time: quantity -> group key -> value; often empty.

        Asked at every report of sparsity, so it may wait for the device.
        """
        return {}

    @abstractmethod
    def scores(self) -> Scores:
        """One finite importance per unit of every group, comparable across groups."""

    @abstractmethod
    def plan(self, evaluate: Callable[[PruningPlan], float] | None) -> PruningPlan:
        """Decide what goes. `evaluate` gives the dev WER of a plan, for methods that search."""

    def detach(self) -> None:
        """Remove every hook. Weights keep whatever training made of them."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to continue bit for bit: tensors, numbers, strings, lists, dicts."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`, after `attach`."""


@dataclass(frozen=True)
class MethodEntry:
    """A method's options class and how to build it from options, target and dense weights.

    `title` is what people call it; one without goes by its name. `components` says that its units
    are components of matrices, which are opened before it acts.
    """

    options: type
    build: Callable[[Any, Target], CompressionMethod]
    summary: str
    title: str = ""
    components: bool = False


_METHODS: dict[str, MethodEntry] = {}


def register(name: str, entry: MethodEntry) -> None:
    """Add a method. Refuses a name that is taken."""
    if name in _METHODS:
        raise UsageError(f"a method named {name!r} is registered already")
    _METHODS[name] = entry


def unregister(name: str) -> None:
    """Remove a method, for tests and plug-ins that come and go."""
    del _METHODS[get_name(name)]


def get(name: str) -> MethodEntry:
    """The entry of a method. Unknown names list the known ones."""
    return _METHODS[get_name(name)]


def get_name(name: str) -> str:
    """`name` itself when it is known; raises `UsageError` naming the known ones otherwise."""
    if name not in _METHODS:
        raise UsageError(f"no method named {name!r}; known: {', '.join(names())}")
    return name


def names() -> tuple[str, ...]:
    """Registered names, sorted."""
    return tuple(sorted(_METHODS))


def titled() -> dict[str, str]:
    """Registered name -> the method for people, "Sparse Group LASSO (sgl)"."""
    entries = ((name, get(name).title) for name in names())
    return {name: f"{title} ({name})" if title else name for name, title in entries}
