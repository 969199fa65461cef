"""Where paths from the page may lead: what a browser sends is never trusted.

A path is resolved, through links and `..`, before it is accessed; the result must be in one of a
few folders. So neither a typed path nor a link in a folder from someone else opens anything else on
this computer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from whisperslim.errors import UsageError
from whisperslim.machine.places import ASSETS, SHIPPED, cache_root

if TYPE_CHECKING:  # a recipe imports all methods and so torch
    from whisperslim.jobs.recipe.recipe import Recipe

_LONGEST_PATH, _LONGEST_NAME = 4096, 255  # bytes: Linux's own limits
_FULL = ("/", "~")  # how a full path begins


@dataclass(frozen=True)
class Folders:
    """The folders that the page may name, with everything in them except hidden folders.

    Hidden folders (`.ssh`, `.config`) hold keys and settings, not speech or models. The cache is
    one of the roots, so its hidden parent does not matter. With `beside_runs`, what is beside the
    folder of runs may be named as well.
    """

    roots: tuple[Path, ...] = field(default_factory=lambda: own_folders())
    beside_runs: bool = True

    def admit(self, typed: object, what: str = "folder") -> Path:
        """The path `typed`, resolved. It does not have to exist.

        Raises `UsageError` when it is not a path or leads elsewhere. The message never reveals
        whether anything is there.
        """
        path = _as_path(typed, what)
        if not any(_within(path, root) for root in self.roots):
            raise UsageError(
                f"{typed!r} is not in a folder that the page may open: "
                f"{', '.join(map(str, self.roots))}. Put it into one of these, or start the app "
                "with --folder FOLDER"
            )
        return path

    def around(self, runs: Path) -> "Folders":
        """These folders and that of the runs."""
        return self.with_more(runs.parent if self.beside_runs else runs, runs)

    def with_more(self, *more: Path) -> "Folders":
        """These folders and others. The root of the file system is left out: it would be
        everything.
        """
        found = dict.fromkeys([*self.roots, *(_resolved(path) for path in more)])
        return replace(self, roots=tuple(path for path in found if path != path.parent))


def own_folders() -> tuple[Path, ...]:
    """For the owner of this computer: home, the folder the app was started in, and our own."""
    own = (_resolved(path) for path in (Path.home(), Path.cwd(), *_always()))
    return tuple(path for path in own if path != path.parent)


def listening_folders(more: Sequence[Path] = ()) -> Folders:
    """For people on other computers: our own, and those the owner has named."""
    return Folders(tuple(_resolved(path) for path in _always()), beside_runs=False).with_more(*more)


def refused_paths(folders: Folders, recipe: "Recipe") -> dict[str, str]:
    """Dotted name -> problem, for every field of a recipe that leads where the page may not go."""
    found: dict[str, str] = {}
    for name, value in _named(recipe):
        try:
            _check_named(folders, value, is_data=name.startswith("data."))
        except UsageError as error:
            found[name] = str(error)
    return found


def is_path(typed: str) -> bool:
    """Whether `typed` is a path rather than a name such as openai/whisper-base.

    A model's name is a path only where such a folder exists. What leads out of the folder the app
    was started in is always a path: whether anything is there must not be revealed.
    """
    path = _as_path(typed, "folder")
    if typed.strip().startswith((*_FULL, ".")) or ".." in Path(typed).parts:
        return True
    return not path.is_relative_to(_resolved(Path.cwd())) or path.exists()


def _named(recipe: "Recipe") -> Iterator[tuple[str, str]]:
    """Dotted name and value of every field that may be opened as a path."""
    yield "model", recipe.model
    yield "distill.teacher", recipe.distill.teacher
    for part in ("train", "dev", "test"):
        for source in getattr(recipe.data, part):
            yield f"data.{part}", source


def _check_named(folders: Folders, value: str, *, is_data: bool) -> None:
    """Raise `UsageError` when a path in a recipe leads where the page may not go."""
    if not value:
        return
    if is_data:
        _admit_data(folders, value)
    elif is_path(value):
        folders.admit(value)


def _admit_data(folders: Folders, value: str) -> None:
    """Admit a data source as `recipe.paths` looks for it: in the current folder, then in ours."""
    from whisperslim.speech.corpus.archives.shards import is_there
    from whisperslim.speech.corpus.source import is_remote, parse_source

    if is_remote(value):
        parse_source(value)
        return
    # Before the file system is accessed, with or without what follows `?` and `#`.
    bare = value.rpartition("?")[0]
    places = (value, bare, value.rpartition("#")[0], bare.rpartition("#")[0])
    for each in filter(None, places):
        if not _is_admitted(folders, each) and not _may_be_ours(folders, each):
            _refuse(folders, each)
    location = parse_source(value).location
    stands_here = location.startswith(_FULL) or is_there(Path(location))
    if not _is_admitted(folders, location if stands_here else str(SHIPPED / location)):
        _refuse(folders, location)


def _refuse(folders: Folders, location: str) -> None:
    """Raise what is said of a path that may not be opened; a name of a preset is not a path."""
    if location.strip().startswith(_FULL) or ".." in Path(location).parts:
        folders.admit(location)
    # The same words whether anything is there or not: that is nobody's business.
    from whisperslim.jobs.recipe.paths import not_found

    raise UsageError(not_found(location.rpartition("#")[0] or location))


def _may_be_ours(folders: Folders, location: str) -> bool:
    if location.strip().startswith(_FULL) or ".." in Path(location).parts:
        return False
    return _is_admitted(folders, str(SHIPPED / location))


def _is_admitted(folders: Folders, location: str) -> bool:
    try:
        folders.admit(location)
    except UsageError:
        return False
    return True


def _as_path(typed: object, what: str) -> Path:
    if isinstance(typed, Path):
        typed = str(typed)
    if not isinstance(typed, str) or not typed.strip():
        raise UsageError(f"{typed!r} is not the path of a {what}; type its full path")
    parts = [len(part.encode("utf-8", "replace")) for part in typed.split("/")]
    if "\0" in typed or sum(parts) + len(parts) > _LONGEST_PATH or max(parts) > _LONGEST_NAME:
        raise UsageError(
            f"the path of a {what} has up to {_LONGEST_PATH} bytes, {_LONGEST_NAME} for each name, "
            "and no zero byte"
        )
    try:
        return _resolved(Path(typed.strip()))
    # A loop of links, a name that is too long, or an unknown user.
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{typed!r} cannot be resolved; type its full path") from error


def _within(path: Path, root: Path) -> bool:
    if not path.is_relative_to(root):
        return False
    return not any(part.startswith(".") for part in path.relative_to(root).parts)


def _always() -> tuple[Path, ...]:
    return (cache_root() / "models", cache_root() / "engines", ASSETS)


def _resolved(path: Path) -> Path:
    return path.expanduser().resolve()
