"""Recipes in files: one run for each, the same ones whenever they are worked through."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whisperslim.errors import RecipeError, RunError, UsageError
from whisperslim.jobs.recipe.paths import with_absolute_paths
from whisperslim.jobs.recipe.recipe import Recipe, load_recipe
from whisperslim.jobs.run.folder import RunDir, RunStatus, list_runs, looks_like_run
from whisperslim.jobs.sizes.derivation import is_derived

_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Planned:
    """A recipe's file, by name without ending, and its run."""

    name: str
    run: RunDir


def recipe_files(path: Path) -> list[Path]:
    """The recipes in a folder, by name, or a recipe's file itself; none when it is a run."""
    if path.is_dir():
        return [] if looks_like_run(path) else sorted(filter(_is_recipe, path.iterdir()))
    return [path] if _is_recipe(path) else []


def runs_of(files: Sequence[Path], runs: Path) -> list[Planned]:
    """The run of each recipe: one in `runs` that has the same recipe, else a new one.

    A finished one is taken before others, then the newest. Nothing is made before all are checked.

    Raises:
        UsageError: naming every file that is no valid recipe, or that repeats another.
        RunError: the disk refuses.
    """
    recipes = _read(files)
    there = _recipes_in(runs)
    return [
        Planned(file.stem, _same(recipe, there) or RunDir.create(runs, recipe))
        for file, recipe in recipes.items()
    ]


def _is_recipe(path: Path) -> bool:
    return path.suffix in _ENDINGS and path.is_file()


def _read(files: Sequence[Path]) -> dict[Path, Recipe]:
    found: dict[Path, Recipe] = {}
    problems = []
    for file in files:
        try:
            recipe = with_absolute_paths(load_recipe(file))
        except UsageError as error:
            problems.append(f"{file}: {_in_one_line(error)}")
            continue
        twin = next((other for other, its in found.items() if its == recipe), None)
        if twin is not None:
            problems.append(f"{file}: the same recipe as {twin}; delete one of them")
        found[file] = recipe
    if problems:
        raise UsageError("no run was begun, since of these recipes\n  " + "\n  ".join(problems))
    return found


def _in_one_line(error: UsageError) -> str:
    if not isinstance(error, RecipeError):
        return str(error)
    return "; ".join(f"{name}: {problem}" for name, problem in error.problems.items())


def _recipes_in(runs: Path) -> list[tuple[RunDir, Recipe]]:
    found = []
    for run in list_runs(runs):
        try:
            if not is_derived(run):
                found.append((run, run.recipe()))
        except RunError:  # damaged: never the run of a recipe
            continue
    return found


def _same(recipe: Recipe, there: Sequence[tuple[RunDir, Recipe]]) -> RunDir | None:
    alike = [run for run, its in there if its == recipe]
    done = [run for run in alike if run.status() == RunStatus.FINISHED]
    return next(iter([*done, *alike]), None)
