"""Everything needed to continue training bit for bit, on disk as a whole or not at all."""

import pickle
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from whisperslim.core.checkpoint import read_tensors
from whisperslim.core.files import renamed_into_place
from whisperslim.errors import CheckpointError, RunError

STUDENT_FILE = "student.safetensors"
STATE_FILE = "state.pt"
_NAME = re.compile(r"step-(\d{6,})$")


@dataclass
class Counters:
    """The loop's own memory between steps."""

    step: int = 0
    best_loss: float = float("inf")
    worse_in_a_row: int = 0
    average: dict[str, torch.Tensor] = field(default_factory=dict)


def checkpoint_folder(checkpoints: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` optimizer steps."""
    return checkpoints / f"step-{step:06d}"


def save_checkpoint(
    checkpoints: Path,
    model: nn.Module,
    counters: Counters,
    parts: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint and delete all but the newest `keep`.

    Args:
        checkpoints: Folder of the stage's checkpoints.
        model: The student; trainable and frozen parameters alike are stored.
        counters: The loop's counters.
        parts: Name -> object with `state_dict()` (optimizer, batches, method).
        keep: How many to leave.

    Raises:
        RunError: when the disk refuses; earlier checkpoints are untouched.
    """
    folder = checkpoint_folder(checkpoints, counters.step)
    state = {
        "counters": vars(counters),
        "torch_rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "parts": {name: part.state_dict() for name, part in parts.items()},
    }
    with _written_whole(folder) as temporary:
        save_file(_tensors(model), temporary / STUDENT_FILE)
        torch.save(state, temporary / STATE_FILE)
    for old in list_checkpoints(checkpoints)[:-keep]:
        shutil.rmtree(old)
    return folder


def load_checkpoint(
    folder: Path, model: nn.Module, counters: Counters, parts: Mapping[str, Any]
) -> None:
    """Restore model, counters, random state and every part, in place.

    Raises:
        CheckpointError: when the checkpoint is damaged or of another model.
    """
    tensors = read_tensors(folder / STUDENT_FILE)
    try:
        # Plain tensors and containers only: nothing in a checkpoint can run code.
        device = next(model.parameters()).device
        state = torch.load(folder / STATE_FILE, weights_only=True, map_location=device)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{folder / STATE_FILE} is damaged: {error}. Delete {folder} to continue from the "
            "checkpoint before it"
        ) from error
    _restore_tensors(model, tensors, folder)
    for name, value in state["counters"].items():
        setattr(counters, name, value)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    torch.set_rng_state(state["torch_rng"].cpu())
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda_rng"]])


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not checkpoints.is_dir():
        return []
    found = [folder for folder in checkpoints.iterdir() if _NAME.match(folder.name)]
    return sorted(found, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))


def save_best(checkpoints: Path, model: nn.Module) -> None:
    """Keep the weights of the best dev evaluation so far; raises as `save_checkpoint` does."""
    with _written_whole(checkpoints / "best") as temporary:
        save_file(_tensors(model), temporary / STUDENT_FILE)


def load_best(checkpoints: Path, model: nn.Module) -> bool:
    """Put the best weights back; false when no evaluation was ever the best."""
    file = checkpoints / "best" / STUDENT_FILE
    if not file.is_file():
        return False
    _restore_tensors(model, read_tensors(file), file.parent)
    return True


@contextmanager
def _written_whole(folder: Path) -> Iterator[Path]:
    try:
        with renamed_into_place(folder) as temporary:
            yield temporary
    except (OSError, RuntimeError, SafetensorError) as error:
        # A full disk is a RuntimeError to torch.save and a SafetensorError to safetensors.
        raise RunError(
            f"the checkpoint {folder} could not be written: {error}. Make room and resume; "
            "earlier checkpoints are intact"
        ) from error


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    # named_parameters names a tied tensor once, which safetensors asks for.
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}


@torch.no_grad()
def _restore_tensors(model: nn.Module, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    parameters = dict(model.named_parameters())
    if set(parameters) != set(tensors):
        raise CheckpointError(f"{folder} is a checkpoint of another model")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise CheckpointError(f"{folder}: {name} has another shape than the model's")
        parameter.copy_(tensors[name])
