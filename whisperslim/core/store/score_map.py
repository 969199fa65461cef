"""How important every unit of a model is, stored so that any size can be cut later.

A map belongs to one set of weights, whose hash it carries: scores of other weights would cut the
wrong units without anyone noticing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from whisperslim.core.disk.weight_files import read_head
from whisperslim.core.store.checkpoint import write_tensors
from whisperslim.errors import CheckpointError

FORMAT = 1
_KIND = "whisperslim score map"


@dataclass(frozen=True)
class ScoreMap:
    """The scores of one model's units.

    Attributes:
        scores: Group key -> one importance per unit, shape `(count,)`; lower goes first.
        method: Name of the method that made them.
        weights_sha256: Of the weights file that was scored, in hexadecimal.
        whole: Whether a group may lose its last unit, and with it the whole sub-layer.
        costs: What targets are counted in: group key -> cost of one unit; None: prunable weights.
    """

    scores: Mapping[str, torch.Tensor]
    method: str
    weights_sha256: str
    whole: bool
    costs: Mapping[str, float] | None = None

    def save(self, path: Path) -> None:
        """Write the map whole or not at all. Raises `CheckpointError` when the disk refuses."""
        metadata = {
            "kind": _KIND,
            "format": str(FORMAT),
            "method": self.method,
            "weights_sha256": self.weights_sha256,
            "whole": str(self.whole).lower(),
            "costs": json.dumps(None if self.costs is None else dict(self.costs)),
        }
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.scores.items()}
        temporary = path.with_name(f".{path.name}-new")
        try:
            write_tensors(temporary, tensors, metadata)
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise CheckpointError(
                f"the score map {path} could not be written: {error}. Make room, or make the "
                "folder writable, and do this again"
            ) from error

    @staticmethod
    def load(path: Path) -> "ScoreMap":
        """Inverse of `save`.

        Raises:
            CheckpointError: the file is missing, damaged, of another format, or says nothing of
                the model it scores.
        """
        try:
            read_head(path)  # bounds what the library trusts
            with safe_open(path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
                scores = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, ValueError, SafetensorError) as error:
            raise CheckpointError(
                f"the score map {path} is missing or damaged ({error}); {_REMEDY}"
            ) from error
        _check_metadata(path, metadata)
        return ScoreMap(
            scores,
            metadata["method"],
            metadata["weights_sha256"],
            metadata["whole"] == "true",
            _costs(path, metadata.get("costs", "null"), scores),
        )

    def check_scored(self, weights_sha256: str) -> None:
        """Raise `CheckpointError` unless the weights with this hash are those that were scored."""
        if weights_sha256 != self.weights_sha256:
            raise CheckpointError(
                f"the score map is of another model: it scores weights with sha256 "
                f"{self.weights_sha256[:16]}…, and these have {weights_sha256[:16]}…; put back the "
                f"weights that were scored, or score these: {_REMEDY}"
            )


_REMEDY = "delete the run's stages/plan.done and resume the run to score its tuned model again"


def _check_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("kind") != _KIND:
        raise CheckpointError(
            f"{path} does not say which model it scores, as files of older versions do; {_REMEDY}"
        )
    if metadata.get("format") != str(FORMAT):
        raise CheckpointError(
            f"{path} has score map format {metadata.get('format')}; this version reads format "
            f"{FORMAT}; {_REMEDY}"
        )
    missing = sorted({"method", "weights_sha256", "whole"} - set(metadata))
    if missing or metadata["whole"] not in ("true", "false"):
        raise CheckpointError(f"{path} is damaged: {missing or 'whole'} cannot be read; {_REMEDY}")


def _costs(path: Path, stored: str, scores: Mapping[str, torch.Tensor]) -> dict[str, float] | None:
    try:
        found = json.loads(stored)
        if found is None:
            return None
        return {key: float(found[key]) for key in scores}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: its costs cannot be read; {_REMEDY}") from error
