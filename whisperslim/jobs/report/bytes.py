"""How the size of a model changed, from the dense weights file to the slim one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whisperslim.core.cost.cost import cost_of
from whisperslim.core.cost.flops import WORKLOADS
from whisperslim.core.cost.report import CostReport, CostRow
from whisperslim.core.disk.weight_files import read_head, weight_files, weights_bytes
from whisperslim.core.fetch.sources import cache_folder
from whisperslim.core.store.checkpoint import read_record
from whisperslim.engines.export.record import is_export, read_export
from whisperslim.errors import RunError, SourceError
from whisperslim.jobs.run.folder import RunDir

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True)
class WeightsFile:
    """A model's weights: file length, how many numbers, bytes of each."""

    bytes: int
    elements: int
    bytes_each: int


@dataclass(frozen=True)
class ByteStep:
    """One bar. A `total` is a file's size in bytes, any other a change, below 0 when smaller."""

    label: str
    bytes: int
    total: bool = False


def run_byte_steps(run: RunDir) -> tuple[ByteStep, ...]:
    """Steps from the dense model of a finished run to its slim model, then to each of its exports.

    Raises `RunError` when the run has no slim model, `CheckpointError` or `ExportError` when its
    files are damaged.
    """
    if not run.slim_path.is_dir():
        raise RunError(f"{run.name} has no slim model yet; wait for its stage `recover`")
    report = cost_of(run.slim_path, workloads=WORKLOADS[:1])
    steps = byte_steps(report, dense_file(read_record(run.slim_path).base))
    return (*steps, *_exports(run, report.bytes_on_disk))


def byte_steps(slim: CostReport, dense: WeightsFile | None) -> tuple[ByteStep, ...]:
    """The steps from the dense file to the slim one; they add up to the slim file's length.

    What was cut out is counted at the dense file's bytes each, then what is left is written in the
    slim file's number format. `dense` is None, or ignored, where the dense file is not on this
    machine or is of another model: then the dense model is counted in the slim file's format.
    """
    if dense is not None and dense.elements == slim.dense_parameters:
        start, each = dense.bytes, float(dense.bytes_each)
    else:
        start, each = slim.dense_bytes, slim.dense_bytes / slim.dense_parameters
    removed = [(name, -round(each * count)) for name, count in _removed(slim.rows)]
    left = start + sum(size for _, size in removed)
    written = slim.bytes_on_disk + slim.sparse_saved
    changes = [*removed, (_precision(written - left, left), written - left)]
    changes.append(("zeros as bits", -slim.sparse_saved))
    return (
        ByteStep("dense", start, total=True),
        *(ByteStep(name, size) for name, size in changes if size),
        ByteStep("slim", slim.bytes_on_disk, total=True),
    )


def dense_file(base: str) -> WeightsFile | None:
    """The weights of a model's dense original, None when they are not on this machine."""
    folder = Path(base).expanduser()
    try:
        folder = folder if folder.is_dir() else cache_folder(base)
        elements, formats = list[int](), list[int]()
        for file in weight_files(folder):
            head = read_head(file)
            elements += [math.prod(shape) for shape in head.shapes.values()]
            formats += [_BYTES.get(form, 0) for form in head.formats.values()]
        size = weights_bytes(folder)
    except (OSError, ValueError, SourceError):
        return None  # the picture then starts with the slim file's own number format
    return WeightsFile(size, sum(elements), formats[elements.index(max(elements))])


def _removed(rows: Sequence[CostRow]) -> list[tuple[str, int]]:
    """Removed elements by kind. A group without its last unit is a whole sub-layer."""
    counts = dict.fromkeys(("vocabulary", "heads", "FFN", "low rank", "whole layers"), 0)
    names = {"embeddings": "vocabulary", "heads": "heads", "ffn": "FFN"}
    for row in rows:
        whole = row.units_dense and not row.units
        kind = "low rank" if row.ranks else names.get(row.kind, "whole layers")
        counts["whole layers" if whole else kind] += row.removed
    return list(counts.items())


def _precision(change: int, before: int) -> str:
    # A header is some kilobytes; another number format changes a quarter of the file and more.
    return "precision" if abs(change) > before / 100 else "file header"


def _exports(run: RunDir, slim: int) -> list[ByteStep]:
    steps = []
    folders = sorted(run.path.glob("export/*"))
    for record in [read_export(folder) for folder in folders if is_export(folder)]:
        form = "" if record.quantize == "none" else f", {record.quantize}"
        steps.append(ByteStep(f"{record.engine}{form}", record.weights_bytes, total=True))
    return steps
