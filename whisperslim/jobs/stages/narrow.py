"""The stage that narrows attention heads before the method sees the model, if the recipe asks."""

from dataclasses import replace

from whisperslim.core.families import prunable_total
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import keep_everything
from whisperslim.core.store.checkpoint import (
    SlimRecord,
    count_parameters,
    dense_skeleton,
    describe_cut,
    read_record,
    save_slim,
)
from whisperslim.core.surgery.head_width import choose_widths, sorted_heads, watching
from whisperslim.core.surgery.shrink import head_widths, narrow_heads, narrowing
from whisperslim.events import Notice
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.train import calibration

CLIPS = 64  # most training clips that the moments are of; our choice


def narrow(context: StageContext) -> bool:
    """Write the model with heads of `target.head_width` dimensions on average, when that is set."""
    mean = context.recipe.target.head_width
    if not mean:
        return True
    speech = context.load(context.start)
    if context.start == context.recipe.model:
        context.note_origin(speech)
    sites = narrowing(speech.model).attentions(speech.model)
    clips = min(CLIPS, len(context.chosen("train")))
    measure = calibration(context, "narrow", speech, "heads")
    moments = measure.moments(watching(sites), clips, attended=True)
    found = [sorted_heads(speech.model, site, moments) for site in sites]
    widths = choose_widths(found, mean)
    before = prunable_total(speech.groups())
    narrow_heads(speech.model, found, widths)
    now = prunable_total(speech.family.unit_groups(speech.model))
    save_slim(context.narrowed_path, speech.model, _record(context, speech), side_files=speech.path)
    context.emit(
        Notice(
            f"heads keep {min(widths.values())} to {max(widths.values())} dimensions, fitted on "
            f"{clips} training clips: {1 - now / before:.1%} of the prunable weights are cut out; "
            "target.removed is a share of the rest"
        )
    )
    return True


def _record(context: StageContext, speech: SpeechModel) -> SlimRecord:
    dense = dense_skeleton(speech.path)
    groups = speech.family.unit_groups(dense)
    left = prunable_total(speech.family.unit_groups(speech.model)) / prunable_total(groups)
    if speech.info.kind == "slim":
        record = read_record(speech.path)
    else:
        record = describe_cut(
            context.recipe.model,
            groups,
            count_parameters(dense),
            keep_everything(groups),
            context.recipe.language,
        )
    return replace(record, head_widths=head_widths(speech.model), removed=1.0 - left)
