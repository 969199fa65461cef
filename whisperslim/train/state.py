"""Everything needed to continue training bit for bit, on disk as a whole or not at all.

The running average of the weights (Polyak averaging) is part of it.
"""

import json
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from whisperslim.core import ranks
from whisperslim.core.disk.files import renamed_into_place
from whisperslim.core.disk.untrusted import fitting, json_of
from whisperslim.core.store.checkpoint import read_tensors
from whisperslim.core.store.state_file import read_state
from whisperslim.errors import CheckpointError, RunError, shortage_of

STUDENT_FILE = "student.safetensors"
STATE_FILE = "state.pt"
SUMS_FILE = "crc32.json"
_NAME = re.compile(r"step-(\d{6,})$")
_CHUNK = 1 << 22
# Never used by checkpoints: the log, and the message that the disk is full, need a little, too.
_SPARE_BYTES = 4_000_000


@dataclass
class Counters:
    """What the loop keeps between steps."""

    step: int = 0
    best_loss: float = float("inf")
    worse_in_a_row: int = 0
    left_out: int = 0  # clips too short for their text, since the last report
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
    """Write a checkpoint, flushed to the disk, and delete all but the newest `keep`.

    Of processes that train together, the first one writes it, with the random state of each.

    Args:
        checkpoints: Folder of the stage's checkpoints.
        model: The student; trainable and frozen parameters alike are stored.
        counters: The loop's counters.
        parts: Name -> object with `state_dict()` (optimizer, batches, method).
        keep: How many to leave.

    Raises:
        RunError: when the disk has no room or refuses; earlier checkpoints are untouched.
    """
    random = ranks.gathered(_random_state())
    return ranks.on_first(lambda: _save(checkpoints, model, counters, parts, keep, random))


def _save(
    checkpoints: Path,
    model: nn.Module,
    counters: Counters,
    parts: Mapping[str, Any],
    keep: int,
    random: Sequence[Mapping[str, Any]],
) -> Path:
    folder = checkpoint_folder(checkpoints, counters.step)
    state = {
        "counters": vars(counters),
        **random[0],
        "others": list(random[1:]),
        "parts": {name: part.state_dict() for name, part in parts.items()},
    }
    tensors = _tensors(model)
    _require_room(folder, _bytes_of(tensors) + _bytes_of(state))
    with _written_whole(folder) as temporary:
        save_file(tensors, temporary / STUDENT_FILE)
        torch.save(state, temporary / STATE_FILE)
        _seal(temporary)
    for old in list_checkpoints(checkpoints)[:-keep]:
        shutil.rmtree(old)
    return folder


def _random_state() -> dict[str, Any]:
    """Of this process. Of several, each uses one GPU."""
    cuda: list[torch.Tensor] = []
    if torch.cuda.is_available():
        whole = ranks.size() == 1
        cuda = torch.cuda.get_rng_state_all() if whole else [torch.cuda.get_rng_state()]
    return {"torch_rng": torch.get_rng_state(), "cuda_rng": cuda}


def _restore_random(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch_rng"].cpu())
    cuda = [each.cpu() for each in state["cuda_rng"]]
    if cuda and torch.cuda.is_available():
        if ranks.size() == 1:
            torch.cuda.set_rng_state_all(cuda)
        else:
            torch.cuda.set_rng_state(cuda[0])


@dataclass(frozen=True)
class Stored:
    """A checkpoint as read: nothing of it has been restored yet."""

    folder: Path
    tensors: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]


def read_checkpoint(folder: Path, device: torch.device) -> Stored:
    """Read a checkpoint. Raises `CheckpointError` when it is damaged."""
    _check_seal(folder)
    tensors = read_tensors(folder / STUDENT_FILE)
    size = (folder / STUDENT_FILE).stat().st_size
    return Stored(folder, tensors, read_state(folder / STATE_FILE, size, device))


def restore(stored: Stored, model: nn.Module, counters: Counters, parts: Mapping[str, Any]) -> None:
    """Put back model, counters, random state and every part, in place.

    Raises:
        CheckpointError: when the checkpoint is of another model or of another number of processes,
            or lacks what a part needs.
    """
    state = stored.state
    random = [state, *state.get("others", [])]
    if len(random) != ranks.size():
        raise CheckpointError(
            f"the checkpoint {stored.folder} is of {_processes(len(random))} and this is a run by "
            f"{_processes(ranks.size())}, which would go on differently; resume it with "
            f"runtime.devices {len(random)}, as it began"
        )
    _restore_tensors(model, stored.tensors, stored.folder)
    with state_needed(f"the checkpoint {stored.folder}", "start a new run"):
        for name, value in _counted(state["counters"]).items():
            setattr(counters, name, value)
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        _restore_random(random[ranks.rank()])


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"


