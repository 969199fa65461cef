"""A run from the dense model to the slim one: each stage reads the run folder and writes to it.

    data      examine the recordings, hold out a dev set, decode
    vocabulary  leave out tokens of other languages    -> trimmed/
    prepare   tune the dense model first, if asked for  -> prepared/
    narrow    fewer dimensions a head, if asked for -> narrowed/
    tune      train with the method acting           -> tuned/
    plan      scores, groups, what to remove -> scores.safetensors groups.json plan.json
    shrink    masked against cut, then cut           -> cut/  parity.json
    recover   train the rest, zeros fixed         -> slim/
    export    for the engine it will run in          -> export/<engine>/
    evaluate  dense and slim on the test sets        -> eval/

A stage with a marker is skipped, so running a run again continues it.

Of processes that train together, all take part in the stages that train; the first one does the
others, while the rest waits.
"""

import shutil
import time
from collections.abc import Callable
from functools import partial

import torch
import transformers

from whisperslim.core import ranks
from whisperslim.errors import RunError
from whisperslim.events import Event, Finished, Notice, StageFinished, StageStarted, Stopped
from whisperslim.jobs.recipe.recipe import to_yaml
from whisperslim.jobs.run.environment import add_facts
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.run.matmul import set_up_matmul
from whisperslim.jobs.stages import data as stage_data
from whisperslim.jobs.stages import evaluate as stage_evaluate
from whisperslim.jobs.stages import export as stage_export
from whisperslim.jobs.stages import narrow as stage_narrow
from whisperslim.jobs.stages import prune as stage_prune
from whisperslim.jobs.stages import train as stage_train
from whisperslim.jobs.stages import vocabulary as stage_vocabulary
from whisperslim.jobs.stages.context import StageContext
from whisperslim.speech.corpus.dataset import manifest_hash
from whisperslim.train.precision import Precision
from whisperslim.version import __version__

_WORK: dict[str, Callable[[StageContext], bool]] = {
    "data": stage_data.prepare_data,
    "vocabulary": stage_vocabulary.trim_vocabulary,
    "prepare": stage_train.prepare,
    "narrow": stage_narrow.narrow,
    "tune": stage_train.tune,
    "plan": stage_prune.make_plan,
    "shrink": stage_prune.shrink,
    "recover": stage_train.recover,
    "export": stage_export.write_export,
    "evaluate": stage_evaluate.evaluate_all,
}
STAGES = tuple(_WORK)
_TRAINING = ("prepare", "tune", "recover")


def work(run: RunDir, emit: Callable[[Event], None]) -> None:
    """Do every stage that is not done. Returns early, after a `Stopped` event, on request.

    Raises:
        WhisperSlimError: when a stage cannot continue; finished stages are kept.
    """
    with ranks.joined():
        _check_processes(run)
        _work(run, emit)


def _check_processes(run: RunDir) -> None:
    wanted = run.recipe().runtime.devices
    if wanted not in (1, ranks.size()):
        started = "one was" if ranks.size() == 1 else f"{ranks.size()} were"
        raise RunError(
            f"the run {run.name} is for {wanted} processes (runtime.devices), and {started} "
            f"started; use `whisperslim resume {run.path}`, which starts them"
        )


def _work(run: RunDir, emit: Callable[[Event], None]) -> None:
    # Not the wall clock, which may jump.
    started = time.monotonic()
    context = StageContext(run, run.recipe(), emit)
    ranks.check_alike(_facts(context))
    _set_up_torch(context)
    stage_export.check_engine(context)
    for name, stage in _WORK.items():
        if ranks.on_first(partial(run.stage_done, name)):
            ranks.on_first(partial(_drop_checkpoints, run, name))
            emit(StageFinished(stage=name, seconds=0.0, skipped=True))
            continue
        if ranks.on_first(run.stop_requested):
            emit(Stopped(stage=name, step=0))
            return
        begun = time.monotonic()
        emit(StageStarted(stage=name))
        done = stage(context) if name in _TRAINING else ranks.on_first(partial(stage, context))
        if not done:
            return
        ranks.on_first(partial(_finish, run, name))
        emit(StageFinished(stage=name, seconds=time.monotonic() - begun))
    emit(Finished(seconds=time.monotonic() - started, slim=str(run.slim_path)))


def _facts(context: StageContext) -> dict[str, str]:
    """What must be the same for all processes of a run."""
    recipe = context.recipe
    sources = [*recipe.data.train, *recipe.data.dev] if ranks.size() > 1 else []
    return {
        "WhisperSlim": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "recipe": to_yaml(recipe),
        "device": context.device,
        **{source: manifest_hash(context.clips(source)) for source in sources},
    }


def _finish(run: RunDir, stage: str) -> None:
    run.mark_done(stage)
    _drop_checkpoints(run, stage)


def _drop_checkpoints(run: RunDir, stage: str) -> None:
    """After the stage's marker they are not needed; before it, a kill would lose the stage."""
    shutil.rmtree(run.checkpoints(stage), ignore_errors=True)


def _set_up_torch(context: StageContext) -> None:
    runtime = context.recipe.runtime
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    # The first process records what the others go by.
    ranks.on_first(partial(_record_choices, context))
    ranks.together(partial(_recorded_choices, context))
    # Stages draw from the generator in turn; each seeds it, so a skipped one changes nothing.
    torch.manual_seed(runtime.seed)


def _record_choices(context: StageContext) -> None:
    runtime, path = context.recipe.runtime, context.run.environment_path
    if context.device == "cpu":
        set_up_matmul(context.run, context.emit)
    if runtime.device == "auto":
        context.emit(Notice(message=f"running on {context.device.upper()}"))
    precision = context.precision
    add_facts(path, {"precision": precision.name})
    if runtime.precision == "auto":
        context.emit(Notice(message=f"training in {precision.name}: {precision.why}"))


def _recorded_choices(context: StageContext) -> Precision:
    """The recorded choices, taken by this process. Raises `DeviceError` where it cannot."""
    if context.device == "cpu" and not ranks.is_first():
        set_up_matmul(context.run, context.emit)
    return context.precision
