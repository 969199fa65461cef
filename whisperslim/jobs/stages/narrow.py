"""The stage that narrows attention heads before the method sees the model, if the recipe asks."""

from dataclasses import replace

from whisperslim.core.families import prunable_total
from whisperslim.core.store.checkpoint import save_slim
from whisperslim.core.surgery.head_width import choose_widths, sorted_heads, watching
from whisperslim.core.surgery.shrink import head_widths, narrow_heads, narrowing
from whisperslim.events import Notice
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.prune import record_of_cut
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
    record = record_of_cut(context, speech, speech)
    record = replace(record, head_widths=head_widths(speech.model))
    save_slim(context.narrowed_path, speech.model, record, side_files=speech.path)
    context.emit(
        Notice(
            f"heads keep {min(widths.values())} to {max(widths.values())} dimensions, fitted on "
            f"{clips} training clips: {1 - now / before:.1%} of the prunable weights are cut out; "
            "target.removed is a share of the rest"
        )
    )
    return True
