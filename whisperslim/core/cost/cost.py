"""What a model costs, row by row: parameters, removed, zeroed, bytes, operations.

`removed` (cut out, really smaller) and `zeroed` (exactly zero, same shape, no faster) are never
added together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from whisperslim.core.cost.flops import WORKLOADS, FlopCount, Workload, count_flops
from whisperslim.core.cost.report import CostReport, CostRow, WorkloadCost
from whisperslim.core.disk.weight_files import read_head, weight_files, weights_bytes
from whisperslim.core.families import UnitSite, family_of, prunable_total
from whisperslim.core.families.factors import FactoredLinear, factored, opened
from whisperslim.core.fetch.sources import resolve
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.arithmetic import ExpectedSize, expected_size
from whisperslim.core.store.checkpoint import (
    SLIM_FILE,
    count_parameters,
    dense_skeleton,
    empty_model,
    load_dense,
    load_slim,
    read_record,
)
from whisperslim.core.store.sparse import whole_shapes
from whisperslim.core.surgery.shrink import close_matrices, head_widths, resize
from whisperslim.errors import CheckpointError

__all__ = ["CostReport", "CostRow", "ExpectedSize", "WorkloadCost", "cost_of", "count_places",
           "expected_size", "inspect_model"]  # fmt: skip

_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

_PRODUCTS = (nn.Linear, FactoredLinear)

_COUNTER = ".num_batches_tracked"  # of a BatchNorm; no weight, and a whole number


def inspect_model(
    name: str,
    *,
    announce: Callable[[str], None] = lambda message: None,
    offline: bool = False,
) -> CostReport:
    """Cost of a model by name. Raises `SourceError` or `CheckpointError` when it is none."""
    return cost_of(resolve(name, announce=announce, offline=offline).path, name=name)


def cost_of(
    model: Path | SpeechModel, *, name: str = "", workloads: Sequence[Workload] = WORKLOADS
) -> CostReport:
    """Cost of a model folder, or of a loaded model as it is in memory now.

    Of a loaded model the bytes are still those of the folder it came from. Weights are read in
    the file's own number format: float16 makes zeros of the tiniest values, which then count.

    Raises:
        CheckpointError: the folder is not a complete model, or `slim.json` contradicts it.
    """
    folder = model if isinstance(model, Path) else model.path
    disk = _read_disk(folder)
    live = _load(folder, disk.read_as) if isinstance(model, Path) else model.model
    if opened(live):  # which takes no more operations and weights, but buffers
        live = deepcopy(live)
        close_matrices(live)
    dense = dense_skeleton(folder)
    _check_record(folder, dense)
    slim = empty_model(folder)
    present = {group.key: group.count for group in _groups(live)}
    counts = {group.key: present.get(group.key, 0) for group in _groups(dense)}
    resize(slim, counts, head_widths(live), factored(live))
    passes = [(count_places(slim, work), count_places(dense, work)) for work in workloads]
    rows = (*_group_rows(live, dense, passes[0]), *_other_rows(live, dense, passes[0]))
    removed, missing = sum(row.removed for row in rows), disk.missing_from(dense, live)
    return CostReport(
        name=name or (str(folder) if isinstance(model, Path) else model.name),
        rows=rows,
        parameters=count_parameters(live),
        dense_parameters=count_parameters(dense),
        prunable=prunable_total(_groups(dense)),
        removed=removed,
        removed_weights=prunable_total(_groups(dense)) - prunable_total(_groups(live)),
        zeroed=sum(row.zeroed for row in rows),
        bytes_on_disk=disk.bytes,
        folder_bytes=_folder_bytes(folder),
        sparse_saved=disk.sparse_saved,
        dense_bytes=disk.bytes + disk.sparse_saved + missing * disk.bytes_each,
        dtype=disk.dtype,
        workloads=tuple(_workload(*each) for each in zip(workloads, passes, strict=True)),
        flops_note=workloads[0].describe(),
    )


@dataclass(frozen=True)
class _Disk:
    """Weights files: their length, their number formats and the elements they hold.

    `sparse_saved` is what its tensors would take more if none were stored sparse.
    """

    bytes: int
    dtype: str
    read_as: torch.dtype
    bytes_each: int
    sizes: Mapping[str, int]
    sparse_saved: int

    def missing_from(self, dense: nn.Module, live: nn.Module) -> int:
        """Elements the dense model has more than the file has of the live one's parameters."""
        found = (self.sizes.get(name, 0) for name, _ in live.named_parameters())
        return count_parameters(dense) - sum(found)


def _read_disk(folder: Path) -> _Disk:
    stored, sizes, formats = dict[str, int](), dict[str, int](), dict[str, str]()
    for file in weight_files(folder):
        try:
            head = read_head(file)
            shapes = {n: shape for n, shape in head.shapes.items() if not n.endswith(_COUNTER)}
            whole = whole_shapes(shapes, head.metadata)
        except (OSError, ValueError, CheckpointError) as error:
            raise CheckpointError(
                f"{file} is missing or damaged ({error}); fetch it again"
            ) from error
        stored |= {name: math.prod(shape) for name, shape in shapes.items()}
        sizes |= {name: math.prod(shape) for name, shape in whole.items()}
        formats |= {name: head.formats[name] for name in whole}
    unknown = sorted(set(formats.values()) - set(_DTYPES))
    if unknown or not formats:
        raise CheckpointError(
            f"{folder} holds numbers of the kind {unknown}; accepted: {', '.join(_DTYPES)}"
        )
    names = sorted({str(_DTYPES[code]).removeprefix("torch.") for code in formats.values()})
    # The largest tensor stands for the matrices, which are stored in one format.
    largest = _DTYPES[formats[max(sizes, key=lambda name: sizes[name])]]
    read_as = largest if len(names) == 1 else torch.float32
    full = sum(size * _DTYPES[formats[name]].itemsize for name, size in sizes.items())
    data = sum(n * _DTYPES[formats[name]].itemsize if name in sizes else n
               for name, n in stored.items())  # fmt: skip
    return _Disk(
        weights_bytes(folder), "+".join(names), read_as, largest.itemsize, sizes, full - data
    )


