"""Training: the stages prepare, tune and recover, and new tokens before them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from whisperslim import methods
from whisperslim.core import ranks
from whisperslim.core.disk.files import renamed_into_place
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.files import plan_text
from whisperslim.core.store.checkpoint import EXPORT_DTYPES, read_record, save_dense, save_slim
from whisperslim.core.surgery.low_rank import unmeasured
from whisperslim.core.surgery.shrink import open_matrices
from whisperslim.core.tokens.splitting import Splitting, pieces_of
from whisperslim.errors import RunError
from whisperslim.events import Evaluated, Stopped
from whisperslim.jobs.recipe.recipe import to_yaml
from whisperslim.jobs.recipe.sections import LISTED
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.export import check_model
from whisperslim.jobs.stages.interpolate import (
    check_before,
    interpolate_prepared,
    interpolate_result,
)
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.new_rows import NewRows
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.train.batches import BatchSource
from whisperslim.train.calibration import CleanClips
from whisperslim.train.distill import Guidance, NoTeacher, Teacher
from whisperslim.train.loop import Job, fit
from whisperslim.train.options import TrainOptions
from whisperslim.train.state import sum_of_weights

METHOD_STATE = "method.pt"
_CLEAN_BATCH = 8  # most clips measured in one pass, so that large batches take no more memory


def train_new_rows(context: StageContext, rows: Sequence[int]) -> bool:
    """Train only these rows of the trimmed model's embedding.

    With the rate and batches of `prepare`, in the stage that made the rows.
    """
    options = replace(
        context.recipe.prepare,
        steps=context.recipe.vocabulary.merge_steps,
        weight_decay=0.0,
        average=0.0,
        evaluate_every=0,
        patience=0,
        take="last",
    )
    student = context.load(str(context.trimmed_path))
    if not _train(context, "vocabulary", student, NewRows(rows), options, NoTeacher()):
        return False
    _save_tuned(context.trimmed_path, student)
    return True


def prepare(context: StageContext) -> bool:
    """Tune the dense model on the data, without teacher or method, when the recipe has that.

    The result is the dense model from here on: compression starts from it, it is the teacher called
    `dense`, and the slim model's scores are compared with its.
    """
    recipe = context.recipe
    ranks.together(partial(check_model, context))
    if not recipe.prepare.steps:
        return True
    ranks.together(partial(check_before, context))
    ranks.together(partial(_check_target, context))
    student = context.load(context.base)
    if context.base == recipe.model:  # otherwise noted when something is made from it
        context.note_origin(student)
    method = Plain(PlainOptions(), Target(0.0, 0.0))
    if not _train(context, "prepare", student, method, recipe.prepare, NoTeacher()):
        return False
    ranks.on_first(partial(_save_prepared, context, student))
    return True


def tune(context: StageContext) -> bool:
    """Train the dense model with the method active, and store what the method has learned."""
    recipe = context.recipe
    ranks.together(partial(check_before, context))
    start = str(context.narrowed_path) if recipe.narrows else context.start
    student = context.load(start)
    if start == recipe.model:
        context.note_origin(student)
    method = build_method(context)
    if not _train(context, "tune", student, method, recipe.train, _teacher(context, student)):
        return False
    ranks.on_first(partial(_save_tuned_with, context, student, method))
    return True


def recover(context: StageContext) -> bool:
    """Train the cut model with its zeros fixed, and write the slim folder."""
    recipe = context.recipe
    student = context.load(str(context.cut_path))
    method = Plain(PlainOptions(), Target(0.0, 0.0), hold_zeros=True)
    options = recipe.recover
    if options.steps:
        teacher = _teacher(context, student)
        if not _train(context, "recover", student, method, options, teacher):
            return False
    ranks.on_first(partial(_save_result, context, student))
    return True


def _save_prepared(context: StageContext, student: SpeechModel) -> None:
    interpolate_prepared(context, student)
    _save_tuned(context.prepared_path, student)


def _save_tuned_with(
    context: StageContext, student: SpeechModel, method: CompressionMethod
) -> None:
    with renamed_into_place(context.tuned_path) as temporary:
        _save_tuned(temporary / "model", student)
        _save_method(method, temporary / METHOD_STATE)


def _save_result(context: StageContext, student: SpeechModel) -> None:
    recipe = context.recipe
    interpolate_result(context, student)
    save_slim(
        context.run.slim_path,
        student.model,
        read_record(context.cut_path),
        side_files=student.path,
        dtype=EXPORT_DTYPES[recipe.export.dtype],
        extra={
            "recipe.yaml": to_yaml(recipe),
            "plan.json": plan_text(context.run.plan_path),
        },
    )


def _check_target(context: StageContext) -> None:
    """Raise `PlanError` for a target that tuning would refuse, before the dense model is tuned.

    On a copy: what is frozen for the method may be trained before.
    """
    options, speech = context.recipe.train, context.load(context.base)
    speech.family.freeze(
        speech.model, encoder=options.freeze_encoder, embeddings=options.freeze_embeddings
    )
    if methods.get(context.recipe.method).components:
        open_matrices(speech.model, unmeasured(speech.model))
    build_method(context).attach(speech.model, speech.groups(), options.steps)


def build_method(context: StageContext) -> CompressionMethod:
    """The recipe's method with its options and target."""
    recipe = context.recipe
    target = Target(recipe.target.removed, recipe.target.zeroed)
    return methods.get(recipe.method).build(recipe.options, target)


