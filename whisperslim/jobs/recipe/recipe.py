"""The recipe: everything that sets one compression run, in one frozen value.

The YAML file, `--set` on the command line and the app's form are three ways to write it. It only
composes the options classes that are beside the code that reads them, and checks what no section
can check by itself.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whisperslim import methods
from whisperslim.core.heads.options import OWN, TOKENS, HeadOptions
from whisperslim.core.plan.counting import NOT_OWN, WEIGHTS, Counting
from whisperslim.core.tokens.options import VocabularyOptions
from whisperslim.engines import registry
from whisperslim.errors import RecipeError
from whisperslim.fields import FieldSpec, option, problems, specs, values_before
from whisperslim.jobs.recipe.presets import preset_names, preset_path, suggestion
from whisperslim.jobs.recipe.sections import (
    LIKED_BEST,
    DataOptions,
    ExportOptions,
    InterpolateOptions,
    RuntimeOptions,
    ShrinkOptions,
    TargetOptions,
)
from whisperslim.jobs.recipe.text import coerce, flatten, from_yaml, parse_overrides, plain, to_text
from whisperslim.speech.audio.augment_options import AugmentOptions
from whisperslim.text.languages import code_of, unknown
from whisperslim.text.scripts import LANGUAGES
from whisperslim.train.options import DistillOptions, EvaluateOptions, TrainOptions

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}"


def between_sections(recipe: "Recipe") -> dict[str, str]:
    """Dotted name -> problem, for problems that involve several sections."""
    found = {**_data_problems(recipe), **_vocabulary_problems(recipe), **_head_problems(recipe)}
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
    if methods.get(recipe.method).components:
        found |= _component_problems(recipe)
    own, currency = recipe.own_currency, recipe.target.currency
    if own != NOT_OWN and currency not in (WEIGHTS, own):
        found["target.currency"] = (
            f"is {currency}, and the method's own is {own}; leave one of them at its default"
        )
    return found


def _component_problems(recipe: "Recipe") -> dict[str, str]:
    """What matrices of low rank do not go with."""
    method, found = recipe.method, {}
    if recipe.target.zeroed:
        found["target.zeroed"] = f"method {method} zeroes nothing; set it to 0"
    if recipe.target.currency != WEIGHTS:
        found["target.currency"] = (
            f"is {recipe.target.currency}, and method {method} has no prices of components in it; "
            f"set it to {WEIGHTS}"
        )
    engine = registry.get(recipe.export.engine)
    if not engine.factors:
        able = ", ".join(spec.name for spec in registry.specs() if spec.factors)
        found["export.engine"] = (
            f"{engine.title} multiplies with one matrix for each linear layer, and method {method} "
            f"stores layers as two; choose one of: {able}"
        )
    return found


def _training_problems(recipe: "Recipe") -> dict[str, str]:
    """A method acts over all the steps of `train`: half way, nothing is decided yet."""
    found = {}
    if recipe.method != "none" and recipe.train.patience:
        found["train.patience"] = (
            f"would end training before {recipe.method} has decided what to remove; set it to "
            "0 (it may "
            "be used in prepare and recover)"
        )
    if recipe.method != "none" and recipe.train.take == "best":
        found["train.take"] = (
            f"may keep weights from before {recipe.method} acted; set it to last (best may be "
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
        found["data.test"] = f"{seen[0]} is also trained or tuned on; name a test set that is not"
    if set(data.train) & set(data.dev):
        found["data.dev"] = "is also trained on; leave dev empty to hold out a part of train"
    if not data.dev and not data.dev_fraction and _needs_dev(recipe):
        found["data.dev_fraction"] = (
            "there is no dev set, but the recipe evaluates on one; name data.dev, raise "
            "data.dev_fraction, or set evaluate_every of prepare, train and recover to 0, and the "
            "shares of interpolate to something else than 0"
        )
    return found


def _vocabulary_problems(recipe: "Recipe") -> dict[str, str]:
    kept, found = recipe.vocabulary.languages, {}
    if kept and recipe.language not in LANGUAGES:
        found["language"] = unknown(str(recipe.language))
    elif kept and recipe.language not in kept:
        found["vocabulary.languages"] = (
            f"keeps {', '.join(kept)}, and the recordings are in {recipe.language}; add it, or "
            "empty the list to keep every token"
        )
    if recipe.vocabulary.merges:
        found |= _new_token_problems(recipe)
    return found


def _new_token_problems(recipe: "Recipe") -> dict[str, str]:
    if recipe.head.kind != OWN:
        return {}  # only their names count: decoders have no rows for them
    stages = {name: getattr(recipe, name) for name in ("prepare", "train", "recover")}
    if not any(stage.steps and not stage.freeze_embeddings for stage in stages.values()):
        return {
            "vocabulary.merges": (
                "new tokens start as the mean of old ones and must be trained; set "
                "freeze_embeddings to false in a stage that has steps"
            )
        }
    learned = recipe.prepare.steps and not recipe.prepare.freeze_embeddings
    if recipe.distill.teacher == "dense" and not learned:
        return {
            "distill.teacher": (
                "the dense model does not know the new tokens of vocabulary.merges; give prepare "
                "steps and set its freeze_embeddings to false, or use no teacher"
            )
        }
    return {}


def _head_problems(recipe: "Recipe") -> dict[str, str]:
    if recipe.head.kind == OWN:
        return {}
    found, kept = {}, recipe.vocabulary.languages
    for name in ("prepared", "result"):
        if getattr(recipe.interpolate, name) != 1.0:
            found[f"interpolate.{name}"] = (
                "a new CTC head has no weights before tuning to go back to; set it to 1"
            )
    if recipe.head.writes == TOKENS and not kept:
        found["vocabulary.languages"] = (
            "is empty, and a CTC head would score every token of all languages; name those to keep"
        )
    if recipe.head.writes != TOKENS and kept:
        found["vocabulary.languages"] = (
            "has no effect with a head that writes the letters of the training texts; empty it, or "
            "set head.writes to tokens"
        )
    for name in ("merge_steps", "merge_dropout"):
        if getattr(recipe.vocabulary, name):
            found[f"vocabulary.{name}"] = (
                "concerns rows of the decoder, which a CTC head replaces; set it to 0"
            )
    if recipe.distill.teacher == "dense" and not recipe.prepare.steps:
        found["distill.teacher"] = (
            "the dense model's CTC head is not trained yet; give prepare steps, or use no teacher"
        )
    return found


def _needs_dev(recipe: "Recipe") -> bool:
    stages = (recipe.prepare, recipe.train, recipe.recover)
    looks = any(stage.steps and stage.evaluate_every for stage in stages)
    chosen = {recipe.interpolate.prepared, recipe.interpolate.result}
    return looks or LIKED_BEST in chosen or getattr(recipe.options, "prune", "") == "bisection"


__all__ = [
    "DataOptions",
    "ExportOptions",
    "InterpolateOptions",
    "Recipe",
    "RuntimeOptions",
    "ShrinkOptions",
    "TargetOptions",
    "dotted_defaults",
    "dotted_specs",
    "dotted_values",
    "from_mapping",
    "load_recipe",
    "preset_names",
    "preset_path",
    "to_yaml",
    "with_values",
]

DEFAULT_METHOD = "sgl"
# Nothing is tuned beforehand by default: the model may be tuned already.
PREPARE_DEFAULTS = TrainOptions(steps=0)
# Recovery repairs a model that is already tuned: fewer steps, a lower rate, no long warm-up.
RECOVER_DEFAULTS = TrainOptions(steps=0, learning_rate=1e-5, warmup_steps=5)


@dataclass(frozen=True)
class Recipe:
    """One complete run. Raises `RecipeError` with every problem when made from wrong values."""

    name: str = option("run", "Name of the run; its folder is called after it.", advanced=False)
    model: str = option(
        "openai/whisper-base",
        "Model to compress: a hub id, a local folder, or a run's slim folder.",
        advanced=False,
    )
    language: str = option("hi", "Language spoken, by code or English name.", advanced=False)
    method: str = DEFAULT_METHOD
    options: Any = None
    target: TargetOptions = field(default_factory=TargetOptions)
    head: HeadOptions = field(default_factory=HeadOptions)
    vocabulary: VocabularyOptions = field(default_factory=VocabularyOptions)
    data: DataOptions = field(default_factory=DataOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    prepare: TrainOptions = PREPARE_DEFAULTS
    train: TrainOptions = field(default_factory=TrainOptions)
    shrink: ShrinkOptions = field(default_factory=ShrinkOptions)
    recover: TrainOptions = RECOVER_DEFAULTS
    interpolate: InterpolateOptions = field(default_factory=InterpolateOptions)
    distill: DistillOptions = field(default_factory=DistillOptions)
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    def __post_init__(self) -> None:
        if self.options is None:
            object.__setattr__(self, "options", methods.get(self.method).options())
        if isinstance(self.language, str):
            object.__setattr__(self, "language", code_of(self.language))
        found = {**problems(self), **between_sections(self)}
        if found:
            raise RecipeError(found)

    @property
    def own_currency(self) -> str:
        """The currency of the method itself: one of `OWN_CURRENCIES`."""
        return str(getattr(self.options, "currency", NOT_OWN))

    @property
    def narrows(self) -> bool:
        """Whether the method acts on another form of the dense model, made in stage `narrow`."""
        return bool(self.target.head_width) or methods.get(self.method).components

    @property
    def counting(self) -> Counting:
        """What `target.removed` is a share of."""
        engine, quantize = self.export.engine, self.export.quantize
        return Counting.of(self.target.currency, self.own_currency, engine, quantize)


# Section name -> where its missing keys are taken from.
_SECTIONS: dict[str, Any] = {
    "target": TargetOptions(),
    "head": HeadOptions(),
    "vocabulary": VocabularyOptions(),
    "data": DataOptions(),
    "augment": AugmentOptions(),
    "prepare": PREPARE_DEFAULTS,
    "train": TrainOptions(),
    "shrink": ShrinkOptions(),
    "recover": RECOVER_DEFAULTS,
    "interpolate": InterpolateOptions(),
    "distill": DistillOptions(),
    "evaluate": EvaluateOptions(),
    "export": ExportOptions(),
    "runtime": RuntimeOptions(),
}
# Sections that may be given as one word, and the key that it sets.
_SHORT = {"method": "name", "head": "kind"}
_TOP = ("name", "model", "language")
_TOP_DEFAULTS = {f.name: f.default for f in dataclasses.fields(Recipe) if f.name in _TOP}


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a preset or a YAML file, with `section.key=value` overrides applied.

    Raises `RecipeError` or `UsageError`.
    """
    mapping = from_yaml(_recipe_file(str(source)))
    values = parse_overrides(overrides)
    _drop_other_methods_options(mapping, values)
    known = dotted_defaults(_method_of(mapping, values))
    wrong = {}
    for name, text in values.items():
        try:
            _set(mapping, name, coerce(text, known.get(name), from_text=True))
        except ValueError as error:
            wrong[name] = str(error)
    if wrong:
        raise RecipeError(wrong)
    return from_mapping(mapping)


