"""A run's folder is the only source about the run: everything is read from it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from whisperslim import events
from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.locks import Lock, holder, holders_machine, machine_name
from whisperslim.core.disk.untrusted import foreign_part, read_yaml
from whisperslim.errors import RunError
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.jobs.run.eventlog import last_event

if TYPE_CHECKING:  # a recipe imports all methods and so torch, which listing runs does not need
    from whisperslim.jobs.recipe.recipe import Recipe

LATEST = "latest"
_MARKS = ("recipe.yaml", "events.jsonl", "stages")


class RunStatus(StrEnum):
    """What a run is doing. `died`: its process ended without a last event, as after a power
    failure. `being read`: only in a list that does not wait for the run's files.
    """

    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"
    DIED = "died"
    DAMAGED = "damaged"
    READING = "being read"


_ENDINGS: dict[type[events.Event], RunStatus] = {
    events.Stopped: RunStatus.STOPPED,
    events.Failed: RunStatus.FAILED,
    events.Finished: RunStatus.FINISHED,
}


@dataclass(frozen=True)
class RunDir:
    """One run on disk. Raises `RunError` when `path` is not a run's folder."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path).expanduser().absolute())
        if not looks_like_run(self.path):
            raise RunError(
                f"{self.path} is not a run: it has no recipe.yaml and no events.jsonl; "
                "name a run's folder"
            )

    @classmethod
    def create(cls, runs: Path, recipe: "Recipe") -> "RunDir":
        """Make the folder of a new run, `UTC time-name`, with the recipe and nothing else.

        Raises `RecipeError` when data that the recipe names does not exist, `RunError` when the
        folder cannot be written to.
        """
        from whisperslim.jobs.recipe.paths import with_absolute_paths
        from whisperslim.jobs.recipe.recipe import to_yaml

        text = to_yaml(with_absolute_paths(recipe))
        with disk_errors(runs):
            folder = new_run_folder(runs, recipe.name)
            write_text_atomically(folder / "recipe.yaml", text)
        return cls(folder)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    def recipe(self) -> "Recipe":
        """The recipe of the run. Raises `RunError` when it is missing or cannot be understood."""
        from whisperslim.errors import RecipeError
        from whisperslim.jobs.recipe.recipe import of_run
        from whisperslim.jobs.recipe.text import from_yaml

        try:
            return of_run(from_yaml(self.path / "recipe.yaml", links=False))
        except RecipeError as error:
            raise RunError(f"the run {self.name} is damaged: {error}") from error

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def environment_path(self) -> Path:
        return self.path / "environment.json"

    @property
    def slim_path(self) -> Path:
        return self.path / "slim"

    @property
    def plan_path(self) -> Path:
        return self.path / "plan.json"

    @property
    def scores_path(self) -> Path:
        return self.path / "scores.safetensors"

    def eval_path(self, label: str) -> Path:
        """Where the scores of one model (dense, masked, slim, recovered) are kept."""
        return self.path / "eval" / f"{label}.json"

    def checkpoints(self, stage: str) -> Path:
        """The folder of one stage's checkpoints; it may not exist yet."""
        return self.path / "checkpoints" / stage

    def stage_done(self, name: str) -> bool:
        """Whether a stage has written its marker, and is skipped."""
        return self._marker(name).is_file()

    def mark_done(self, name: str) -> None:
        """Write a stage's marker, the last thing a stage does."""
        write_text_atomically(self._marker(name), f"{datetime.now(UTC).isoformat()}\n")

    def damage(self) -> str:
        """Why the run cannot be used; "" when it can."""
        try:
            self.check_links()
            recipe = read_yaml(self.path / "recipe.yaml", self.path)
        except RunError as error:
            return str(error)
        except (OSError, ValueError) as error:
            return f"its recipe.yaml cannot be read: {error}"
        return "" if isinstance(recipe, dict) else "its recipe.yaml is not a recipe"

    def check_links(self) -> None:
        """Raise `RunError` when anything at any depth of the folder is a link or not a plain file.

        In a run from someone else, a link would be read, emptied or overwritten wherever it leads,
        and a pipe would be waited for forever. Runs of another size share files by hard links.
        """
        try:
            found = foreign_part(self.path)
        except (OSError, ValueError) as error:
            raise RunError(
                f"the run {self.name} cannot be read completely ({error}); make its folders "
                "readable, or copy the run again"
            ) from error
        if found is not None:
            raise RunError(
                f"the run {self.name} is damaged: its {found.relative_to(self.path)} is a link or "
                "not a plain file; replace it with a copy of the file, or delete it"
            )

    def request_stop(self) -> None:
        """Ask the worker to stop cleanly. It checks after each step."""
        self._stop_path.touch()

    def stop_requested(self) -> bool:
        return self._stop_path.exists()

    def clear_stop(self) -> None:
        self._stop_path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run for this process; the system releases it however the process ends.

        Raises `RunError` when another process works on the run, or the run holds a link.
        """
        self.check_links()
        with Lock(self._lock_path) as lock:
            if not lock.take():
                raise RunError(
                    f"the run {self.name} is busy: another process works on it; wait for it, or "
                    f"stop it with `whisperslim stop {self.path}`"
                )
            # Old requests are not for this worker; others see the process only afterwards.
            self.clear_stop()
            lock.sign()
            yield

    def worker_pid(self) -> int | None:
        """The process that holds the run, or None."""
        return holder(self._lock_path)

    def worker_machine(self) -> str:
        """The computer that works on the run; "" when none does, or an earlier version does."""
        return holders_machine(self._lock_path) if self.worker_pid() is not None else ""

    def working_elsewhere(self) -> str:
        """The other computer that is working on the run, in a shared folder; "" when none is."""
        there = self.worker_machine()
        return "" if there == machine_name() else there

    def status(self) -> RunStatus:
        """From the files only: who holds the lock, and the last event."""
        return self.look()[0]

    def look(self) -> tuple[RunStatus, str]:
        """Its status, and why it cannot be used where that is `damaged`, else ""."""
        if self.worker_pid() is not None:
            return RunStatus.RUNNING, ""
        if why := self.damage():
            return RunStatus.DAMAGED, why
        last = last_event(self.events_path)
        # A worker's last event is one of the endings; any other means that it was killed.
        return RunStatus.QUEUED if last is None else _ENDINGS.get(type(last), RunStatus.DIED), ""

    @property
    def _stop_path(self) -> Path:
        return self.path / "STOP"

    @property
    def _lock_path(self) -> Path:
        return self.path / "worker.lock"

    def _marker(self, stage: str) -> Path:
        return self.path / "stages" / f"{stage}.done"


def list_runs(runs: Path) -> list[RunDir]:
    """The runs in a folder, newest first; also damaged ones, as their status shows."""
    if not runs.is_dir():
        return []
    # A name that starts with a dot is a run still being made.
    paths = [path for path in runs.iterdir() if not path.name.startswith(".")]
    found = [RunDir(path) for path in paths if looks_like_run(path)]
    return sorted(found, key=lambda run: run.name, reverse=True)


def find_run(name: str, runs: Path) -> RunDir:
    """The run at a path, of that name in `runs`, or the newest there, called `latest`.

    Raises `RunError` naming the newest ones, or when the run holds a link.
    """
    if name == LATEST and (found := list_runs(runs)):
        found[0].check_links()
        return found[0]
    for path in (Path(name).expanduser(), runs / name):
        if looks_like_run(path):
            run = RunDir(path)
            run.check_links()
            return run
    newest = ", ".join(run.name for run in list_runs(runs)[:5]) or "none"
    raise RunError(f"no run {name!r}, neither as a path nor in {runs}; the newest there: {newest}")


def looks_like_run(path: Path) -> bool:
    """Whether a folder holds files that only runs have."""
    return path.is_dir() and any((path / mark).exists() for mark in _MARKS)


def new_run_folder(runs: Path, recipe_name: str) -> Path:
    """An empty folder for a new run, claimed for the caller: `UTC time-recipe_name`."""
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{recipe_name}"
    runs.mkdir(parents=True, exist_ok=True)
    for number in range(1, 1000):
        folder = runs / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise RunError(f"{runs} has a thousand runs named {name}; delete some")
