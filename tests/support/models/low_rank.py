"""Tiny models whose linear layers are opened into components, or are two matrices."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tests.support.models.narrow import noise_inputs
from whisperslim.core.families import family_of
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan, plan_to_budget
from whisperslim.core.surgery.low_rank import Components, components, watching
from whisperslim.core.surgery.moments import Moments, MomentWatch
from whisperslim.core.surgery.shrink import cut, open_matrices
from whisperslim.train.calibration import CleanClips


@torch.no_grad()
def moments_on_noise(model: Any) -> dict[str, Moments]:
    """Of the input of every linear layer that can be opened, of a Whisper."""
    watch = MomentWatch(watching(model))
    watch.attach(model)
    model(**noise_inputs())
    watch.detach()
    return watch.moments()


def opened_by(model: nn.Module, moments: Mapping[str, Moments]) -> dict[str, Components]:
    """Open all that can be opened, in place; what they were opened with."""
    found = {site.key: components(model, site.key, moments[site.key]) for site in watching(model)}
    open_matrices(model, found)
    return found


def opened_on_noise(model: Any) -> dict[str, Components]:
    """As `opened_by`, of a Whisper."""
    return opened_by(model, moments_on_noise(model))


def open_on(speech: SpeechModel, clips: CleanClips) -> dict[str, Components]:
    """As `opened_by`, by what eight clips make of a model."""
    return opened_by(speech.model, clips.moments(watching(speech.model), 8, attended=True))


def plan_by_variance(
    model: nn.Module, found: Mapping[str, Components], share: float
) -> PruningPlan:
    """`share` of the weights of an opened model goes, what changes outputs least first."""
    groups = family_of(model).unit_groups(model)
    each = {g.key: [g.weights_per_unit] * (g.count - 1) + [g.rest] for g in groups}
    scores = {g.key: found[g.matrix].lost / torch.tensor(each[g.key]) for g in groups}
    return plan_to_budget(scores, groups, share)


def made_two(model: nn.Module, found: Mapping[str, Components], share: float = 0.5) -> None:
    """Cut an opened model, in place: most of its layers are two matrices then."""
    groups = family_of(model).unit_groups(model)
    cut(model, groups, plan_by_variance(model, found, share))
