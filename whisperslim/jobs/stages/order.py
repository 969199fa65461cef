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
"""

import shutil
import time
from collections.abc import Callable

import torch

from whisperslim.events import Event, Finished, Notice, StageFinished, StageStarted, Stopped
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


def work(run: RunDir, emit: Callable[[Event], None]) -> None:
    """Do every stage that is not done. Returns early, after a `Stopped` event, on request.

    Raises:
        WhisperSlimError: when a stage cannot continue; finished stages are kept.
    """
    # Not the wall clock, which may jump.
    started = time.monotonic()
    context = StageContext(run, run.recipe(), emit)
    _set_up_torch(context)
    stage_export.check_engine(context)
    for name, stage in _WORK.items():
        if run.stage_done(name):
            _drop_checkpoints(run, name)
            emit(StageFinished(stage=name, seconds=0.0, skipped=True))
            continue
        if run.stop_requested():
            emit(Stopped(stage=name, step=0))
            return
        begun = time.monotonic()
        emit(StageStarted(stage=name))
        if not stage(context):
            return
        run.mark_done(name)
        _drop_checkpoints(run, name)
        emit(StageFinished(stage=name, seconds=time.monotonic() - begun))
    emit(Finished(seconds=time.monotonic() - started, slim=str(run.slim_path)))


def _drop_checkpoints(run: RunDir, stage: str) -> None:
    """After the stage's marker they are not needed; before it, a kill would lose the stage."""
    shutil.rmtree(run.checkpoints(stage), ignore_errors=True)


def _set_up_torch(context: StageContext) -> None:
    runtime = context.recipe.runtime
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    if context.device == "cpu":
        set_up_matmul(context.run, context.emit)
    # Stages draw from the generator in turn; each seeds it, so a skipped one changes nothing.
    torch.manual_seed(runtime.seed)
    if runtime.device == "auto":
        context.emit(Notice(message=f"running on {context.device.upper()}"))
    precision = context.precision
    add_facts(context.run.environment_path, {"precision": precision.name})
    if runtime.precision == "auto":
        context.emit(Notice(message=f"training in {precision.name}: {precision.why}"))
