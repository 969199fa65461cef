"""Relative paths in a recipe, made absolute once, so that a run can be resumed from any folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from whisperslim.core.heads.options import OWN
from whisperslim.errors import RecipeError, SourceError, UsageError
from whisperslim.jobs.models.languages import languages_of_model
from whisperslim.jobs.recipe.recipe import Recipe
from whisperslim.machine.places import SHIPPED
from whisperslim.speech.corpus.archives.shards import is_there
from whisperslim.speech.corpus.source import is_remote, parse_source
from whisperslim.text.languages import could_be_code, unknown

_NO_DATA = (
    "was not found. Give a manifest or a corpus folder of yours, with its full path; the Record "
    "tab makes one"
)
_DENSE = "dense"  # the teacher that is the recipe's own model


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """`recipe` with absolute data sources and model folders.

    Data paths are looked for in the current folder, then beside the presets. Raises `RecipeError`
    naming every source that is in neither, or is malformed, every model that is none, and a
    language that the model does not know.
    """
    wrong: dict[str, str] = {}
    sets: dict[str, Any] = {
        name: tuple(_source(text, f"data.{name}", wrong) for text in getattr(recipe.data, name))
        for name in ("train", "dev", "test")
    }
    _languages(recipe.model, "model", wrong)
    if recipe.distill.teacher not in ("", _DENSE):
        _languages(recipe.distill.teacher, "distill.teacher", wrong)
    if problem := language_problem(recipe):
        wrong["language"] = problem
    if wrong:
        raise RecipeError(wrong)
    return replace(
        recipe,
        model=_folder(recipe.model),
        data=replace(recipe.data, **sets),
        distill=replace(recipe.distill, teacher=_folder(recipe.distill.teacher)),
    )


def not_found(location: str) -> str:
    """What is said of a data source that is not where recipes look."""
    return f"{location} {_NO_DATA}"


def _languages(model: str, field: str, wrong: dict[str, str]) -> tuple[str, ...] | None:
    try:
        return languages_of_model(model)
    except SourceError:
        wrong[field] = (
            f"{model} was not found. Give a model's folder, a run's folder, or a name on the "
            "Hugging Face hub such as openai/whisper-base"
        )
        return None


def language_problem(recipe: Recipe) -> str:
    """Why the model does not know the recipe's language; empty when it does, or may."""
    code, known = recipe.language, _languages(recipe.model, "model", {})
    # A CTC head learns its letters from the texts, whatever the model was made for.
    if known is None or recipe.head.kind != OWN:
        return "" if could_be_code(code) else unknown(code)
    return "" if code in known else unknown(code, known)


def _source(source: str, field: str, wrong: dict[str, str]) -> str:
    try:
        asked = parse_source(source)
    except UsageError as error:
        wrong[field] = str(error)
        return source
    if is_remote(source):
        return source
    path = Path(asked.location).expanduser()
    for candidate in (path.absolute(), SHIPPED / path):
        if is_there(candidate):
            return str(replace(asked, location=str(candidate)))
    wrong[field] = not_found(asked.location)
    return source


def _folder(name: str) -> str:
    # A hub id such as openai/whisper-base is only a path if such a folder exists right here.
    path = Path(name).expanduser()
    return str(path.absolute()) if name and path.is_dir() else name
