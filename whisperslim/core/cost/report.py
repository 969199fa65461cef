"""The record of what a model costs. Plain values; imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class CostRow:
    """One place of the model. Over all rows every figure sums to the report's total.

    Attributes:
        key: A unit group's key, or `encoder.positions` and the like for what cannot be removed.
        kind: `heads`, `ffn`, or what its family calls the rest: `embeddings`, `positions`,
            `convolutions`, `norms_and_biases`.
        stack: `encoder` or `decoder`.
        parameters: Elements present, biases included. The output projection is the token
            embedding under another name and is not counted again.
        removed: Elements of the dense model that are gone, biases included.
        zeroed: Elements present that are exactly zero; of prunable matrices only.
        units, units_dense: Removable units now and in the dense model, and of the row of
            embeddings, or of the head, its tokens; 0 where there are none.
        flops, flops_dense: Operations of the first workload, now and in the dense model. The
            output projection's are in the row of the embedding.
        width, width_dense: Channels of one unit (a head's dimensions), 0 without units.
        ranks: Linear layer -> rank, of those that are stored as two matrices.
    """

    key: str
    kind: str
    stack: str
    parameters: int
    removed: int
    zeroed: int
    units: int
    units_dense: int
    flops: int
    flops_dense: int
    width: int = 0
    width_dense: int = 0
    ranks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkloadCost:
    """Operations for one stated piece of work, now and in the dense model."""

    name: str
    frames: int
    tokens: int
    flops: int
    flops_dense: int


@dataclass(frozen=True)
class CostReport:
    """Cost of a model against the dense one it was cut from.

    Attributes:
        parameters, dense_parameters: All elements, tied ones counted once.
        prunable: Elements of the dense model's prunable matrices (biases are not among them).
        removed: All elements cut out, biases included.
        removed_weights: Those of them that were in prunable matrices.
        zeroed: Elements present in prunable matrices that are exactly zero, whatever the reason.
        bytes_on_disk: The weights file.
        sparse_saved: Bytes it is smaller by because zeros are stored as a bit each.
        folder_bytes: The whole folder: tokenizer and all.
        dense_bytes: What the weights file would take with nothing removed and every zero written
            out, same number format.
        dtype: Number format of the weights file, several joined by `+`.
        workloads: Operations; the first is the one the rows are for.
        flops_note: What the count covers.
    """

    name: str
    rows: tuple[CostRow, ...]
    parameters: int
    dense_parameters: int
    prunable: int
    removed: int
    removed_weights: int
    zeroed: int
    bytes_on_disk: int
    sparse_saved: int
    folder_bytes: int
    dense_bytes: int
    dtype: str
    workloads: tuple[WorkloadCost, ...]
    flops_note: str

    @property
    def flops(self) -> int:
        """Operations of the first workload."""
        return self.workloads[0].flops

    @property
    def flops_dense(self) -> int:
        """The dense model's operations of the first workload."""
        return self.workloads[0].flops_dense

    @property
    def removed_tokens(self) -> int:
        """Elements that went with tokens of the vocabulary: part of `removed`."""
        return sum(row.removed for row in self.rows if row.kind == "embeddings")

    @property
    def removed_of_prunable(self) -> float:
        """Share of the dense model's prunable elements cut out: what `target` means."""
        return self.removed_weights / self.prunable

    @property
    def removed_of_all(self) -> float:
        """Share of all of the dense model's elements cut out."""
        return self.removed / self.dense_parameters

    @property
    def zeroed_of_prunable(self) -> float:
        """Zeros as a share of the dense model's prunable elements."""
        return self.zeroed / self.prunable

    @property
    def zeroed_of_all(self) -> float:
        """Zeros as a share of all of the dense model's elements."""
        return self.zeroed / self.dense_parameters

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON, shares included."""
        derived = (
            "flops", "flops_dense", "removed_tokens", "removed_of_prunable", "removed_of_all",
            "zeroed_of_prunable", "zeroed_of_all",
        )  # fmt: skip
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}