def from_mapping(mapping: Mapping[str, Any]) -> Recipe:
    """The recipe from nested plain values, as in YAML. Missing keys take their defaults.

    Raises `RecipeError` with all problems at once, by dotted name.
    """
    found = _unknown("", mapping, (*_TOP, "method", *_SECTIONS))
    values: dict[str, Any] = {}
    for name in _TOP:
        values[name] = mapping.get(name, _TOP_DEFAULTS[name])
    values["method"], values["options"] = _method_section(mapping.get("method"), found)
    for name, defaults in _SECTIONS.items():
        values[name] = _section(name, mapping.get(name), defaults, found)
    return _assembled(values, found)


def of_run(mapping: Mapping[str, Any]) -> Recipe:
    """As `from_mapping`, for a recipe stored in a run.

    Options added later take the value of earlier behavior, so that a run of an earlier version
    continues as it began.
    """
    known = dict(_SECTIONS)
    method = mapping.get("method")
    if isinstance(method, Mapping) and method.get("name") in methods.names():
        known["method"] = methods.get(method["name"]).options()
    filled = dict(mapping)
    for name, options in known.items():
        before, given = values_before(options), mapping.get(name, {})
        if before and isinstance(given, Mapping):
            filled[name] = {**before, **given}
    return from_mapping(filled)