def _counted(stored: Any) -> dict[str, Any]:
    """The counters of a checkpoint. Raises `ValueError` when they are not counters."""
    found = {
        "step": fitting(stored["step"], int),
        "worse_in_a_row": fitting(stored["worse_in_a_row"], int),
        "best_loss": float(stored["best_loss"]),  # infinite before the first evaluation
        # Checkpoints of a version before the average have none.
        "average": dict(stored.get("average", {})),
    }
    if found["step"] < 0 or not all(torch.is_tensor(each) for each in found["average"].values()):
        raise ValueError("its counters are none")
    return found


@contextmanager
def state_needed(what: str, repair: str) -> Iterator[None]:
    """Make a `CheckpointError` of a stored state that lacks a key, or does not fit.

    `repair` says what to do. Raises `MemoryShortageError` when memory is short.
    """
    try:
        yield
    except (ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        if shortage := shortage_of(error):
            raise shortage from error
        raise CheckpointError(f"{what} does not fit ({error}); {repair}") from error
    except KeyError as error:
        raise CheckpointError(
            f"{what} has no {error}, so it was written by another version; {repair}, or continue "
            "with the version that wrote it"
        ) from error


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it is not tried again; returns where it is now."""
    aside = folder.with_name(f"damaged-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    return folder.rename(aside)


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


def _require_room(folder: Path, size: int) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free < size + _SPARE_BYTES:
        raise RunError(
            f"the checkpoint {folder} needs {(size + _SPARE_BYTES) / 1e6:.0f} MB and the disk has "
            f"{free / 1e6:.0f} MB free. Make room and resume; earlier checkpoints are intact"
        )


def _bytes_of(value: object) -> int:
    """Bytes of the tensors in nested containers."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(_bytes_of(each) for each in value.values())
    return sum(_bytes_of(each) for each in value) if isinstance(value, (list, tuple)) else 0


def _seal(folder: Path) -> None:
    """Write the files' check sums."""
    names = (STUDENT_FILE, STATE_FILE)
    (folder / SUMS_FILE).write_text(json.dumps({name: _crc32(folder / name) for name in names}))


def _check_seal(folder: Path) -> None:
    """Raises `CheckpointError` when a file is not as written. Without sums there is no check."""
    if not (folder / SUMS_FILE).is_file():
        return  # of a version that wrote none
    try:
        sums = json_of((folder / SUMS_FILE).read_bytes())
        wrong = [name for name, known in sums.items() if _crc32(folder / name) != known]
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / SUMS_FILE} is damaged: {error}") from error
    if wrong:
        raise CheckpointError(f"{folder / wrong[0]} is damaged: its contents have changed")


def _crc32(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total = zlib.crc32(chunk, total)
    return total


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    # named_parameters names a tied tensor once, which safetensors asks for.
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}


def sum_of_weights(model: nn.Module) -> int:
    """A check sum of all parameters: models that differ in a bit have, most likely, another one."""
    total = 0
    for tensor in _tensors(model).values():
        total = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, total)
    return total


@torch.no_grad()
def _restore_tensors(model: nn.Module, tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    parameters = dict(model.named_parameters())
    if set(parameters) != set(tensors):
        raise CheckpointError(f"{folder} is a checkpoint of another model")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise CheckpointError(f"{folder}: {name} has another shape than the model's")
        parameter.copy_(tensors[name])


@torch.no_grad()
def update_average(counters: Counters, model: nn.Module, decay: float) -> None:
    """`average <- d * average + (1 - d) * weights`, with `d` smaller in the first steps.

    The decay grows as `(1 + step) / (10 + step)` up to `decay`, so that the average forgets the
    starting point; the ramp is our choice.
    """
    decay = min(decay, (1 + counters.step) / (10 + counters.step))
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name in counters.average:
            counters.average[name].lerp_(parameter.detach(), 1 - decay)
        else:
            counters.average[name] = parameter.detach().clone()


@contextmanager
def swapped_in(counters: Counters, model: nn.Module) -> Iterator[None]:
    """The model holding its average for the length of the block; nothing to do without one."""
    own = {name: model.get_parameter(name).data for name in counters.average}
    try:
        for name, value in counters.average.items():
            model.get_parameter(name).data = value
        yield
    finally:
        for name, value in own.items():
            model.get_parameter(name).data = value
