"""Stages that decide and cut: plan and shrink."""

import dataclasses
import json
from collections.abc import Callable
from copy import deepcopy

import torch

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.disk.weight_files import weight_files
from whisperslim.core.families import UnitSite, prunable_total
from whisperslim.core.families.factors import factored
from whisperslim.core.families.hearing import Written
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.files import read_plan, write_plan
from whisperslim.core.plan.plan import PruningPlan, check_scores
from whisperslim.core.plan.rules import costs_of
from whisperslim.core.store.checkpoint import (
    SlimRecord,
    count_parameters,
    dense_skeleton,
    describe_cut,
    read_record,
    save_slim,
)
from whisperslim.core.store.score_map import ScoreMap
from whisperslim.core.store.state_file import read_state
from whisperslim.core.surgery.gates import masked
from whisperslim.core.surgery.shrink import cut
from whisperslim.errors import CheckpointError, ParityError
from whisperslim.events import Planned
from whisperslim.jobs.sizes.planned import GROUPS_FILE, describe_groups
from whisperslim.jobs.sizes.tuned import find_facts
from whisperslim.jobs.stages.compensation import compensate
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.train import METHOD_STATE, build_method, calibration
from whisperslim.methods.base import CompressionMethod
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.batching import Batch, make_batch
from whisperslim.train.state import state_needed

PARITY_CLIPS = 4
# Largest difference of encoder states, relative to the largest state, that float32 sums in another
# order explain: Whisper's states reach 24, where one float32 step is 2e-6. Our choice.
PARITY_TOLERANCE = 1e-4


def make_plan(context: StageContext) -> bool:
    """Scores of every unit, and the plan for the recipe's target."""
    tuned = context.load(str(context.tuned_path / "model"))
    groups = tuned.groups()
    method = build_method(context)
    method.attach(tuned.model, groups, context.recipe.train.steps)
    _restore_method(context, method)
    method.detach()
    method.calibrate(calibration(context, "plan", tuned), trained=True)
    scores = {key: value.detach().cpu().contiguous() for key, value in method.scores().items()}
    check_scores(scores, groups)
    plan = method.plan(_dev_wer(context, tuned))
    recipe, sha256 = context.recipe, tuned.info.weights_sha256
    costs = costs_of(groups) if method.costs is None else method.costs
    score_map = ScoreMap(scores, recipe.method, sha256, method.whole, costs)
    score_map.save(context.run.scores_path)
    write_text_atomically(context.run.path / GROUPS_FILE, describe_groups(groups))
    write_plan(context.run.plan_path, plan)
    find_facts(context.run)  # so that other sizes can be planned quickly
    target = recipe.target
    context.emit(
        Planned(
            removed=plan.removed,
            zeroed=_zeroed_share(tuned, groups, plan),
            target_removed=target.removed,
            target_zeroed=target.zeroed,
            target_of=recipe.counting.words,
        )
    )
    return True


def shrink(context: StageContext) -> bool:
    """Cut, after checking that the cut model computes the same as the masked one.

    Raises:
        ParityError: when they differ; then nothing is exported.
    """
    tuned = context.load(str(context.tuned_path / "model"))
    groups = tuned.groups()
    plan = read_plan(context.run.plan_path)
    fitted = compensate(context, "shrink", tuned, groups, plan)
    if fitted is not plan:
        write_plan(context.run.plan_path, fitted)  # what was actually done to the model
        plan = fitted
    smaller = dataclasses.replace(tuned, model=deepcopy(tuned.model))
    cut(smaller.model, groups, plan)
    parity = check_parity(context, tuned, smaller, groups, plan)
    write_text_atomically(context.run.path / "parity.json", json.dumps(parity, indent=1))
    record = record_of_cut(context, tuned, smaller)
    save_slim(context.cut_path, smaller.model, record, side_files=tuned.path)
    return True


