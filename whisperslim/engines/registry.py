"""What an engine is, and the register of those that exist.

Recipes, forms and help ask it, so neither torch nor any runtime is loaded here.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING

from whisperslim.errors import ExportError, UsageError, shortage_of

if TYPE_CHECKING:
    from whisperslim.core.families import UnitGroup

OWN = "torch"
"""The engine that a slim folder runs in as it is, and the usual choice of a recipe."""
FULL = "none"
"""The precision that stores float32: no quantization."""


@dataclass(frozen=True)
class EngineSpec:
    """One engine, as the rest of the package knows it.

    Attributes:
        name: In recipes, records and on the command line.
        title: What people call it.
        words: What it is, for the help.
        shapes: Which shapes it can hold, in words.
        precisions: What models can be stored in for it; `FULL` is one of them.
        exporter: Module with what `export.Exporter` asks for. It is imported, and the runtime with
            it, when something is written or opened. Empty: nothing is written for this engine.
        opener: Module with its `open_export` alone, where that needs less than the exporter does.
        install: Command that installs the runtime.
        ties: Label of a group of units: those with the same one keep equally many, those that keep
            any; empty: free. None: the engine holds every shape.
        by_family: Whether its exporter only writes families that name this engine in
            `Family.engines`.
        rests: Files that its exports have and no model folder has. Without a record beside them
            they are an incomplete export.
        ranks: Precision -> place in the page's list, the least first; others come last.
        dense: Precision -> name it is known by, of those that a dense model is offered in to
            compare with.
        factors: Whether it runs linear layers that are stored as two matrices.
        runs_in: Engine whose times its models have; empty: its own.
        shared: Whether `whisperslim push` uploads its exports.
    """

    name: str
    title: str
    words: str
    shapes: str = "any shape"
    precisions: tuple[str, ...] = (FULL,)
    exporter: str = ""
    opener: str = ""
    install: str = ""
    ties: "Callable[[UnitGroup], str] | None" = None
    by_family: bool = False
    rests: tuple[str, ...] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)
    dense: Mapping[str, str] = field(default_factory=dict)
    factors: bool = False
    runs_in: str = ""
    shared: bool = False


_ENGINES: dict[str, EngineSpec] = {}


def register(spec: EngineSpec) -> None:
    """Add an engine. Refuses a name that is taken."""
    if spec.name in _ENGINES:
        raise UsageError(f"an engine named {spec.name!r} is registered already")
    _ENGINES[spec.name] = spec


def unregister(name: str) -> None:
    """Remove an engine, for tests and plug-ins that come and go."""
    del _ENGINES[get(name).name]


def get(name: str) -> EngineSpec:
    """The engine of a name. Raises `UsageError` naming those there are."""
    if name not in _ENGINES:
        raise UsageError(f"{name!r} is not an engine; choose one of: {', '.join(_ENGINES)}")
    return _ENGINES[name]


def load_part(spec: EngineSpec, module: str) -> ModuleType:
    """One of an engine's modules. Raises `ExportError` when a package it needs is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if shortage := shortage_of(error):
            raise shortage from error
        raise ExportError(
            f"the engine {spec.name} cannot be used here: {error}; install it with `{spec.install}`"
        ) from error


def title(name: str) -> str:
    """What people call an engine; the name itself of one that is not registered, as in old
    records."""
    return _ENGINES[name].title if name in _ENGINES else name


def specs() -> tuple[EngineSpec, ...]:
    """All engines, in the order they were registered."""
    return tuple(_ENGINES.values())


def names() -> tuple[str, ...]:
    """Where a model can run; those that hold every shape among them."""
    return tuple(_ENGINES)


def exported() -> tuple[str, ...]:
    """The engines that models are written for."""
    return tuple(spec.name for spec in specs() if spec.exporter)


def profiled() -> tuple[str, ...]:
    """The engines that have times of their own."""
    return tuple(spec.name for spec in specs() if not spec.runs_in)


def precisions() -> tuple[str, ...]:
    """Every precision that some engine has."""
    return tuple(dict.fromkeys(each for spec in specs() for each in spec.precisions))


def help_text() -> str:
    """Each engine, what it is and which shapes it holds."""
    return " ".join(f"{spec.name}: {spec.words}; {spec.shapes}." for spec in specs())


def listed(names: tuple[str, ...]) -> str:
    """Names in a row, "a, b or c"."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
