"""What came of a finished run, as a curve of one point, which tables and pictures can show."""

import json
from dataclasses import asdict, replace

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.untrusted import read_json, record_of
from whisperslim.core.store.checkpoint import family_in
from whisperslim.jobs.run.disk import disk_errors
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.sizes.curve import Sweep
from whisperslim.jobs.sizes.measure import (
    conditions,
    data_name,
    machine,
    measure,
    point_of,
    same_machine,
)
from whisperslim.jobs.stages.context import StageContext, recipe_threads
from whisperslim.speech.scoring.normalizer import for_language

_FILE = "measured.json"


def result_of(run: RunDir, name: str) -> Sweep:
    """Sizes, error rates and time per clip of a finished run's slim model, called `name`.

    Measured once and kept in the run; again on another machine, where times do not compare.

    Raises:
        UsageError: the run has neither test nor dev set.
        RunError, CheckpointError, DataError: files of the run or its data are missing or damaged.
        DeviceError: the recipe names a device that is not here.
    """
    with recipe_threads(run.recipe()), disk_errors(run.path):
        context = StageContext(run, run.recipe(), lambda event: None)
        stored = _stored(run)
        if stored and same_machine(stored.points[0].machine, machine(context.device)):
            return replace(stored, run=name)
        found = _measured(context, name)
        text = json.dumps(asdict(found), ensure_ascii=False, indent=1, allow_nan=False)
        write_text_atomically(run.path / _FILE, text)
    return found


def _measured(context: StageContext, name: str) -> Sweep:
    run, recipe = context.run, context.recipe
    return Sweep(
        run=name,
        method=recipe.method,
        points=(point_of(run, recipe.target.removed, measure(context)),),
        data=data_name(context),
        normalizer=for_language(recipe.language).name,
        window=context.window.describe(),
        recover_steps=recipe.recover.steps,
        provenance={
            **conditions(context, family_in(run.slim_path)),
            "counted in": recipe.counting.words,
        },
    )


def _stored(run: RunDir) -> Sweep | None:
    """What was measured before; None when it was not, or cannot be read: it is measured again."""
    try:
        found: Sweep = record_of(Sweep, read_json(run.path / _FILE))
    except (OSError, ValueError):
        return None
    return found if len(found.points) == 1 else None
