"""Disk space: what a run will still write, and whether there is room for it.

The estimate is arithmetic on the model's own files. It is an upper bound: frozen parameters other
than the embedding, and savings by cutting, are not subtracted.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whisperslim import methods
from whisperslim.core.disk.untrusted import read_json, read_yaml
from whisperslim.core.disk.weight_files import read_head, weight_files
from whisperslim.core.heads.options import OWN
from whisperslim.engines import registry
from whisperslim.errors import RunError, SourceError

if TYPE_CHECKING:
    from whisperslim.jobs.run.folder import RunDir


_FLOAT_BYTES = 4  # training is in float32; AdamW keeps two such values per trained parameter
_MOMENTS = 2
# Events, logs, tables of scores and tokenizers: a run of six hours was under 10 MB of them.
_SMALL_FILES = 20_000_000
# With less than this no run starts, whatever the model: a failing run needs it for its last
# messages.
_ALWAYS = 50_000_000
# Section of the recipe -> the stage whose checkpoints it describes.
_MOST_STEPS = 10**9
_STAGES = {"prepare": "prepare", "train": "tune", "recover": "recover"}


@dataclass(frozen=True)
class RoomNeeded:
    """Bytes. `checkpoints` is the most at any one time, `models` what stays in the run folder."""

    checkpoints: int
    models: int

    @property
    def total(self) -> int:
        return self.checkpoints + self.models + _SMALL_FILES


def require_room_for(run: "RunDir") -> None:
    """Raise `RunError` unless the run's disk has room for what the run will still write."""
    free = free_bytes(run.path)
    needed = room_needed(run)
    left = max(_ALWAYS, needed.total - folder_bytes(run.path)) if needed else _ALWAYS
    if free >= left:
        return
    raise RunError(
        f"the disk of {run.path.parent} has {megabytes(free)} free and the run may need "
        f"{megabytes(left)}{_detail(needed)}. Make room, keep the runs on another disk, or "
        "lower keep_checkpoints in the recipe"
    )


def room_needed(run: "RunDir") -> RoomNeeded | None:
    """What a whole run writes at most; None when its model's size is not known yet."""
    recipe = _mapping(lambda: read_yaml(run.path / "recipe.yaml"))
    found = model_parameters(str(recipe.get("model", "")))
    if found is None:
        return None
    every, embedding = found
    trims = bool(_section(recipe, "vocabulary").get("languages"))
    heads = _section(recipe, "head").get("kind", OWN) != OWN
    if trims or heads:  # few tokens stay: 871 of 51,865 for Hindi
        every, embedding = every - embedding, 0
    checkpoints = [
        _stage_checkpoints(_section(recipe, name), every, embedding)
        for name, stage in _STAGES.items()
        if not run.stage_done(stage)
    ]
    # tuned, cut and slim always; the others and an export when the recipe has them.
    copies = 3 + trims + heads + bool(_section(recipe, "prepare").get("steps"))
    method = _section(recipe, "method").get("name")
    opens = method in methods.names() and methods.get(str(method)).components
    copies += opens or bool(_section(recipe, "target").get("head_width"))
    copies += 2 * opens  # components take as much as the matrices, in the models before the cut
    copies += _section(recipe, "export").get("engine") != registry.OWN
    return RoomNeeded(max(checkpoints, default=0), copies * every * _FLOAT_BYTES)


def model_parameters(model: str) -> tuple[int, int] | None:
    """Parameters of a model, and those in its token embedding.

    Read from the file headers only. None when the model is not on this machine: it is never fetched
    for its size.
    """
    for folder in _folders(model):
        shapes = _shapes(folder)
        # In the hub library's cache a model consists of links.
        config = _mapping(lambda: read_json((folder / "config.json").resolve()))  # noqa: B023
        vocabulary = config.get("vocab_size")
        if shapes:
            sizes = [math.prod(shape) for shape in shapes]
            tables = [math.prod(s) for s in shapes if len(s) == 2 and s[0] == vocabulary]
            return sum(sizes), max(tables, default=0)
    return None


def free_bytes(folder: Path) -> int:
    """Bytes a user may still write on the disk of `folder`, or of its nearest existing parent."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            return shutil.disk_usage(place).free
    raise RunError(f"there is no disk at {folder}")


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder. Files deleted meanwhile are skipped."""
    return sum(_size(path) for path in folder.rglob("*"))


def megabytes(count: int) -> str:
    """Bytes as MB of a million, or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _detail(needed: RoomNeeded | None) -> str:
    if needed is None:
        return ""
    return (
        f" (in all up to {megabytes(needed.checkpoints)} of checkpoints at a time and "
        f"{megabytes(needed.models)} of models)"
    )


def _stage_checkpoints(stage: Mapping[str, Any], every: int, embedding: int) -> int:
    steps, rhythm = _whole(stage, "steps", 0), max(1, _whole(stage, "checkpoint_every", 1))
    # The new one is written before the oldest is deleted.
    count = min(_whole(stage, "keep_checkpoints", 1) + 1, math.ceil(steps / rhythm))
    trained = every - (embedding if stage.get("freeze_embeddings") else 0)
    values = every + _MOMENTS * trained + bool(stage.get("average")) * trained
    best = every if stage.get("take") == "best" and steps else 0
    return (count * values + best) * _FLOAT_BYTES


def _folders(model: str) -> Iterator[Path]:
    try:
        path = Path(model).expanduser()
    except RuntimeError:  # of an unknown user
        return
    if path.is_dir():
        yield from (path, path / "slim")
    elif "/" in model:
        from whisperslim.core.fetch.sources import cache_folder  # imports the hub's library

        yield cache_folder(model)


def _shapes(folder: Path) -> list[list[int]]:
    """Shapes of the tensors in a folder's weights; empty when some are missing."""
    found: list[list[int]] = []
    try:
        for file in weight_files(folder):
            found += map(list, read_head(file).shapes.values())
    except (OSError, ValueError, SourceError):
        return []
    return found


def _mapping(read: Callable[[], Any]) -> dict[str, Any]:
    try:
        found = read()
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(stage: Mapping[str, Any], name: str, default: int) -> int:
    """A count from the recipe, which may not have been checked yet."""
    found = stage.get(name, default)
    return found if type(found) is int and 0 <= found < _MOST_STEPS else default


def _section(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = recipe.get(name)
    return found if isinstance(found, dict) else {}


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
