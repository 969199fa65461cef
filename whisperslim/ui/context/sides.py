"""What each side of a comparison runs in, and how that is described."""

from dataclasses import dataclass
from pathlib import Path

from whisperslim.boxed import find_boxed
from whisperslim.core.disk.untrusted import read_json, typed
from whisperslim.engines import registry
from whisperslim.engines.export.record import PARITY_FILE, is_export, read_export
from whisperslim.errors import ExportError, UsageError
from whisperslim.ui.context.choices import chosen_model, dense_of, dense_words
from whisperslim.ui.context.context import AppContext
from whisperslim.ui.context.side_choice import SideChoice

WINDOWS = {"30s": "30 s (standard)", "fit": "fitted"}
_LAST = 1_000  # in the list of engines


@dataclass(frozen=True)
class EngineOption:
    """One way to run a slim model: `key` in the form, and how it was checked."""

    key: str
    side: SideChoice
    parity: str

    @property
    def label(self) -> str:
        """For the list."""
        return self.side.runs_in


@dataclass(frozen=True)
class DenseEngine:
    """One way to run a dense model, and its common name."""

    engine: str
    quantize: str
    words: str

    @property
    def key(self) -> str:
        """Its value in the form."""
        made = registry.get(self.engine).exporter
        return f"{self.engine}-{self.quantize}" if made else self.engine


def dense_engines() -> dict[str, DenseEngine]:
    """Value in the form -> how a dense model can be run, to compare a slim one with."""
    known = [
        DenseEngine(spec.name, quantize, words)
        for spec in registry.specs()
        for quantize, words in spec.dense.items()
    ]
    return {each.key: each for each in known}


def dense_side(context: AppContext, name: object, engine: object, window: object) -> SideChoice:
    """The dense side of a form. Raises `SourceError` or `UsageError`."""
    path = chosen_model(context, name)
    if is_export(Path(path)):
        # The models that come with the project were tuned in fitted windows.
        return _of_export(Path(path), "fit" if find_boxed(path) else _window(window)).side
    chosen = dense_engines().get(engine) if isinstance(engine, str) else None
    if chosen is None:
        raise UsageError(
            f"{engine!r} is not an engine for the dense side; choose one from the list"
        )
    return SideChoice(path, _window(window), chosen.engine, chosen.quantize)


def slim_side(context: AppContext, name: object, key: object) -> SideChoice:
    """The slim side of a form; without a `key`, its fastest engine.

    Raises `SourceError`, `ExportError` or `UsageError`.
    """
    options = slim_options(context, name)
    if not key:
        return options[0].side
    found = [option.side for option in options if option.key == key]
    if not found:
        raise UsageError(f"{key!r} is not an engine of this model; choose one from the list")
    return found[0]


def slim_options(context: AppContext, name: object) -> list[EngineOption]:
    """How the chosen slim model can be run, fastest first.

    Exports that are half written or of another version are left out. Raises `SourceError` for
    anything but a model, `ExportError` for a chosen export that cannot be read.
    """
    folder = Path(chosen_model(context, name))
    if is_export(folder):
        return [_of_export(folder, "fit")]
    itself = SideChoice(str(folder))
    own = EngineOption(registry.OWN, itself, "the slim model itself, not an export")
    options = [own, *_exports_beside(folder)]
    return sorted(options, key=lambda option: _rank(option.side))


def fairness(dense: SideChoice, slim: SideChoice) -> str:
    """Whether only the models differ, or what else does."""
    differences = []
    if (dense.engine, dense.quantize) != (slim.engine, slim.quantize):
        differences.append(f"engine ({dense.runs_in}, {slim.runs_in})")
    if dense.window != slim.window:
        differences.append(f"window ({dense.window_words}, {slim.window_words})")
    if not differences:
        return (
            f"Like for like: both models run in {dense.runs_in}, with {dense.hears_in}; only the "
            "model differs."
        )
    differ, affect = ("differs", "affects") if len(differences) == 1 else ("differ", "both affect")
    return f"Not like for like: {' and '.join(differences)} also {differ}, and {affect} the time."


def origin_words(context: AppContext, dense: object, slim: object) -> str:
    """Whether the dense model of a form is what the slim one was made from, as a sentence."""
    source = dense_of(context, slim)
    if not source:
        return "It is not known which dense model the slim one was made from."
    if source == dense:
        return "The dense side is the model that the slim one was made from."
    return f"The slim model was not made from this dense model, but from {dense_words(source)}."


def _exports_beside(slim: Path) -> list[EngineOption]:
    found = []
    for folder in sorted(slim.parent.glob("export/*")):
        # A name that starts with a dot is an export being written.
        if is_export(folder) and not folder.is_symlink() and not folder.name.startswith("."):
            try:
                found.append(_of_export(folder, "fit"))
            except ExportError:  # do not offer what cannot be opened
                continue
    return found


def _of_export(folder: Path, window: str) -> EngineOption:
    record = read_export(folder)
    side = SideChoice(str(folder), window, record.engine, record.quantize)
    return EngineOption(folder.name, side, _parity(folder))


def _parity(folder: Path) -> str:
    """The result of an export's check, without the figures for engineers."""
    try:
        found = read_json(folder / PARITY_FILE)
        same, parts = (typed(found[name], int) for name in ("same_text", "parts"))
        checked = (
            f"checked against the PyTorch model on {typed(found['seconds'], float):.0f} s of "
            f"speech, where it wrote the same text for {same} of {parts} parts"
        )
        words = found["word_difference"]
        return f"{checked}; {typed(words, float):.0%} of the words differ" if words else checked
    except (OSError, ValueError, TypeError, KeyError):
        return "not checked against the PyTorch model: the check's result is missing; export again"


def _rank(side: SideChoice) -> int:
    return registry.get(side.engine).ranks.get(side.quantize, _LAST)


def _window(window: object) -> str:
    if not isinstance(window, str) or window not in WINDOWS:
        raise UsageError(f"{window!r} is not a window; choose one of: {', '.join(WINDOWS)}")
    return window
