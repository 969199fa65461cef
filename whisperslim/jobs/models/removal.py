"""Deleting a model for good, unless something works with it."""

from pathlib import Path

from whisperslim.core.disk.files import remove_whole
from whisperslim.core.disk.untrusted import read_yaml
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.models.inventory import DOWNLOAD, EXPORT, SLIM, ModelEntry
from whisperslim.jobs.process import background, queue
from whisperslim.jobs.process.removal import delete_run
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.jobs.run.folder import RunDir, list_runs

_EXPORTING = "export"
DELETABLE = (SLIM, EXPORT, DOWNLOAD)


def delete_model(entry: ModelEntry, runs: Path) -> None:
    """Delete a model. With a run's slim model goes its run, by the rule of runs.

    Raises `RunError` or `SourceError` while a run, at work or waiting, needs it or something works
    on it, and when the disk refuses; `UsageError` for one that is not this folder's to delete.
    """
    if entry.kind not in DELETABLE:
        raise UsageError(f"{entry.name} came with the package and stays")
    if users := needed_by(entry, runs):
        raise RunError(f"{users[0]} needs {entry.name}; wait for its end, or stop it")
    if entry.kind == SLIM:
        delete_run(RunDir(runs / entry.run))
    elif entry.kind == DOWNLOAD:
        from whisperslim.core.fetch.sources import remove_fetched  # it brings the hub's library

        remove_fetched(entry.name)
    else:
        _delete_export(entry, runs)


def needed_by(entry: ModelEntry, runs: Path) -> list[str]:
    """Names of the runs, at work or waiting, that begin with the model or learn from it."""
    waiting = queue.waiting(runs)
    busy = [run for run in list_runs(runs) if run.worker_pid() or run.name in waiting]
    others = [run for run in busy if run.name != entry.run or entry.kind == DOWNLOAD]
    return [run.name for run in others if any(_is(entry, name) for name in _models(run))]


def _models(run: RunDir) -> list[str]:
    """What a run's recipe begins with and learns from."""
    try:
        recipe = read_yaml(run.path / "recipe.yaml", run.path)
        found = [recipe.get("model"), (recipe.get("distill") or {}).get("teacher")]
    except (OSError, ValueError, AttributeError):  # no recipe: it does not begin either
        return []
    return [name for name in found if isinstance(name, str) and name]


def _is(entry: ModelEntry, name: str) -> bool:
    places = (entry.path, entry.path.parent) if entry.kind == SLIM else (entry.path,)
    path = Path(name).expanduser()
    # Of a run, all goes: what was tuned for it as well as its slim model.
    inside = entry.kind == SLIM and path.is_relative_to(entry.path.parent)
    return name == entry.name or path in places or inside


def _delete_export(entry: ModelEntry, runs: Path) -> None:
    with disk_errors(entry.path):
        if not entry.run:
            remove_whole(entry.path)
            return
        run = RunDir(runs / entry.run)
        if background.look(run, _EXPORTING).running:
            raise RunError(f"an export of {run.name} is running; wait until it has ended")
        with run.lock():
            remove_whole(entry.path)
