"""The one training loop: a generator of events that knows no method by name.

Its events say how long steps take and how much of each unit group is exactly zero.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whisperslim.core import ranks
from whisperslim.core.attention import fast_gradients
from whisperslim.core.families.factors import prunable_in
from whisperslim.core.loading import SpeechModel
from whisperslim.core.tokens.splitting import Splitting
from whisperslim.errors import CheckpointError, TrainingError
from whisperslim.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Notice,
    SparsityMeasured,
    StepDone,
    Stopped,
)
from whisperslim.methods.base import Calibration, CompressionMethod
from whisperslim.methods.shared.units import unit_norms
from whisperslim.speech.corpus.batching import Batch
from whisperslim.train.batches import BatchSource
from whisperslim.train.distill import Guidance, NoTeacher
from whisperslim.train.forward import decode_targets, encode_batch, targets_of
from whisperslim.train.gradients import pass_weights, sum_gradients
from whisperslim.train.memory import memory_in_use
from whisperslim.train.options import TrainOptions
from whisperslim.train.precision import FP32, Precision
from whisperslim.train.state import (
    Counters,
    list_checkpoints,
    load_best,
    read_checkpoint,
    restore,
    save_best,
    save_checkpoint,
    set_aside,
    swapped_in,
    update_average,
)


class Pace:
    """Mean seconds per step since the last report; evaluations and checkpoints left out.

    Steps that follow one another are timed as one stretch. A GPU works asynchronously, so the
    program waits for it where a stretch begins and ends, and not in between, where that would leave
    it idle.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began: float | None = None
        self._seconds, self._steps = 0.0, 0

    def step(self) -> None:
        """To be called before each step."""
        if self._began is None:
            self._began = self._now()
        self._steps += 1

    def pause(self) -> None:
        """To be called before anything between two steps that does not count."""
        if self._began is not None:
            self._seconds += self._now() - self._began
            self._began = None

    def mean(self) -> float:
        """Seconds per step, after which counting starts again; 0 when there was no step. Pauses,
        too."""
        self.pause()
        mean = self._seconds / max(1, self._steps)
        self._seconds, self._steps = 0.0, 0
        return mean

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


@torch.no_grad()
def measure_sparsity(
    stage: str, step: int, speech: SpeechModel, method: CompressionMethod
) -> SparsityMeasured:
    """Dead units (every weight zero) and zero elements of each group, and the method's gauges."""
    dead, zero = {}, {}
    for group in speech.groups():
        norms = None if group.matrix else unit_norms(speech.model, group)
        dead[group.key] = 0.0 if norms is None else float((norms == 0).float().mean())
        weights = [speech.model.get_parameter(name) for name in prunable_in([group])]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        zero[group.key] = zeros / sum(weight.numel() for weight in weights)
    gauges = {name: dict(values) for name, values in method.gauges().items()}
    return SparsityMeasured(
        stage=stage, step=step, dead_units=dead, zero_elements=zero, gauges=gauges
    )


_SPARSITY_EVERY_REPORTS = 4


@dataclass(frozen=True)
class Job:
    """What one stage of training works with.

    Attributes:
        stage: Name for events, `tune` or `recover`.
        student: The model that is trained, in place.
        method: Acts on the student through hooks and after each step.
        batches: Supply of training data.
        options: Steps, rates and intervals.
        checkpoints: Folder for this stage's checkpoints.
        language: Language code of the texts.
        precision: The arithmetic of forward and backward passes.
        teacher: What else to learn from than the data.
        evaluate: Dev evaluation of the student as it stands, given the step; or None.
        stop: Asked before each step; true ends the stage after a checkpoint.
        calibration: What the method may measure before the first step; None: nothing.
        splitting: How texts are spelled where new tokens are split now and then; None: never.
    """

    stage: str
    student: SpeechModel
    method: CompressionMethod
    batches: BatchSource
    options: TrainOptions
    checkpoints: Path
    language: str
    precision: Precision = FP32
    teacher: Guidance = field(default_factory=NoTeacher)
    evaluate: Callable[[int], Evaluated] | None = None
    stop: Callable[[], bool] = lambda: False
    calibration: Calibration | None = None
    splitting: Splitting | None = None


