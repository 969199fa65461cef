"""The stage that leaves out tokens that no chosen language needs, before any training.

It also gives a model another head, when the recipe has one.

Every later stage works on the trimmed model, which also saves most of the decoder's output product
in training. The dense model to compare with is not trimmed, unless the run prepares it.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.heads.ctc import save_with_ctc_head
from whisperslim.core.heads.options import CTC
from whisperslim.core.loading import SpeechModel
from whisperslim.core.tokens.files import read_table
from whisperslim.core.tokens.merges import with_new_tokens
from whisperslim.core.tokens.new_rows import solved_rows
from whisperslim.core.tokens.vocabulary import Vocabulary, choose
from whisperslim.core.trimming import save_trimmed, trimmed_tokens
from whisperslim.events import Notice
from whisperslim.jobs.stages.context import StageContext
from whisperslim.jobs.stages.train import calibration, train_new_rows

REPORT = "vocabulary.json"
_CLIPS = 2048  # most clips read for the first rows of new tokens; our choice


def trim_vocabulary(context: StageContext) -> bool:
    """Write the model with the tokens of the recipe's languages, when it names any.

    And with another head, when the recipe has one.
    """
    if not _trim(context):
        return False
    if context.recipe.head.kind == CTC:
        _put_head(context)
    return True


def _put_head(context: StageContext) -> None:
    recipe, head = context.recipe, context.recipe.head
    base = str(context.trimmed_path) if context.trimmed_path.is_dir() else recipe.model
    speech = context.load(base)
    if base == recipe.model:
        context.note_origin(speech)
    context.seed_for("head")
    texts = [item.text for item in context.chosen("train")]
    count = save_with_ctc_head(context.headed_path, speech, head, texts, recipe.language)
    added = f"a CTC head over {count} {head.writes}, the blank among them, is put on the encoder"
    context.emit(Notice(message=f"{added}; it is not trained yet"))


def _trim(context: StageContext) -> bool:
    recipe = context.recipe
    if not recipe.vocabulary.languages:
        return True
    speech = context.load(recipe.model)
    context.note_origin(speech)
    texts = [item.text for item in context.chosen("train")]
    vocabulary = _vocabulary(context, speech, texts)
    if vocabulary.changes_nothing:
        context.emit(Notice(message="vocabulary: every token of the model is needed"))
        return True
    # An existing folder is complete: its training of new tokens was broken off.
    if not context.trimmed_path.is_dir():
        rows = None
        if vocabulary.added and recipe.vocabulary.merge_start == "solved":
            rows = _solved_rows(context, speech, vocabulary)
        save_trimmed(context.trimmed_path, speech, vocabulary, recipe.language, rows)
        _report(context, vocabulary, speech, texts)
    if vocabulary.added and recipe.vocabulary.merge_steps:
        return train_new_rows(context, vocabulary.added_ids)
    return True


def tokens_per_word(tokens: Tokens, texts: Sequence[str]) -> float:
    """Text tokens per word between spaces; 0 without words."""
    words = sum(len(text.split()) for text in texts)
    return sum(len(tokens.encode(text)) for text in texts) / words if words else 0.0


def _vocabulary(context: StageContext, speech: SpeechModel, texts: Sequence[str]) -> Vocabulary:
    options = context.recipe.vocabulary
    table = read_table(speech.tokens, int(speech.model.config.vocab_size))
    vocabulary = choose(table, options.languages, options.timestamps)
    if not options.merges:
        return vocabulary
    vocabulary = with_new_tokens(table, vocabulary, texts, options.merges, options.merge_floor)
    found = len(vocabulary.added)
    if found < options.merges:
        why = f"the training transcripts repeat enough for {found} of {options.merges} new tokens"
        context.emit(Notice(message=f"vocabulary: {why}"))
    return vocabulary


def _solved_rows(
    context: StageContext, speech: SpeechModel, vocabulary: Vocabulary
) -> dict[int, torch.Tensor]:
    """Rows of the new tokens, by id, from the same model without them."""
    plain = replace(vocabulary, merges=(), added=(), pieces=())
    tokens = trimmed_tokens(speech.family, speech.path, speech.tokens, vocabulary)
    known = plain.new_ids
    written = [tuple(known[old] for old in ids) for ids in vocabulary.sources]
    with TemporaryDirectory(dir=context.run.path) as place:
        without = Path(place) / "without"
        save_trimmed(without, speech, plain, context.recipe.language)
        clips = calibration(context, "vocabulary", context.load(str(without)), "new tokens")
        evidence = clips.piece_evidence(
            lambda text: [(token, written[token]) for token in tokens.encode(text)],
            min(_CLIPS, len(context.chosen("train"))),
        )
    old = cast(Any, speech.model).get_input_embeddings().weight.detach()
    means = {token: old[list(vocabulary.sources[token])].mean(0) for token in vocabulary.added_ids}
    if evidence is None:
        return means
    seen = len(set(evidence.tokens.tolist()))
    context.emit(
        Notice(
            f"vocabulary: {seen} of {len(means)} new tokens start from a solution on training clips"
        )
    )
    return solved_rows(means, evidence)


def _report(
    context: StageContext, vocabulary: Vocabulary, before: SpeechModel, texts: Sequence[str]
) -> None:
    trimmed = before.family.load_tokens(context.trimmed_path)
    per_word = [tokens_per_word(each, texts) for each in (before.tokens, trimmed)]
    facts = {
        "tokens": vocabulary.size,
        "dense_tokens": vocabulary.dense_size,
        "new_tokens": len(vocabulary.added),
        "tokens_per_word_before": per_word[0],
        "tokens_per_word": per_word[1],
    }
    write_text_atomically(context.run.path / REPORT, json.dumps(facts, indent=1))
    kept = f"{len(vocabulary.keep)} of {vocabulary.dense_size} tokens stay"
    new = f" and {len(vocabulary.added)} are new" if vocabulary.added else ""
    rate = f"a word of the training set takes {per_word[1]:.2f} tokens (before: {per_word[0]:.2f})"
    languages = ", ".join(vocabulary.languages)
    context.emit(Notice(message=f"vocabulary: {kept}{new} for {languages}; {rate}"))
