"""The stage that changes the dense model before the method sees it, if recipe or method ask for it.

Attention heads get fewer dimensions, and linear layers are opened into components.
"""

from dataclasses import replace

from whisperslim import methods
from whisperslim.core.families import prunable_total
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import save_slim
from whisperslim.core.surgery import low_rank
from whisperslim.core.surgery.head_width import choose_widths, sorted_heads, watching
from whisperslim.core.surgery.shrink import head_widths, narrow_heads, narrowing, open_matrices
from whisperslim.events import Notice
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.prune import record_of_cut
from whisperslim.jobs.stages.train import calibration

CLIPS = 64  # most training clips that the moments are of; our choice


def narrow(context: StageContext) -> bool:
    """Write the model that the method is to act on, when that is not the dense one."""
    recipe = context.recipe
    if not recipe.narrows:
        return True
    speech = context.load(context.start)
    if context.start == recipe.model:
        context.note_origin(speech)
    if recipe.target.head_width:
        _narrow_heads(context, speech)
    record = record_of_cut(context, speech, speech)
    record = replace(record, head_widths=head_widths(speech.model))
    if methods.get(recipe.method).components:
        names = _open(context, speech)
        record = replace(record, opened=names)
    save_slim(context.narrowed_path, speech.model, record, side_files=speech.path)
    return True


def _narrow_heads(context: StageContext, speech: SpeechModel) -> None:
    mean = context.recipe.target.head_width
    sites = narrowing(speech.model).attentions(speech.model)
    clips = min(CLIPS, len(context.chosen("train")))
    measure = calibration(context, "narrow", speech, "heads")
    moments = measure.moments(watching(sites), clips, attended=True)
    found = [sorted_heads(speech.model, site, moments) for site in sites]
    widths = choose_widths(found, mean)
    before = prunable_total(speech.groups())
    narrow_heads(speech.model, found, widths)
    now = prunable_total(speech.family.unit_groups(speech.model))
    context.emit(
        Notice(
            f"heads keep {min(widths.values())} to {max(widths.values())} dimensions, fitted on "
            f"{clips} training clips: {1 - now / before:.1%} of the prunable weights are cut out; "
            "target.removed is a share of the rest"
        )
    )


def _open(context: StageContext, speech: SpeechModel) -> tuple[str, ...]:
    """Names of the layers that now have components."""
    sites = low_rank.watching(speech.model)
    clips = min(CLIPS, len(context.chosen("train")))
    measure = calibration(context, "narrow", speech, "components")
    moments = measure.moments(sites, clips, attended=True)
    found = {s.key: low_rank.components(speech.model, s.key, moments[s.key]) for s in sites}
    open_matrices(speech.model, found)
    context.emit(
        Notice(
            f"{len(found)} linear layers are opened into components, by what {clips} training "
            "clips make of them"
        )
    )
    return tuple(found)