def to_yaml(recipe: Recipe) -> str:
    """The whole recipe as YAML, with defaults; `from_mapping` of it gives an equal one."""
    return to_text(_to_mapping(recipe))


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """`recipe` with dotted names (`train.steps`, `method.name`) set to values.

    Another method takes its own default options. Raises `RecipeError`.
    """
    mapping = _to_mapping(recipe)
    _drop_other_methods_options(mapping, values)
    for name, value in values.items():
        _set(mapping, name, value)
    return from_mapping(mapping)


def dotted_specs(method: str = DEFAULT_METHOD) -> dict[str, FieldSpec]:
    """Every knob of a recipe with this method, by dotted name, in the order of the file."""
    top = specs(Recipe)
    found = {name: top[name] for name in _TOP}
    found["method.name"] = FieldSpec(
        "How to find out what can be removed.",
        label="Method",
        choices=methods.names(),
        advanced=False,
        words=methods.titled(),
    )
    parts = {"method": methods.get(method).options, **_SECTIONS}
    for section, options in parts.items():
        found |= {f"{section}.{name}": spec for name, spec in specs(options).items()}
    return found


def dotted_defaults(method: str = DEFAULT_METHOD) -> dict[str, Any]:
    """The default of every knob by dotted name; without the method's own when it is unknown."""
    known: dict[str, Any] = {**_TOP_DEFAULTS, "method.name": method}
    sections = dict(_SECTIONS)
    if method in methods.names():
        sections["method"] = methods.get(method).options()
    for section, defaults in sections.items():
        for item in dataclasses.fields(defaults):
            known[f"{section}.{item.name}"] = getattr(defaults, item.name)
    return known


