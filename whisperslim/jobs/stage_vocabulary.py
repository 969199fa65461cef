"""The stage that leaves out the tokens no ticked language needs, before anything is trained.

Every later stage works on the trimmed model, which saves most of the decoder's output product in
training, too. The dense model the run is compared with stays whole, unless the run prepares it.
"""

from whisperslim.core.trimming import save_trimmed, vocabulary_for
from whisperslim.events import Notice
from whisperslim.jobs.stage_context import StageContext


def trim_vocabulary(context: StageContext) -> bool:
    """Write the model with the tokens of the recipe's languages, when it names any."""
    recipe = context.recipe
    options = recipe.vocabulary
    if not options.languages:
        return True
    speech = context.load(recipe.model)
    context.note_origin(speech)
    vocabulary = vocabulary_for(speech, options.languages, options.timestamps)
    if vocabulary.changes_nothing:
        context.emit(Notice(message="vocabulary: every token of the model is needed"))
        return True
    save_trimmed(context.trimmed_path, speech, vocabulary, recipe.language)
    kept = f"{len(vocabulary.keep)} of {vocabulary.dense_size} tokens stay"
    context.emit(Notice(message=f"vocabulary: {kept} for {', '.join(vocabulary.languages)}"))
    return True
