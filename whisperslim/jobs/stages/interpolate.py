"""Weights between those before tuning and the tuned ones, where the recipe asks for them.

Tuning on few hours of speech learns them by heart, and forgets some of what the model knew of other
voices. On the straight line between both, `before + share * (tuned - before)`, there often are
models that hear strangers better than either end (WiSE-FT, Wortsman et al., arXiv 2109.01903,
equation 1). There it is found on images, with one share for all weights; that it holds for a model
that was cut, with the same cut made in the weights before tuning, is our finding.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.files import read_plan
from whisperslim.core.surgery.head_width import narrowed_alike
from whisperslim.core.surgery.low_rank import components_in
from whisperslim.core.surgery.shrink import cut, narrow_heads, narrowing, open_matrices
from whisperslim.core.trimming import with_vocabulary_of
from whisperslim.errors import UsageError
from whisperslim.events import Notice
from whisperslim.jobs.recipe.sections import LIKED_BEST
from whisperslim.jobs.run.environment import add_facts
from whisperslim.jobs.stages.context import StageContext

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of which the dev set's choice is one."""


def check_before(context: StageContext) -> None:
    """Raise `UsageError` for a model before tuning that this one cannot have come from."""
    options = context.recipe.interpolate
    if options.before and (options.prepared, options.result) != (1.0, 1.0):
        _before(context)


def _before(context: StageContext) -> SpeechModel:
    base, name = context.load(context.base), context.recipe.interpolate.before
    if not name:
        return base
    found = with_vocabulary_of(context.load(name), base)
    shapes = [
        {key: tuple(value.shape) for key, value in each.model.named_parameters()}
        for each in (found, base)
    ]
    if shapes[0] != shapes[1]:
        other = sorted(key for key, shape in shapes[1].items() if shapes[0].get(key) != shape)
        raise UsageError(
            f"interpolate.before is {name}, which has other shapes than {context.recipe.model} "
            f"(such as {next(iter(other), 'more layers')}); name the model that one was tuned from"
        )
    return found


def interpolate_prepared(context: StageContext, student: SpeechModel) -> None:
    """Take the dense model back towards the weights before its tuning, in place."""
    share = context.recipe.interpolate.prepared
    _interpolate(context, "prepare", student, share, lambda: _before(context), False)


def interpolate_result(context: StageContext, student: SpeechModel) -> None:
    """Take the cut model back towards the same cut of the weights before any tuning, in place."""
    share = context.recipe.interpolate.result
    _interpolate(context, "recover", student, share, lambda: _cut_before(context), True)


def _cut_before(context: StageContext) -> SpeechModel:
    speech = _before(context)
    if context.recipe.narrows:
        _narrow_alike(context, speech.model)
    plan = read_plan(context.run.plan_path)
    cut(speech.model, speech.groups(), replace(plan, folds={}, masks={}, zero={}))
    return speech


def _narrow_alike(context: StageContext, model: nn.Module) -> None:
    whole, narrow = (
        context.load(name).model for name in (context.start, str(context.narrowed_path))
    )
    if context.recipe.target.head_width:
        attentions = narrowing(model).attentions
        sites = list(zip(attentions(whole), attentions(narrow), strict=True))
        found = narrowed_alike(model, whole, narrow, sites)
        narrow_heads(model, found, {site.key: site.width for _, site in sites})
    open_matrices(model, components_in(narrow))


def _interpolate(
    context: StageContext,
    stage: str,
    student: SpeechModel,
    share: float,
    before: Callable[[], SpeechModel],
    hold_zeros: bool,
) -> None:
    if share == 1.0:
        return
    origin = dict(before().model.named_parameters())
    tuned = {name: value.detach().clone() for name, value in student.model.named_parameters()}

    def go(share: float) -> None:
        mix(student.model, origin, tuned, share, hold_zeros=hold_zeros)

    if share == LIKED_BEST:
        share = _liked_best(context, stage, student, go)
    go(share)
    add_facts(context.run.environment_path, {f"interpolated_{stage}": share})


def _liked_best(
    context: StageContext,
    stage: str,
    student: SpeechModel,
    go: Callable[[float], None],
) -> float:
    """The share with the lowest loss on the dev set; error rates of so few clips jump about."""
    dev = context.dev_subset()
    losses: dict[float, float] = {}
    for share in SHARES:
        go(share)
        loss = context.evaluate(stage, f"share {share:g}", student, dev, "dev").loss
        if math.isfinite(loss):
            losses[share] = loss
    if not losses:
        context.emit(
            Notice("the dev set gives no loss to choose a share by: the tuned weights stay")
        )
        return 1.0
    best = min(losses, key=lambda share: losses[share])
    found = ", ".join(f"{share:g}: {loss:.3f}" for share, loss in losses.items())
    context.emit(
        Notice(
            f"weights at {best:g} of the way from before tuning to the tuned ones; loss on "
            f"{len(dev)} dev clips by share: {found}"
        )
    )
    return best


@torch.no_grad()
def mix(
    model: nn.Module,
    before: Mapping[str, torch.Tensor],
    tuned: Mapping[str, torch.Tensor],
    share: float,
    *,
    hold_zeros: bool = False,
) -> None:
    """Give a model the weights at `share` of the way, in place; its buffers stay.

    Args:
        model: Its parameters have the names and shapes of both.
        before: Name -> weights before tuning.
        tuned: Name -> tuned weights.
        share: 0 is before, 1 tuned.
        hold_zeros: Whether what is exactly zero in `tuned` is zero here.
    """
    for name, parameter in model.named_parameters():
        value = before[name] + share * (tuned[name] - before[name])
        parameter.copy_(value.masked_fill(tuned[name] == 0, 0.0) if hold_zeros else value)
