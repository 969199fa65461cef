"""A user's own recipes, kept as YAML beside the runs: save, load, delete, import from a file."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.errors import RecipeError, UsageError
from whisperslim.jobs.recipe.presets import preset_names, suggestion
from whisperslim.jobs.recipe.recipe import NAME_PATTERN, Recipe, from_mapping, to_yaml
from whisperslim.jobs.recipe.text import parse_yaml

FOLDER = "presets"
LARGEST_FILE = 64_000
"""Bytes of a recipe file; the longest shipped one has 6,000."""
MOST_KEPT = 200
_DEEPEST = 8  # levels; a recipe has two, and lists in them


@dataclass(frozen=True)
class OwnPresets:
    """The recipes in one folder, by name. Nothing outside the folder is read or written."""

    folder: Path

    def names(self) -> tuple[str, ...]:
        """Names of the stored recipes, sorted. Links are left out: they may lead elsewhere."""
        if not self.folder.is_dir():
            return ()
        files = (path for path in self.folder.glob("*.yaml") if _is_own_file(path))
        return tuple(sorted(path.stem for path in files))

    def load(self, name: object) -> Recipe:
        """The recipe of that name. Raises `UsageError` when there is none, or `RecipeError`."""
        path = self._known(name)
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(f"{path} is larger than {LARGEST_FILE} bytes, too large for a recipe")
        return read_recipe(path.read_bytes(), path.name)

    def save(self, name: object, recipe: Recipe) -> Path:
        """Keep `recipe` under `name`; one of that name is replaced. Returns its file.

        Raises `UsageError` for a name that is not valid for a file, or that a shipped preset has.
        """
        clean = _checked_name(name)
        if clean not in self.names() and len(self.names()) >= MOST_KEPT:
            raise UsageError(f"there are {MOST_KEPT} presets of yours; delete some first")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{clean}.yaml"
        if path.is_symlink():
            raise UsageError(f"{path} is a link; delete it or choose another name")
        write_text_atomically(path, to_yaml(recipe))
        return path

    def delete(self, name: object) -> None:
        """Remove the recipe of that name. Raises `UsageError` when there is none."""
        self._known(name).unlink()

    def free_name(self, wanted: str) -> str:
        """`wanted` made valid as a file name, with a number when the name is taken."""
        base = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("-._")[:50] or "preset"
        taken = {*preset_names(), *self.names()}
        tries = (base if n == 1 else f"{base}-{n}" for n in range(1, MOST_KEPT + 2))
        return next(name for name in tries if name not in taken)

    def _known(self, name: object) -> Path:
        if not isinstance(name, str) or name not in self.names():
            raise UsageError(f"you have no preset {name!r}{suggestion(str(name), self.names())}")
        return self.folder / f"{name}.yaml"


def read_recipe(raw: bytes, called: str) -> Recipe:
    """The recipe in a file's bytes, which may come from a stranger.

    Raises `RecipeError` with every problem, or with what the file is instead of a recipe.
    """
    if len(raw) > LARGEST_FILE:
        raise RecipeError({called: f"is larger than {LARGEST_FILE} bytes, too large for a recipe"})
    try:
        text = raw.decode("utf-8-sig")
        _refuse_traps(text, called)
    except UnicodeDecodeError as error:
        raise RecipeError({called: "is not UTF-8 text; a recipe is a YAML file"}) from error
    except yaml.YAMLError as error:
        raise RecipeError({called: f"is not valid YAML: {error}"}) from error
    return from_mapping(parse_yaml(text, called))


def _refuse_traps(text: str, called: str) -> None:
    """Refuse aliases and deep nesting: a few bytes of them can expand to gigabytes or overflow the
    stack.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise RecipeError({called: "uses YAML aliases (`*name`); write the values out"})
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecipeError(
                {called: f"is nested more than {_DEEPEST} levels deep, which no recipe needs"}
            )


def _checked_name(name: object) -> str:
    clean = name.strip() if isinstance(name, str) else ""
    if not re.fullmatch(NAME_PATTERN, clean):
        raise UsageError(
            f"{name!r} cannot name a preset; use up to 60 letters, digits, `-`, `_` or `.`"
        )
    if clean in preset_names():
        raise UsageError(f"{clean} is a preset that comes with the project; choose another name")
    return clean


def _is_own_file(path: Path) -> bool:
    named = re.fullmatch(NAME_PATTERN, path.stem) is not None
    return named and path.is_file() and not path.is_symlink()
