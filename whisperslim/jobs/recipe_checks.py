"""What is wrong with a recipe that no section of it can see by itself."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a recipe checks itself with these
    from whisperslim.jobs.recipe import Recipe

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}"


def between_sections(recipe: "Recipe") -> dict[str, str]:
    """Dotted name -> problem, for what takes two sections, or the whole, to see."""
    found = {**_data_problems(recipe), **_vocabulary_problems(recipe)}
    if not isinstance(recipe.name, str) or not re.fullmatch(NAME_PATTERN, recipe.name):
        found["name"] = (
            f"{recipe.name!r} cannot name a folder; use up to 60 letters, digits, `-`, `_` or `.`"
        )
    for name in ("model", "language"):
        if not getattr(recipe, name):
            found[name] = "is empty"
    if recipe.method == "none" and (recipe.target.removed or recipe.target.zeroed):
        found["target.removed"] = "method none prunes nothing; set removed and zeroed to 0"
    found |= _training_problems(recipe)
    own, currency = getattr(recipe.options, "currency", "parameters"), recipe.target.currency
    if own != "parameters" and currency not in ("weights", own):
        found["target.currency"] = (
            f"is {currency}, and the method's own is {own}; leave one of them at its default"
        )
    return found


def _training_problems(recipe: "Recipe") -> dict[str, str]:
    """A method acts along all the steps of `train`: half way, nothing is decided yet."""
    found = {}
    if recipe.method != "none" and recipe.train.patience:
        found["train.patience"] = (
            f"would end training before {recipe.method} has decided what goes; set it to 0 (it may "
            "be used in prepare and recover)"
        )
    if recipe.method != "none" and recipe.train.take == "best":
        found["train.take"] = (
            f"may hand on weights from before {recipe.method} acted; set it to last (best may be "
            "used in prepare and recover)"
        )
    for name in ("prepare", "train", "recover"):
        stage = getattr(recipe, name)
        if not stage.steps or stage.evaluate_every:
            continue
        if stage.take == "best":
            found.setdefault(f"{name}.take", f"cannot be best while {name}.evaluate_every is 0")
        if stage.patience:
            found.setdefault(
                f"{name}.patience", f"counts evaluations, and {name}.evaluate_every is 0"
            )
    return found


def _data_problems(recipe: "Recipe") -> dict[str, str]:
    data, found = recipe.data, {}
    if not data.train:
        found["data.train"] = "is empty; name at least one set as PATH or PATH#SPLIT"
    seen = sorted((set(data.train) | set(data.dev)) & set(data.test))
    if seen:
        found["data.test"] = f"{seen[0]} is also trained or tuned on; scores on it prove nothing"
    if set(data.train) & set(data.dev):
        found["data.dev"] = "is also trained on; leave dev empty to hold some of train out"
    if not data.dev and not data.dev_fraction and _needs_dev(recipe):
        found["data.dev_fraction"] = (
            "there is no dev set, but the recipe looks at one; name data.dev, raise "
            "data.dev_fraction, or set evaluate_every of prepare, train and recover to 0"
        )
    return found


def _vocabulary_problems(recipe: "Recipe") -> dict[str, str]:
    kept, found = recipe.vocabulary.languages, {}
    if kept and recipe.language not in kept:
        found["vocabulary.languages"] = (
            f"keeps {', '.join(kept)}, and the recordings are in {recipe.language}; add it, or "
            "empty the list to keep every token"
        )
    if recipe.vocabulary.merges:
        found |= _new_token_problems(recipe)
    return found


def _new_token_problems(recipe: "Recipe") -> dict[str, str]:
    stages = {name: getattr(recipe, name) for name in ("prepare", "train", "recover")}
    if not any(stage.steps and not stage.freeze_embeddings for stage in stages.values()):
        return {
            "vocabulary.merges": (
                "new tokens begin as a mean of old ones and must be trained; set "
                "freeze_embeddings to false in a stage that has steps"
            )
        }
    learnt = recipe.prepare.steps and not recipe.prepare.freeze_embeddings
    if recipe.distill.teacher == "dense" and not learnt:
        return {
            "distill.teacher": (
                "the dense model does not know the new tokens of vocabulary.merges; give prepare "
                "steps and set its freeze_embeddings to false, or take no teacher"
            )
        }
    return {}


def _needs_dev(recipe: "Recipe") -> bool:
    stages = (recipe.prepare, recipe.train, recipe.recover)
    looks = any(stage.steps and stage.evaluate_every for stage in stages)
    return looks or getattr(recipe.options, "prune", "") == "bisection"
