"""Models that the page offers: dense and fetched ones, those tuned for a run, and slim ones."""

from pathlib import Path

from whisperslim import boxed
from whisperslim.engines.export.record import is_export
from whisperslim.errors import SourceError, UsageError, WhisperSlimError
from whisperslim.jobs.run.folder import RunDir, RunStatus
from whisperslim.jobs.sizes.derivation import MARKER, read_derivation
from whisperslim.machine.places import cache_root
from whisperslim.ui.context.context import DENSE_MODELS, AppContext

PREPARED = "/prepared"
"""Suffix of a run's name for the dense model that was tuned for it."""


def slim_choices(context: AppContext) -> list[str]:
    """Names of the runs that have a slim model: newest first, resized ones last."""
    runs = [
        run
        for run, status in context.watch.listed()
        if status == RunStatus.FINISHED and run.slim_path.is_dir()
    ]
    return [run.name for run in sorted(runs, key=_is_resized)]


def dense_choices(context: AppContext) -> list[tuple[str, str]]:
    """Words and name of the dense models to compare with: as they come, then tuned for a run."""
    ours = [(f"{each.name}: {each.words}", each.name) for each in _boxed(dense=True)]
    return [*ours, *((dense_words(name), name) for name in _dense_names(context))]


def slim_names(context: AppContext) -> list[str]:
    """Names of all slim models to compare: of runs, then those that come with the project."""
    return [*slim_choices(context), *(each.name for each in _boxed(dense=False))]


def slim_or_first(context: AppContext, slim: object) -> object:
    """A slim model of the form, or the one that the form is about to offer.

    A page has none, not even an empty name, until its lists have come; whoever acts before that
    means the one that will be chosen in them.
    """
    return next(iter(slim_names(context)), None) if slim is None else slim


def dense_words(name: str) -> str:
    """A dense model's label: one of the project, untuned, or tuned for a run."""
    if found := boxed.find_boxed(name):
        return f"{found.name}, {found.words}"
    run = name.removesuffix(PREPARED)
    return f"{name}, untuned" if run == name else f"the dense model tuned in {run}"


def dense_of(context: AppContext, slim: object) -> str:
    """Name in `dense_choices`, or path, of what a slim model was made from.

    Empty when that is not known, or not a model that the page may open.
    """
    # Imported late: the module also reads manifests, which loads the data libraries.
    from whisperslim.jobs.scoring.origin import made_from, run_of

    try:
        folder = chosen_model(context, slim)
        run, source = run_of(folder), made_from(folder)
        derived = read_derivation(run) if run else None
        if run and source == str(run.path / PREPARED[1:]):
            source = f"{derived.source if derived else run.name}{PREPARED}"
        chosen_model(context, source)
    except WhisperSlimError:
        return ""
    return source


def _boxed(dense: bool) -> list[boxed.BoxedModel]:
    return [each for each in boxed.BOXED if bool(each.made_from) != dense and each.path.is_dir()]


def _dense_names(context: AppContext) -> list[str]:
    tuned = [
        f"{run.name}{PREPARED}"
        for run, _ in context.watch.listed()
        if (run.path / PREPARED[1:] / "config.json").is_file() and not _is_resized(run)
    ]
    return list(dict.fromkeys([*DENSE_MODELS, *fetched_models(), *tuned]))


def fetched_models() -> list[str]:
    """Names of the models in the cache that are complete enough to be offered."""
    place = cache_root() / "models"
    found = sorted(place.iterdir()) if place.is_dir() else []
    whole = [each for each in found if (each / "config.json").is_file()]
    return [each.name.replace("--", "/", 1) for each in whole if not each.name.startswith(".")]


def model_choices(context: AppContext) -> list[str]:
    """Models to start a compression from."""
    return list(DENSE_MODELS)


def chosen_model(context: AppContext, name: object) -> str:
    """What to load for an entry of the lists, or for a typed local folder.

    Raises `SourceError` for anything else, and for a folder that the page may not open.
    """
    if not isinstance(name, str) or not name.strip():
        raise SourceError("no model is chosen; choose one from the list or type a model's folder")
    if name in (*DENSE_MODELS, *fetched_models()):
        return name
    if boxed.find_boxed(name):
        return boxed.local_name(name)
    if name in slim_choices(context):
        return _admitted(context, context.watch.open(name).slim_path)
    if name in _dense_names(context):
        run = context.watch.open(name.removesuffix(PREPARED))
        return _admitted(context, run.path / PREPARED[1:])
    if name.strip().startswith(("/", "~")):
        folder = Path(_admitted(context, Path(name.strip()).expanduser()))
        if (folder / "config.json").is_file() or is_export(folder):
            return str(folder)
    raise SourceError(
        f"{name!r} is neither in the list nor the full path of a model's folder (with config.json)"
    )


def _is_resized(run: RunDir) -> bool:
    # A resized run links to the models of the run it comes from.
    return (run.path / MARKER).is_file()


def _admitted(context: AppContext, folder: Path) -> str:
    # A run from someone else may hold a link to anywhere.
    try:
        context.admit(folder, "model")
    except UsageError as error:
        raise SourceError(str(error)) from error
    return str(folder)
