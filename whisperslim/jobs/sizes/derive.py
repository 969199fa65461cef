"""A new run of another size beside a finished one: already tuned, planned again, not yet cut."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

from whisperslim.core.disk.files import renamed_into_place, write_text_atomically
from whisperslim.core.loading import SpeechModel, load_model
from whisperslim.core.plan.counting import WEIGHTS
from whisperslim.core.plan.files import write_plan
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.errors import RunError
from whisperslim.jobs.pricing.prices import write_prices
from whisperslim.jobs.pricing.terms import Terms
from whisperslim.jobs.recipe.recipe import Recipe, to_yaml, with_values
from whisperslim.jobs.run import environment
from whisperslim.jobs.run.folder import RunDir, new_run_folder
from whisperslim.jobs.sizes.derivation import Derivation, read_derivation, write_derivation
from whisperslim.jobs.sizes.planned import GROUPS_FILE, describe_groups
from whisperslim.jobs.sizes.replan import plan_for
from whisperslim.jobs.sizes.tuned import FACTS_FILE, TunedRun, open_tuned
from whisperslim.methods.sgl.two_pass import with_zeros

__all__ = ["Derivation", "derivation_of", "derive", "read_derivation", "zeros_for"]

_DONE = ("data", "vocabulary", "prepare", "narrow", "tune", "plan")
_LINKED = ("trimmed", "headed", "prepared", "narrowed", "tuned")
_COPIED = ("data.json", FACTS_FILE)
_KEPT_SCORES = ("dense.json", "dense.tsv")  # of the model the run began with: the same here
_LONGEST_STEM = 44  # of 60 characters a recipe's name may have; the target is added


def derive(
    run: RunDir,
    removed: float,
    zeroed: float | None = None,
    recover_steps: int | None = None,
    terms: Terms | None = None,
) -> RunDir:
    """A new run beside `run`, with stages data, tune and plan done at another target.

    Whatever works on it next (`worker.run_worker`, `process.start_worker`) cuts, recovers and
    evaluates. `zeroed` and `recover_steps` are the recipe's when None. Elements that are zero as
    tuned stay zero; which others become zero is decided from the tuned weights, by pass 2 of
    `methods.sgl.two_pass`. `terms` are another engine or
    currency than the run's; the derived run's recipe has them.

    Raises:
        RunError, PlanError, RecipeError, CheckpointError: as `replan` does.
    """
    tuned = open_tuned(run, terms)
    recipe = tuned.recipe_for(removed, zeroed, recover_steps)
    plan = zeros_for(tuned, plan_for(tuned, removed, zeroed), recipe.target.zeroed)
    recipe = with_values(recipe, {"name": _name(tuned.recipe.name, removed, terms)})
    derivation = derivation_of(tuned, recipe)
    folder = new_run_folder(run.path.parent, recipe.name)
    try:
        # All or nothing: half of a derived run would start by tuning the dense model.
        with renamed_into_place(folder) as temporary:
            _fill(temporary, tuned, recipe, plan, derivation)
    except OSError as error:
        folder.rmdir()
        raise RunError(
            f"no run could be derived beside {run.name}: {error}; make room or make the "
            "folder writable, and try again"
        ) from error
    return RunDir(folder)


def derivation_of(tuned: TunedRun, recipe: Recipe) -> Derivation:
    """The derivation of a run with this recipe from the tuned one."""
    return Derivation(
        source=tuned.run.name,
        weights_sha256=tuned.scores.weights_sha256,
        removed=recipe.target.removed,
        zeroed=recipe.target.zeroed,
        recover_steps=recipe.recover.steps,
        engine=recipe.export.engine,
        quantize=recipe.export.quantize,
        currency=recipe.target.currency,
        compensated=recipe.shrink.clips,
    )


def zeros_for(
    tuned: TunedRun, plan: PruningPlan, share: float, loaded: SpeechModel | None = None
) -> PruningPlan:
    """`plan` with rules that zero a share, where that is more than what is zero after tuning.

    `loaded` is the tuned model; None reads it when it is needed.
    """
    if not tuned.lacks_zeros(plan, share):
        return plan
    loaded = loaded or load_model(str(tuned.folder))
    tuned.scores.check_scored(loaded.info.weights_sha256)
    return with_zeros(loaded.model, loaded.groups(), plan, share)


def _name(name: str, removed: float, terms: Terms | None) -> str:
    engine = f"-{terms.engine}" if terms and terms.engine else ""
    return f"{name[: _LONGEST_STEM - len(engine)]}{engine}-{100 * removed:.4g}pct"


def _fill(
    folder: Path, tuned: TunedRun, recipe: Recipe, plan: PruningPlan, derivation: Derivation
) -> None:
    run = tuned.run
    write_text_atomically(folder / "recipe.yaml", to_yaml(recipe))
    for name in _LINKED:
        if (run.path / name).is_dir():
            shutil.copytree(run.path / name, folder / name, copy_function=_linked)
    for name in _COPIED:
        shutil.copy2(run.path / name, folder / name)
    _write_terms(folder, tuned, recipe)
    derived = RunDir(folder)
    write_plan(derived.plan_path, plan)
    for name in _KEPT_SCORES:
        if (run.path / "eval" / name).is_file():
            (folder / "eval").mkdir(exist_ok=True)
            shutil.copy2(run.path / "eval" / name, folder / "eval" / name)
    write_derivation(folder, derivation)
    _inherit_environment(run, derived)
    for stage in _DONE:
        derived.mark_done(stage)


def _write_terms(folder: Path, tuned: TunedRun, recipe: Recipe) -> None:
    """Scores, groups and prices for the derived run's recipe: others may be derived from it."""
    derived = RunDir(folder)
    replace(tuned.scores, costs=tuned.costs).save(derived.scores_path)
    write_text_atomically(folder / GROUPS_FILE, describe_groups(tuned.groups))
    if recipe.target.currency != WEIGHTS and tuned.costs is not None:
        write_prices(folder, {group.place: tuned.costs[group.key] for group in tuned.groups})


def _linked(source: str, destination: str) -> None:
    """A hard link to a file that is never written to; a copy where links are not possible."""
    try:
        os.link(source, destination)
    except OSError:  # another device, or a file system without links
        shutil.copy2(source, destination)


def _inherit_environment(run: RunDir, derived: RunDir) -> None:
    """The facts of the shared stages, so that they stay readable without the source run."""
    record = environment.read(run.environment_path)
    facts = {name: value for name, value in record.items() if name != "attempts"}
    source = {"run": run.name, "attempts": record.get("attempts", [])}
    environment.add_facts(derived.environment_path, {**facts, "derived_from": source})
