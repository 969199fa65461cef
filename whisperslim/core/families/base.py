"""What a model architecture must say about itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar, runtime_checkable

from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.families.hearing import Hearing

Group = TypeVar("Group", bound="UnitGroup")
"""Facts alone, or a site: what comes out is what went in."""


@dataclass(frozen=True)
class Slice:
    """The part of one tensor that a unit owns.

    Unit `u` owns indices `[u * block, (u + 1) * block)` of `parameter` along `dim`; with `repeats`,
    the same of each of that many equal parts of the dimension, one behind the other (the value and
    the gate half of a GLU).

    Attributes:
        parameter: Name of a parameter, or of a buffer where a site lists its buffers.
        prunable: Whether its elements count as prunable weights: matrices do, biases and norms
            do not.
    """

    parameter: str
    dim: int
    block: int
    prunable: bool
    repeats: int = 1


@dataclass(frozen=True)
class UnitGroup:
    """Units of one kind in one place that are interchangeable and can be removed one by one.

    What planning needs to know of them: plain values. Where a cut is made is in `UnitSite`.

    Attributes:
        key: Stable name, for example `encoder.3.self_attn.heads`.
        kind: `heads` or `ffn`.
        stack: `encoder` or `decoder`.
        count: Number of units present in the model the group was read from.
        width: Activation channels per unit at the gate (head dimension; 1 for an FFN unit).
        weights_per_unit: Elements of prunable weight matrices one unit owns (biases not counted).
        parameters_per_unit: All elements one unit owns, biases included.
        layer: Index of the layer in its stack.
        tied: Groups with the same label keep equally many units, those that keep any; empty: free.
        price: Cost of one unit in the currency a target is counted in; 0: `weights_per_unit`.
        shared: Elements of prunable matrices that all units use and that go with the last one: of
            a matrix that is stored as two, the factor that no unit owns a part of.
        rest: Not 0: units are components of one matrix, and the last of them is all that the others
            are not. It leaves before any of them, and has so many weights. While it is there the
            matrix is whole; two factors would not be smaller.
    """

    key: str
    kind: str
    stack: str
    count: int
    width: int
    weights_per_unit: int
    parameters_per_unit: int
    layer: int = 0
    tied: str = ""
    price: float = 0.0
    shared: int = 0
    rest: int = 0

    def weights(self, units: Sequence[int]) -> int:
        """Elements of prunable matrices that these units own."""
        return len(units) * self.weights_per_unit - self._short(units)

    def parameters(self, units: Sequence[int]) -> int:
        """All elements that these units own."""
        return len(units) * self.parameters_per_unit - self._short(units)

    def _short(self, units: Sequence[int]) -> int:
        """What the last unit has less than another one, if it is among these."""
        return self.weights_per_unit - self.rest if self.rest and self.count - 1 in units else 0

    @property
    def size(self) -> float:
        """How many units it is worth: all of them, the last one as much as it has weights."""
        return self.count - self._short((self.count - 1,)) / self.weights_per_unit

    @property
    def unit_price(self) -> float:
        """What removing one unit counts for towards a target."""
        return self.price or float(self.weights_per_unit)

    @property
    def shared_price(self) -> float:
        """What `shared` counts for: nothing in another currency than weights."""
        return 0.0 if self.price else float(self.shared)

    @property
    def place(self) -> str:
        """The key without its layer: what this group is the instance of in one layer."""
        return self.key.replace(f"{self.stack}.{self.layer}.", f"{self.stack}.", 1)


@dataclass(frozen=True, kw_only=True)
class UnitSite(UnitGroup):
    """A group in a model: also where its units' weights and activations are.

    Attributes:
        slices: Every parameter of which a unit owns a part; removing it removes exactly these.
        gate: Module whose *input* carries the units' activations, and whose output is what the
            group adds to what comes after.
        gate_axis: Axis of that input, `count * width` long, which the units lie along; the batch
            is axis 0.
        buffers: Buffers of which a unit owns a part, such as the statistics of a BatchNorm.
        common: Parameters that are `shared`.
        matrix: The linear layer that units are components of, where there is a `rest`: none of them
            owns a part of its weight.
    """

    slices: tuple[Slice, ...]
    gate: str
    gate_axis: int = -1
    buffers: tuple[Slice, ...] = ()
    common: tuple[str, ...] = ()
    matrix: str = ""

    @property
    def facts(self) -> UnitGroup:
        """The group alone, as it may be stored and planned with."""
        return UnitGroup(**{each.name: getattr(self, each.name) for each in fields(UnitGroup)})


@dataclass(frozen=True)
class AttentionSite:
    """An attention module in a model: where its four projections are.

    Attributes:
        key: Stable name, for example `encoder.3.self_attn`.
        stack: Stack of the states that ask: `encoder` or `decoder`.
        source: Stack of the states that are attended to.
        query, keys, values, output: Names of the projections. Rows of the first three, and columns
            of the last, lie head by head.
        heads: Heads present.
        width: Dimensions of each head, in all four alike.
        scaling: What products of queries and keys are multiplied by.
    """

    key: str
    stack: str
    source: str
    query: str
    keys: str
    values: str
    output: str
    heads: int
    width: int
    scaling: float


class Family(Hearing, Protocol):
    """One architecture. The only place where its module names may appear."""

    model_type: str
    engines: tuple[str, ...]
    """Engines whose exporters know how to write this family."""

    def unit_groups(self, model: nn.Module) -> tuple[UnitSite, ...]:
        """Every group of removable units and where it is, encoder first, in layer order."""
        ...

    def prunable_weights(self, model: nn.Module) -> dict[str, str]:
        """Parameter name -> stack, for the weight matrices that count as prunable."""
        ...

    def set_unit_count(self, model: nn.Module, group: UnitSite, count: int) -> None:
        """Give the modules of `group` the attributes of `count` units. Changes no tensor.

        The features of a linear layer are set by the cut itself.
        """
        ...

    def drop(self, model: nn.Module, group: UnitSite) -> None:
        """Take the whole sub-layer of `group` out, its norm and output bias with it.

        It adds nothing to the residual stream then. A layer that has lost every sub-layer hands
        its input on. `unit_groups` does not list what was dropped.
        """
        ...

    def layers(self, model: nn.Module) -> Mapping[str, Sequence[nn.Module]]:
        """Stack -> its layers in order, encoder first; those taken out are there as pass-throughs.

        A layer's first argument and what it returns are the states `(batch, positions, d_model)`.
        """
        ...

    def final_norms(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """Stack -> the norm behind its last layer, of the stacks that have one."""
        ...

    def set_dropout(self, model: nn.Module, rate: float) -> None:
        """Set the residual dropout rate of every layer."""
        ...

    def freeze(self, model: nn.Module, *, encoder: bool, embeddings: bool) -> None:
        """Stop the gradient of the whole encoder, of the token embedding, or of both."""
        ...


@runtime_checkable
class NarrowsHeads(Protocol):
    """A family whose heads may have any width, and that attends without rotary positions.

    Products of queries and keys are then all that is seen of either, and products of the output
    projection and the values all that is seen of those.
    """

    def attentions(self, model: nn.Module) -> tuple[AttentionSite, ...]:
        """Every attention module that is present, encoder first, in layer order."""
        ...

    def set_head_width(self, model: nn.Module, site: AttentionSite, width: int) -> None:
        """Give the module the attributes of heads so wide. Changes no tensor.

        What scores are scaled by stays, so that they mean the same.
        """
        ...


@runtime_checkable
class OpensLinears(Protocol):
    """A family whose sub-layers' linear layers may be opened into components and stored as two.

    Each of them is given the states of a stack, clip by clip, and nothing else.
    """

    opens_linears: bool


@runtime_checkable
class TakesCTCHead(Protocol):
    """A family whose encoder can be given a head that scores frames, in place of its decoder."""

    def with_ctc_head(
        self, model: nn.Module, vocabulary: int, blank: int, *, pieces: bool, pool: int
    ) -> PreTrainedModel:
        """A new model of another family; its head is drawn from torch's generator.

        Args:
            model: Its encoder is whole.
            vocabulary: Tokens to score.
            blank: Id of the blank.
            pieces: Whether the tokens are the model's own, and not letters.
            pool: Encoder positions averaged before the head.

        Raises:
            UsageError: for a cut encoder.
        """
        ...

    def blank_of_pieces(self, model: nn.Module) -> int:
        """The id that is to stand for the blank among its own tokens; all text is below it."""
        ...

    def ctc_frames(self, seconds: float, pool: int) -> int:
        """Frames that the head will score of so much sound."""
        ...


def group_by_key(groups: tuple[UnitGroup, ...]) -> Mapping[str, UnitGroup]:
    """Groups indexed by their key."""
    return {group.key: group for group in groups}


def prunable_total(groups: tuple[UnitGroup, ...]) -> int:
    """Prunable weight elements in all groups: the denominator of every sparsity."""
    return sum(group.weights(range(group.count)) + group.shared for group in groups)


def total_price(groups: Sequence[UnitGroup]) -> float:
    """Price of all units together: the denominator of every target."""
    return sum(group.size * group.unit_price + group.shared_price for group in groups)


def unlimited(groups: Sequence[Group]) -> tuple[Group, ...]:
    """What a cut needs of `groups`: without what an engine or a currency adds."""
    return tuple(replace(group, tied="", price=0.0) for group in groups)