def fit(job: Job) -> Iterator[Event]:
    """Train from the newest checkpoint, or from the start, to the last step.

    The student ends as the stage's result: the last weights, the running average, or the best
    ones, as the options say. A `Stopped` event is the last one when a stop was asked for; the
    same call then continues later.

    Raises:
        TrainingError: when the loss is not finite; names the last good checkpoint.
        CheckpointError: when the newest readable checkpoint is of another model.
        RunError: when a checkpoint cannot be written.
    """
    options, counters = job.options, Counters()
    # The method is attached before resuming: what it remembers of the model must be from the start.
    job.method.attach(job.student.model, job.student.groups(), options.steps)
    try:
        extra = job.teacher.param_groups()
        optimizer = make_optimizer(job.student.model, job.method, options, extra)
        parts = {"optimizer": optimizer, "batches": job.batches, "method": job.method}
        parts |= job.teacher.parts()
        yield from _restore(job, counters, parts)
        if counters.step == 0 and job.calibration is not None:
            job.method.calibrate(job.calibration, trained=False)
        job.student.model.train()
        with fast_gradients(job.student.model):
            yield from _steps(job, counters, optimizer, parts)
    finally:
        job.method.detach()
        job.student.model.eval()


def make_optimizer(
    model: nn.Module,
    method: CompressionMethod,
    options: TrainOptions,
    extra: Sequence[dict[str, Any]] = (),
) -> torch.optim.AdamW:
    """AdamW; biases and norms without weight decay; the method's own groups and `extra` behind."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        *method.param_groups(),
        *extra,
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=options.learning_rate, fused=True
    )


def learning_rate_at(options: TrainOptions, step: int) -> float:
    """Learning rate of optimizer step `step`, counted from 1: linear warm-up, then decay to 0."""
    peak, warmup = options.learning_rate, min(options.warmup_steps, options.steps)
    if step <= warmup:
        return peak * step / warmup
    left = (options.steps - step + 1) / max(1, options.steps - warmup)
    if options.schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * (1 - left)))
    return peak * left if options.schedule == "linear" else peak


def _restore(job: Job, counters: Counters, parts: dict) -> Iterator[Event]:
    while found := ranks.on_first(partial(list_checkpoints, job.checkpoints)):
        folder = found[-1]
        try:
            stored = ranks.together(partial(read_checkpoint, folder, job.student.device))
        except CheckpointError as error:
            aside = ranks.on_first(partial(set_aside, folder))
            yield Notice(f"{error}. It is now {aside.name}; the checkpoint before it is used")
            continue
        restore(stored, job.student.model, counters, parts)
        yield Notice(f"{job.stage} continues after step {counters.step} of {job.options.steps}")
        return
    # Training is repeatable, so that going back, even to the start, costs time and nothing else.


def _steps(
    job: Job, counters: Counters, optimizer: torch.optim.AdamW, parts: dict
) -> Iterator[Event]:
    options, pace = job.options, Pace(job.student.device)
    latest: dict[str, torch.Tensor] = {}
    while counters.step < options.steps:
        if ranks.from_first(ranks.is_first() and job.stop()):
            _check_finite(job, latest)
            yield _checkpoint(job, counters, parts)
            yield Stopped(stage=job.stage, step=counters.step)
            return
        counters.step += 1
        pace.step()
        losses, norm = _one_step(job, counters, optimizer)
        # A finite loss with an infinite gradient makes weights that are not numbers.
        latest = {**losses, "gradient_norm": norm}
        if _due(counters.step, options.report_every, options.steps):
            _check_finite(job, latest)
            yield _report(job, counters, losses, norm, optimizer, pace)
            yield from _report_left_out(job, counters)
        if _due(counters.step, options.report_every * _SPARSITY_EVERY_REPORTS, options.steps):
            yield measure_sparsity(job.stage, counters.step, job.student, job.method)
        evaluated = _due(counters.step, options.evaluate_every, options.steps)
        if evaluated and job.evaluate is not None:
            pace.pause()
            _check_finite(job, latest)
            yield from _evaluate(job, counters)
        if _out_of_patience(options, counters):
            yield Notice(f"no better dev loss for {options.patience} evaluations; {job.stage} ends")
            counters.step = options.steps
        if _due(counters.step, options.checkpoint_every, options.steps):
            pace.pause()
            _check_finite(job, latest)
            yield _checkpoint(job, counters, parts)
    _hand_on(job, counters)


def _one_step(
    job: Job, counters: Counters, optimizer: torch.optim.AdamW
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    options = job.options
    rate = learning_rate_at(options, counters.step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
    optimizer.zero_grad(set_to_none=True)
    losses: dict[str, torch.Tensor] = {}
    passes = [_drawn(job, counters.step) for _ in range(options.accumulate)]
    for each, weight in zip(passes, pass_weights([each.tokens for each in passes]), strict=True):
        terms = _losses(job, each, counters)
        torch.stack([term for term in terms.values()]).sum().mul(weight).backward()
        for name, term in terms.items():
            losses[name] = losses.get(name, 0.0) + term.detach() * weight
    losses = sum_gradients(optimizer, losses)
    norm = nn.utils.clip_grad_norm_(
        [p for p in job.student.model.parameters() if p.grad is not None],
        options.clip_norm or math.inf,
    )
    optimizer.step()
    job.method.after_step(rate, counters.step)
    if options.average:
        update_average(counters, job.student.model, options.average)
        with swapped_in(counters, job.student.model):
            job.method.hold_zeros()
    return losses, norm


@dataclass(frozen=True)
class _Pass:
    """A batch, what it is to become, and the target tokens that the loss is a mean over."""

    batch: Batch
    targets: Any
    tokens: int


def _drawn(job: Job, step: int) -> _Pass:
    speech, batch = job.student, job.batches.draw()
    spelled = speech
    if job.splitting is not None:
        tokens = job.splitting.tokens(speech.tokens, job.stage, step, batch.keys)
        spelled = replace(speech, tokens=tokens)
    targets = targets_of(spelled, batch, job.language)
    return _Pass(batch, targets, 0 if batch.stand_in else speech.family.target_tokens(targets))


def _losses(job: Job, own: _Pass, counters: Counters) -> dict[str, torch.Tensor]:
    speech, batch, targets = job.student, own.batch, own.targets
    with job.precision.autocast(speech.device):
        with job.teacher.watching():
            states = encode_batch(speech, batch)
            outputs = decode_targets(speech, states, targets, job.options.label_smoothing)
        lessons = job.teacher.terms(batch, targets, states, outputs)
    counters.left_out += 0 if batch.stand_in else outputs.left_out
    terms = {"cross_entropy": outputs.cross_entropy, **lessons}
    return {**terms, **job.method.loss_terms(outputs, counters.step)}


def _due(step: int, every: int, last: int) -> bool:
    return every > 0 and (step % every == 0 or step == last)


def _report(
    job: Job,
    counters: Counters,
    losses: dict[str, torch.Tensor],
    norm: torch.Tensor,
    optimizer: torch.optim.AdamW,
    pace: Pace,
) -> StepDone:
    return StepDone(
        stage=job.stage,
        step=counters.step,
        total=job.options.steps,
        losses={name: float(value) for name, value in losses.items()},
        learning_rate=float(optimizer.param_groups[0]["lr"]),
        grad_norm=float(norm),
        seconds_per_step=pace.mean(),
        peak_memory_bytes=memory_in_use(job.student.device),
    )


def _report_left_out(job: Job, counters: Counters) -> Iterator[Notice]:
    count, counters.left_out = ranks.total(counters.left_out), 0
    if count:
        clips = "1 clip was" if count == 1 else f"{count} clips were"
        yield Notice(
            f"{job.stage}: {clips} left out of the loss since the last report: at the speed drawn "
            "for them, too short for their text"
        )


def _check_finite(job: Job, latest: dict[str, torch.Tensor]) -> None:
    broken = [name for name, value in latest.items() if not bool(torch.isfinite(value))]
    if broken:
        found = list_checkpoints(job.checkpoints)
        good = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
        raise TrainingError(
            f"{', '.join(broken)} is not finite in {job.stage}; {good}. Lower the learning rate or "
            "the penalties and start a new run"
        )


def _evaluate(job: Job, counters: Counters) -> Iterator[Event]:
    if job.evaluate is None:
        return
    model = job.student.model
    model.eval()
    with swapped_in(counters, model):
        score = partial(job.evaluate, counters.step)
        result = ranks.on_first(score)
        better = result.loss is not None and result.loss < counters.best_loss
        if better and job.options.take == "best":
            ranks.on_first(lambda: save_best(job.checkpoints, model))
    model.train()
    counters.worse_in_a_row = 0 if better else counters.worse_in_a_row + 1
    if better and result.loss is not None:
        counters.best_loss = result.loss
    yield result


def _out_of_patience(options: TrainOptions, counters: Counters) -> bool:
    return bool(options.patience) and counters.worse_in_a_row >= options.patience


def _checkpoint(job: Job, counters: Counters, parts: dict) -> CheckpointSaved:
    folder = save_checkpoint(
        job.checkpoints, job.student.model, counters, parts, job.options.keep_checkpoints
    )
    return CheckpointSaved(stage=job.stage, step=counters.step, path=str(folder))


def _hand_on(job: Job, counters: Counters) -> None:
    model = job.student.model
    if job.options.take == "best" and load_best(job.checkpoints, model):
        return
    for name, value in counters.average.items():
        model.get_parameter(name).data.copy_(value)