def _save_tuned(folder: Path, student: SpeechModel) -> None:
    if student.info.kind == "slim":  # its shapes differ from its config
        record = read_record(student.path)
        save_slim(folder, student.model, record, side_files=student.path)
    else:
        save_dense(folder, student.model, side_files=student.path)


def _save_method(method: CompressionMethod, path: Path) -> None:
    try:
        torch.save(method.state_dict(), path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise RunError(
            f"{path.name} could not be written: {error}. Make room and resume; the last "
            "checkpoint is intact"
        ) from error


def _train(
    context: StageContext,
    stage: str,
    student: SpeechModel,
    method: CompressionMethod,
    options: TrainOptions,
    teacher: Guidance,
) -> bool:
    context.seed_for(stage)
    student.family.freeze(
        student.model, encoder=options.freeze_encoder, embeddings=options.freeze_embeddings
    )
    student.family.set_dropout(student.model, options.dropout)
    if context.recipe.runtime.gradient_checkpointing:
        student.model.activation_checkpointing_enable({"use_reentrant": False})
    ranks.check_alike({"model": sum_of_weights(student.model)} if ranks.size() > 1 else {})
    with _batches(context, student, options.batch_size, context.recipe.augment) as batches:
        job = Job(
            stage=stage,
            student=student,
            method=method,
            batches=batches,
            options=options,
            checkpoints=context.run.checkpoints(stage),
            language=context.recipe.language,
            precision=context.precision,
            teacher=teacher,
            evaluate=_dev_evaluation(context, stage, student),
            stop=context.run.stop_requested,
            calibration=calibration(context, stage, student),
            # When only new tokens are trained, all memory is needed for them.
            splitting=None if stage == "vocabulary" else _splitting(context, student),
        )
        for event in fit(job):
            context.emit(event)
            if isinstance(event, Stopped):
                return False
    student.family.set_dropout(student.model, 0.0)
    if context.recipe.runtime.gradient_checkpointing:
        student.model.activation_checkpointing_disable()
    return True


def _splitting(context: StageContext, student: SpeechModel) -> Splitting | None:
    recipe, family = context.recipe, student.family
    rate = recipe.vocabulary.merge_dropout
    pieces = pieces_of(student.path) if rate else {}
    if not pieces:
        return None
    limit = family.text_limit(student.model, student.input_spec.max_seconds)
    if limit is not None:
        limit -= family.text_length(student.tokens, "", recipe.language)
    return Splitting(pieces, rate, recipe.runtime.seed, limit)


def calibration(
    context: StageContext, stage: str, speech: SpeechModel, what: str = "importance"
) -> CleanClips:
    """The training clips, without augmentation, to measure `what` on `speech`."""
    size = min(_CLEAN_BATCH, context.recipe.train.batch_size)
    return CleanClips(
        speech,
        lambda: _batches(context, speech, size, AugmentOptions()),
        context.recipe.language,
        context.precision,
        context.progress(stage, f"clips measured for {what}"),
    )


def _batches(
    context: StageContext,
    speech: SpeechModel,
    batch_size: int,
    augment: AugmentOptions,
) -> BatchSource:
    return BatchSource(
        context.chosen("train"),
        context.audio_cache,
        context.window,
        batch_size=batch_size,
        augment=augment,
        seed=context.recipe.runtime.seed,
        input_spec=speech.input_spec,
        listed=context.recipe.data.lengths == LISTED,
        announce=context.say_once,
    )


def _teacher(context: StageContext, student: SpeechModel) -> Guidance:
    options = context.recipe.distill
    if not options.teacher:
        return NoTeacher()
    name = context.start if options.teacher == "dense" else options.teacher
    return Teacher(context.load(name), student, options)


def _dev_evaluation(
    context: StageContext, stage: str, student: SpeechModel
) -> Callable[[int], Evaluated] | None:
    dev = context.dev_subset()
    if not dev:
        return None

    def run(step: int) -> Evaluated:
        return context.evaluate(stage, "dev", student, dev, "dev").event(stage, "dev", step)

    return run
