"""Models that the page offers: the dense ones, and the slim one of every finished run."""

from pathlib import Path

from whisperslim.engines.export_record import is_export
from whisperslim.errors import SourceError
from whisperslim.jobs.rundir import RunStatus
from whisperslim.ui.context import DENSE_MODELS, AppContext


def slim_choices(context: AppContext) -> list[str]:
    """Names of the runs that have a slim model, newest first."""
    return [
        run.name
        for run, status in context.watch.listed()
        if status == RunStatus.FINISHED and run.slim_path.is_dir()
    ]


def model_choices(context: AppContext) -> list[str]:
    """Models to begin a compression with."""
    return list(DENSE_MODELS)


def chosen_model(context: AppContext, name: object) -> str:
    """What to load for an entry of the lists, or for a local folder typed in.

    Raises `SourceError` for anything else.
    """
    if not isinstance(name, str) or not name.strip():
        raise SourceError("no model is chosen; choose one from the list or type a model's folder")
    if name in DENSE_MODELS:
        return name
    if name in slim_choices(context):
        return str(context.watch.open(name).slim_path)
    folder = Path(name.strip()).expanduser()
    if folder.is_absolute() and ((folder / "config.json").is_file() or is_export(folder)):
        return str(folder)
    raise SourceError(
        f"{name!r} is neither in the list nor the full path of a model's folder (with config.json)"
    )