def dotted_values(recipe: Recipe) -> dict[str, Any]:
    """Every value of the recipe by dotted name, in the order and by the names of `dotted_specs`."""
    return flatten(_to_mapping(recipe))


def _recipe_file(source: str) -> Path:
    if source in preset_names():
        return preset_path(source)
    path = Path(source).expanduser()
    if not path.is_file():
        known = suggestion(source, preset_names())
        raise RecipeError({source: f"no preset or recipe file has that name{known}"})
    return path


def _to_mapping(recipe: Recipe) -> dict[str, Any]:
    mapping: dict[str, Any] = {name: getattr(recipe, name) for name in _TOP}
    mapping["method"] = {"name": recipe.method, **plain(recipe.options)}
    return mapping | {name: plain(getattr(recipe, name)) for name in _SECTIONS}


def _method_of(mapping: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    section = mapping.get("method")
    own = section.get("name", DEFAULT_METHOD) if isinstance(section, dict) else section
    return str(values.get("method.name", values.get("method", own or DEFAULT_METHOD)))


def _drop_other_methods_options(mapping: dict[str, Any], values: Mapping[str, Any]) -> None:
    # A file's options belong to the file's method; with another one they would be unknown keys.
    chosen = _method_of(mapping, values)
    if chosen != _method_of(mapping, {}):
        mapping["method"] = {"name": chosen}


def _set(mapping: dict[str, Any], dotted: str, value: Any) -> None:
    section, _, key = dotted.rpartition(".")
    if dotted in _SHORT:
        section, key = dotted, _SHORT[dotted]
    if not section:
        mapping[key] = value
        return
    inner = mapping.get(section)
    if section in _SHORT and isinstance(inner, str):
        inner = {_SHORT[section]: inner}
    mapping[section] = {**inner, key: value} if isinstance(inner, dict) else {key: value}


def _method_section(given: Any, found: dict[str, str]) -> tuple[str, Any]:
    section = {"name": given} if isinstance(given, str) else {} if given is None else given
    if not isinstance(section, Mapping):
        found["method"] = f"{given!r} is neither a name nor a section with a name and options"
        return DEFAULT_METHOD, None
    name = section.get("name", DEFAULT_METHOD)
    if name not in methods.names():
        found["method.name"] = f"no method named {name!r}{suggestion(str(name), methods.names())}"
        return DEFAULT_METHOD, None
    knobs = {key: value for key, value in section.items() if key != "name"}
    return name, _section("method", knobs, methods.get(name).options(), found)


def _section(name: str, given: Any, defaults: Any, found: dict[str, str]) -> Any:
    """An options instance; problems are added to `found`, and then the defaults are used."""
    if given is None:
        return defaults
    if name in _SHORT and isinstance(given, str):
        given = {_SHORT[name]: given}
    if not isinstance(given, Mapping):
        found[name] = f"{given!r} is not a section of keys and values"
        return defaults
    own = {item.name: getattr(defaults, item.name) for item in dataclasses.fields(defaults)}
    found |= _unknown(f"{name}.", given, tuple(own))
    values = {key: coerce(value, own[key]) for key, value in given.items() if key in own}
    try:
        return dataclasses.replace(defaults, **values)
    except RecipeError as error:
        found |= {f"{name}.{key}": message for key, message in error.problems.items()}
        return defaults


def _unknown(prefix: str, given: Mapping[str, Any], known: tuple[str, ...]) -> dict[str, str]:
    return {
        f"{prefix}{key}": f"no such key{suggestion(str(key), known)}"
        for key in given
        if key not in known
    }


def _assembled(values: dict[str, Any], found: dict[str, str]) -> Recipe:
    try:
        recipe = Recipe(**values)
    except RecipeError as error:
        # Problems of a section replaced by defaults are already reported for the section itself.
        broken = {name.partition(".")[0] for name in found}
        own = {k: v for k, v in error.problems.items() if k.partition(".")[0] not in broken}
        raise RecipeError({**found, **own}) from error
    if found:
        raise RecipeError(found)
    return recipe
