"""Where a model comes from: its run, the dense model it was made from, its training clips.

Loads neither torch nor a model.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from whisperslim.boxed import find_boxed
from whisperslim.core.disk.storage import file_sha256
from whisperslim.core.disk.untrusted import fitting
from whisperslim.errors import AudioError, DataError, RecipeError, UsageError
from whisperslim.jobs.recipe.text import from_yaml
from whisperslim.jobs.run.data_record import read_data
from whisperslim.jobs.run.folder import RunDir, looks_like_run
from whisperslim.speech.corpus.clip_reader import stamp_of
from whisperslim.speech.corpus.dataset import Item, load_items
from whisperslim.speech.corpus.source import is_remote

PREPARED = "prepared"
_MODELS = ("slim", PREPARED, "tuned", "cut")
TRAINED = "this clip was used to train it"


def run_of(model: str) -> RunDir | None:
    """The run that a model folder, or an export of it, belongs to; None when there is none."""
    folder = Path(model).expanduser().absolute()
    # First: a slim folder holds the recipe and the plan of its run, as a run does.
    if folder.name in _MODELS and looks_like_run(folder.parent):
        return RunDir(folder.parent)
    if looks_like_run(folder):
        return RunDir(folder)
    in_exports = folder.parent.name == "export" and looks_like_run(folder.parent.parent)
    return RunDir(folder.parent.parent) if in_exports else None


def made_from(slim: str) -> str:
    """The dense model that a run's slim model, or an export of it, was made from.

    Tuned for the run if the recipe says so, else the recipe's own model: the one that the run's
    scores compare with. Raises `UsageError` when that is not known.
    """
    boxed = find_boxed(slim)
    if boxed is not None and boxed.made_from:
        return boxed.made_from
    run = run_of(slim)
    if run is not None:
        if (run.path / PREPARED / "config.json").is_file():
            return str(run.path / PREPARED)
        named = _recipe(run).get("model")
        if isinstance(named, str) and named:
            return named
    raise UsageError(
        f"{slim} is not in a run's folder, so the dense model it was made from is not known; name "
        "it with --dense"
    )


def is_untuned(model: str) -> bool:
    """Whether no run has made or tuned the model."""
    return run_of(model) is None and find_boxed(model) is None


def described(model: str) -> str:
    """A model with its origin: tuned for a run, made by a run, or untuned."""
    boxed = find_boxed(model)
    if boxed is not None:
        return f"{boxed.name}: {boxed.words}"
    run = run_of(model)
    if run is None:
        return f"{model}, untuned"
    if Path(model).name == PREPARED:
        return f"the dense model, tuned in run {run.name}"
    return f"{model}, made by run {run.name}"


def _recipe(run: RunDir) -> dict[str, Any]:
    try:
        return from_yaml(run.path / "recipe.yaml")
    except RecipeError:
        return {}


@dataclass(frozen=True)
class TrainingClips:
    """The recordings a model was trained on, recognized by their bytes.

    A copy with another name is recognized, a recording decoded and saved again is not. `files` are
    those that still exist; hub data sets are not included. `parts` are recordings that are not a
    whole file, as `stamp_of` names them.
    """

    files: tuple[Path, ...] = ()
    parts: frozenset[str] = frozenset()
    _digests: dict[Path, str] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _by_size(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = defaultdict(list)
        for file in self.files:
            if file.is_file():
                found[file.stat().st_size].append(file)
        return found

    def holds(self, recording: Path) -> bool:
        """Whether the file is one of them. Only files of the same size are read."""
        if not recording.is_file():
            return False
        alike = self._by_size.get(recording.stat().st_size, [])
        return bool(alike) and file_sha256(recording) in map(self._digest, alike)

    def holds_clip(self, item: Item) -> bool:
        """Whether the clip is one of them, by its bytes where it is a file of its own."""
        if item.is_file:
            return self.holds(item.path)
        try:
            return bool(self.parts) and stamp_of(item) in self.parts
        except AudioError:
            return False

    def _digest(self, file: Path) -> str:
        if file not in self._digests:
            self._digests[file] = file_sha256(file)
        return self._digests[file]


def training_clips(model: str) -> TrainingClips:
    """Those of the run that made `model`; none for a model of no run, or of a damaged one."""
    run = run_of(model)
    if run is None:
        return TrainingClips()
    try:
        record = read_data(run.path)
        keys = {str(key) for key in record["chosen"]["train"]}
        data = _recipe(run).get("data")
        given = data.get("train", []) if isinstance(data, dict) else []
        sources: list[str] = fitting(given, list[str])
        clips = _clips(sources, keys)
        files = tuple(item.path for item in clips if item.is_file)
        return TrainingClips(files, frozenset(_stamps(item for item in clips if not item.is_file)))
    except (OSError, ValueError, KeyError, TypeError):
        return TrainingClips()


def _stamps(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        with suppress(AudioError):  # deleted meanwhile
            yield stamp_of(item)


def _clips(sources: list[str], keys: set[str]) -> list[Item]:
    found: list[Item] = []
    for source in sources:
        if is_remote(source):  # listing it would fetch it
            continue
        try:
            items = load_items(source)
        except (DataError, UsageError):  # deleted meanwhile
            continue
        # As `stages.context.load_all` names them.
        found += [item for item in items if f"{source}:{item.key}" in keys]
    return found
