"""Relative names in a recipe, made absolute once: a run can then be resumed from any folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from whisperslim.errors import RecipeError, UsageError
from whisperslim.jobs.recipe.recipe import Recipe
from whisperslim.places import SHIPPED
from whisperslim.speech.corpus.dataset import parse_source
from whisperslim.speech.corpus.hub import is_hub


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """`recipe` with absolute data sources and model folders.

    Data paths are looked for in the current folder, then beside the presets. Raises `RecipeError`
    naming every source that is in neither, or is malformed.
    """
    missing: dict[str, str] = {}
    sets: dict[str, Any] = {
        name: tuple(_source(text, f"data.{name}", missing) for text in getattr(recipe.data, name))
        for name in ("train", "dev", "test")
    }
    if missing:
        raise RecipeError(missing)
    return replace(
        recipe,
        model=_folder(recipe.model),
        data=replace(recipe.data, **sets),
        distill=replace(recipe.distill, teacher=_folder(recipe.distill.teacher)),
    )


def _source(source: str, field: str, missing: dict[str, str]) -> str:
    try:
        location, split = parse_source(source)
    except UsageError as error:
        missing[field] = str(error)
        return source
    if is_hub(source):
        return source
    path = Path(location).expanduser()
    for candidate in (path.absolute(), SHIPPED / path):
        if candidate.exists():
            return f"{candidate}#{split}" if split else str(candidate)
    missing[field] = f"{location}: no such file or folder; give a manifest or a corpus folder"
    return source


def _folder(name: str) -> str:
    # A hub id such as openai/whisper-base is no path unless such a folder stands right here.
    path = Path(name).expanduser()
    return str(path.absolute()) if name and path.is_dir() else name