def record_of_cut(context: StageContext, tuned: SpeechModel, smaller: SpeechModel) -> SlimRecord:
    """Contents of `slim.json`: always relative to the dense model, also when a slim one was cut
    again.
    """
    dense = dense_skeleton(tuned.path)
    groups = tuned.family.unit_groups(dense)
    present = {group.key: group.count for group in smaller.groups()}
    keep = {group.key: tuple(range(present.get(group.key, 0))) for group in groups}
    total = prunable_total(groups)
    record = read_record(tuned.path) if tuned.info.kind == "slim" else None
    base = record.base if record else context.recipe.model
    vocabulary = record.vocabulary if record else None
    plan = PruningPlan(keep, removed=(total - prunable_total(smaller.groups())) / total)
    language = context.recipe.language
    cut_from = describe_cut(base, groups, count_parameters(dense), plan, language, vocabulary)
    return dataclasses.replace(
        cut_from,
        head_widths=record.head_widths if record else {},
        ranks=factored(smaller.model),
    )


def check_parity(
    context: StageContext,
    tuned: SpeechModel,
    smaller: SpeechModel,
    groups: tuple[UnitSite, ...],
    plan: PruningPlan,
) -> dict[str, float | int | bool]:
    """Masked against cut, on real clips: encoder states and tokens."""
    items = (context.chosen("dev") or context.chosen("train"))[:PARITY_CLIPS]
    cache = AudioCache(context.audio_cache)
    clips = [cache.load(item) for item in items]
    batch = make_batch(items, clips, context.window, input_spec=tuned.input_spec)
    features = batch.features.to(tuned.device)
    language = context.recipe.language
    with torch.no_grad(), masked(tuned.model, groups, plan):
        wanted = tuned.family.encode(tuned.model, features)
        wanted_ids = _written(tuned, wanted, batch, language)
    with torch.no_grad():
        found = smaller.family.encode(smaller.model, features)
        found_ids = _written(smaller, found, batch, language)
    difference = float((wanted - found).abs().max() / wanted.abs().max())
    same = wanted_ids == found_ids
    # Not `>`: NaN counts as a difference.
    if not difference <= PARITY_TOLERANCE or not same:
        raise ParityError(
            f"the cut model does not compute what the masked one does: encoder states differ by "
            f"{difference:.2e} of the largest (allowed {PARITY_TOLERANCE:.0e}); same tokens: {same}"
        )
    return {
        "clips": len(items),
        "encoder_relative_difference": difference,
        "tolerance": PARITY_TOLERANCE,
        "same_tokens": same,
    }


def _written(
    speech: SpeechModel, states: torch.Tensor, batch: Batch, language: str
) -> list[Written]:
    return speech.family.decode(speech.model, speech.tokens, states, batch.seconds, language)


def _dev_wer(context: StageContext, tuned: SpeechModel) -> Callable[[PruningPlan], float] | None:
    dev = context.dev_subset()
    if not dev:
        return None

    def run(plan: PruningPlan) -> float:
        trial = dataclasses.replace(tuned, model=deepcopy(tuned.model))
        cut(trial.model, tuned.groups(), plan)
        result = context.evaluate("plan", "trial", trial, dev, "dev")
        event = result.event("plan", "trial")
        context.emit(event)
        if event.wer is None:
            raise ParityError(
                "the dev set has no words to score a plan with; name another in data.dev"
            )
        return event.wer

    return run


def _restore_method(context: StageContext, method: CompressionMethod) -> None:
    path = context.tuned_path / METHOD_STATE
    repair = f"delete {context.run.path / 'stages' / 'tune.done'} and resume to tune again"
    weights = sum(file.stat().st_size for file in weight_files(context.tuned_path / "model"))
    try:
        state = read_state(path, weights, context.device)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {repair}") from error
    with state_needed(str(path), repair):
        method.load_state_dict(state)


def _zeroed_share(tuned: SpeechModel, groups: tuple[UnitSite, ...], plan: PruningPlan) -> float:
    trial = deepcopy(tuned.model)
    cut(trial, groups, plan)
    names = tuned.family.prunable_weights(trial)
    zeros = sum(int((trial.get_parameter(name) == 0).sum()) for name in names)
    return zeros / prunable_total(groups)
