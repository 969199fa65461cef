"""A run's trade-off curve as plain values, and where it is stored. Loads no model code."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.untrusted import read_json, record_of
from whisperslim.core.plan.counting import OF_WEIGHTS
from whisperslim.errors import RunError
from whisperslim.jobs.run.folder import RunDir


@dataclass(frozen=True)
class SweepPoint:
    """One size, measured on the slim folder of a derived run.

    Attributes:
        target: Requested share to remove from the tuned model, counted as `Sweep.counted_in` says.
        removed: Share of the dense model's prunable weights that is removed.
        zeroed: Share of the dense model's prunable weights that is exactly zero in the file.
        parameters: Elements present, zeroed ones included.
        bytes: The weights file.
        flops: Of one pass of the workload that the sweep's provenance names.
        latency_seconds: Wall time per clip; the sweep's provenance says how it was measured.
        wer, wer_low, wer_high: Word error rate and its 95 % bootstrap interval.
        cer: Character error rate.
        n: Clips scored.
        run: Name of the derived run.
        machine: Where the latency was measured: cpu, cores, threads, versions, time.
    """

    target: float
    removed: float
    zeroed: float
    parameters: int
    bytes: int
    flops: int
    latency_seconds: float
    wer: float
    wer_low: float
    wer_high: float
    cer: float
    n: int
    run: str
    machine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """A run's trade-off curve, with the conditions of its figures.

    Attributes:
        run: Name of the run the sizes were cut from.
        method: Its method.
        points: By target, ascending; the first is the uncut tuned model (target 0).
        data: The data set of the error rates.
        normalizer, window: How texts were compared, and the encoder's window.
        recover_steps: Training steps after each cut, also for the uncut model.
        provenance: Workload, decoding, seed, latency protocol, hashes: plain values.
    """

    run: str
    method: str
    points: tuple[SweepPoint, ...]
    data: str
    normalizer: str
    window: str
    recover_steps: int
    provenance: Mapping[str, Any]

    @property
    def counted_in(self) -> str:
        """What the targets are shares of, in words."""
        return str(self.provenance.get("counted in", OF_WEIGHTS))


def read_sweep(run: RunDir) -> Sweep | None:
    """The stored curve of a run; None when there is none. Raises `RunError` when damaged."""
    path = curve_path(run)
    if not path.is_file():
        return None
    try:
        found: Sweep = record_of(Sweep, read_json(path))
        return found
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({error}); delete it and sweep again: derived runs are kept"
        ) from error


def curve_path(run: RunDir) -> Path:
    """Where a run's curve is stored."""
    return run.path / "sweep.json"


def write_sweep(run: RunDir, found: Sweep) -> None:
    """Store a run's curve in place of the one before."""
    text = json.dumps(asdict(found), ensure_ascii=False, indent=1, allow_nan=False)
    write_text_atomically(curve_path(run), text)