def _load(folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    load = load_slim if (folder / SLIM_FILE).is_file() else load_dense
    return load(folder, dtype)


def _check_record(folder: Path, dense: nn.Module) -> None:
    """Raise `CheckpointError` when `slim.json` names another dense model than `config.json`."""
    if not (folder / SLIM_FILE).is_file():
        return
    record = read_record(folder)
    counts = {group.key: group.count for group in _groups(dense)}
    if record.dense_counts != counts or record.dense_parameters != count_parameters(dense):
        raise CheckpointError(
            f"{folder / SLIM_FILE} names a dense model with {record.dense_parameters} "
            f"parameters, config.json one with {count_parameters(dense)}, or their units "
            "differ; export the model again"
        )


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _groups(model: nn.Module) -> tuple[UnitSite, ...]:
    return family_of(model).unit_groups(model)


def _workload(work: Workload, count: tuple[FlopCount, FlopCount]) -> WorkloadCost:
    return WorkloadCost(work.name, work.frames, work.tokens, count[0].total, count[1].total)


def count_places(skeleton: PreTrainedModel, work: Workload) -> FlopCount:
    """Operations of one pass; places are unit group keys and the other rows of a report.

    `skeleton` is on the meta device.
    """
    family, groups = family_of(skeleton), _groups(skeleton)
    places = {group.key: _modules_of(skeleton, group) for group in groups}
    owned = {part.parameter.rsplit(".", 1)[0] for group in groups for part in group.slices}
    owned |= {group.matrix for group in groups}
    for name, module in skeleton.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, *_PRODUCTS)) and name not in owned:
            places.setdefault(family.cost_row(skeleton, name), []).append(module)
    return count_flops(skeleton, work, places)


def _modules_of(model: nn.Module, group: UnitSite) -> list[nn.Module]:
    """The module that holds a group and nothing else prunable; else the group's own matrices.

    Attention holds its four projections and also multiplies scores, which belong to the heads.
    """
    if group.matrix:
        return [model.get_submodule(group.matrix)]
    owners = sorted({part.parameter.rsplit(".", 1)[0] for part in group.slices})
    parents = {owner.rsplit(".", 1)[0] for owner in owners}
    if len(parents) == 1:
        parent = model.get_submodule(parents.pop())
        inside = [m for m in parent.modules() if isinstance(m, _PRODUCTS)]
        if len(inside) == len(owners):
            return [parent]
    # A module with parameters of its own contains the others: what is in it counts once.
    outer = [o for o in owners if not any(o.startswith(f"{other}.") for other in owners)]
    return [model.get_submodule(owner) for owner in outer]


def _group_rows(
    live: nn.Module, dense: nn.Module, flops: tuple[FlopCount, FlopCount]
) -> list[CostRow]:
    present = {group.key: group for group in _groups(live)}
    rows = []
    for before in _groups(dense):
        now = present.get(before.key)
        units = now.count if now else 0
        names = [*(part.parameter for part in now.slices), *now.common] if now else []
        rows.append(
            CostRow(
                key=before.key,
                kind=before.kind,
                stack=before.stack,
                parameters=sum(live.get_parameter(name).numel() for name in names),
                removed=before.count * before.parameters_per_unit
                - (units * now.parameters_per_unit + now.shared if now else 0),
                zeroed=_zeros(live, names),
                units=units,
                units_dense=before.count,
                flops=flops[0].places.get(before.key, 0),
                flops_dense=flops[1].places[before.key],
                width=now.width if now else 0,
                width_dense=before.width,
                ranks=_ranks(live, now) if now else {},
            )
        )
    return rows


def _ranks(live: nn.Module, group: UnitSite) -> dict[str, int]:
    inside = dict.fromkeys(name.rpartition(".")[0] for name in group.common)
    return {name.rpartition(".")[2]: factored(live)[name] for name in inside}


def _zeros(live: nn.Module, names: Sequence[str]) -> int:
    prunable = family_of(live).prunable_weights(live)
    matrices = [live.get_parameter(name) for name in names if name in prunable]
    return sum(int((matrix == 0).sum()) for matrix in matrices)


def _other_rows(
    live: PreTrainedModel,
    dense: PreTrainedModel,
    flops: tuple[FlopCount, FlopCount],
) -> list[CostRow]:
    """What no unit owns, one row for each kind and stack. Norms go with whole sub-layers.

    Of one of them the units are the tokens.
    """
    now, before = _unowned(live), _unowned(dense)
    tokens = {family_of(live).token_row: (live.config.vocab_size, dense.config.vocab_size)}
    return [
        CostRow(
            key, key.split(".")[1], key.split(".")[0], now[key], size - now[key], 0,
            *tokens.get(key, (0, 0)),
            flops[0].places.get(key, 0), flops[1].places.get(key, 0),
        )
        for key, size in before.items()
    ]  # fmt: skip


def _unowned(model: PreTrainedModel) -> dict[str, int]:
    """Row -> elements of the parameters no unit owns."""
    groups = _groups(model)
    owned = {part.parameter for group in groups for part in group.slices}
    owned |= {name for group in groups for name in group.common}
    sizes: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if name not in owned:
            key = family_of(model).cost_row(model, name.rsplit(".", 1)[0])
            sizes[key] = sizes.get(key, 0) + parameter.numel()
    return sizes
