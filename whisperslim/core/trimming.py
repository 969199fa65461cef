"""A model with fewer tokens: its embedding, its tokenizer and every id that names a token.

Exact: over the tokens that stay, a trimmed model's logits are those of the original.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch

from whisperslim.core.disk.weight_files import read_head, weight_files
from whisperslim.core.families import Family
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan
from whisperslim.core.store.checkpoint import (
    SLIM_FILE,
    SlimRecord,
    VocabularyFacts,
    count_parameters,
    dense_skeleton,
    describe_cut,
    read_record,
    save_slim,
)
from whisperslim.core.surgery.shrink import select_tokens
from whisperslim.core.tokens.files import read_table, renumbered, write_trimmed_files
from whisperslim.core.tokens.vocabulary import Vocabulary, choose
from whisperslim.errors import UsageError


def vocabulary_for(
    speech: SpeechModel, languages: Sequence[str], timestamps: bool = False
) -> Vocabulary:
    """The tokens of a model that `languages` need. Raises `UsageError` as `choose` does."""
    return choose(read_table(speech.tokens, _rows(speech)), languages, timestamps)


def save_trimmed(
    folder: Path,
    speech: SpeechModel,
    vocabulary: Vocabulary,
    language: str = "",
    rows: Mapping[int, torch.Tensor] | None = None,
) -> SlimRecord:
    """Write a slim folder of the model with the tokens that stay; every unit is as it was.

    Args:
        folder: Where it goes; replaced as a whole when it exists.
        speech: Whole or cut; not changed.
        vocabulary: Chosen for this model.
        language: The language it is for, when its own record names none.
        rows: Id in the new vocabulary -> its row of the embedding, where it is not the mean of the
            rows it comes of, `(width,)`.

    Raises:
        CheckpointError: when the disk refuses, or a tokenizer file of the model is damaged.
    """
    model = deepcopy(speech.model)
    select_tokens(model, vocabulary.sources)
    with torch.no_grad():
        for token, row in (rows or {}).items():
            cast(Any, model).get_input_embeddings().weight[token] = row
    for name, value in renumbered(model.config.to_dict(), vocabulary).items():
        if value != getattr(model.config, name, value):
            setattr(model.config, name, value)
    record = _record(speech, vocabulary, language)
    with TemporaryDirectory() as side_files:
        write_trimmed_files(speech.path, Path(side_files), speech.tokens, vocabulary)
        save_slim(
            folder,
            model,
            record,
            side_files=Path(side_files),
            dtype=_stored_dtype(speech.path),
        )
    return record


def trimmed_tokens(family: Family, folder: Path, tokens: Tokens, vocabulary: Vocabulary) -> Tokens:
    """The tokenizer of the model in `folder` as `save_trimmed` will write it; no weights are read.

    Raises `CheckpointError` when a file of the folder is damaged.
    """
    with TemporaryDirectory() as place:
        write_trimmed_files(folder, Path(place), tokens, vocabulary)
        return family.load_tokens(Path(place))


def with_vocabulary_of(other: SpeechModel, speech: SpeechModel) -> SpeechModel:
    """`other` writing the tokens of `speech`, so that logits of both can be compared one by one.

    The given model itself when it does already; otherwise its own weights lose rows, in place.

    Raises:
        UsageError: when it lacks a token that `speech` has, or its tokens cannot be chosen from.
    """
    if _rows(other) == _rows(speech) and other.tokens.vocabulary() == speech.tokens.vocabulary():
        return other
    theirs = read_table(other.tokens, _rows(other))
    ours = read_table(speech.tokens, _rows(speech))
    if theirs.rows == ours.rows and theirs.text == ours.text:
        return other
    known = {**theirs.text, **theirs.control}
    wanted = sorted({**ours.text, **ours.control}.items(), key=lambda item: item[1])
    missing = [token for token, _ in wanted if token not in known]
    if missing or [place for _, place in wanted] != list(range(ours.rows)):
        raise UsageError(
            f"{other.name} does not know {len(missing)} tokens of {speech.name}'s vocabulary of "
            f"{ours.rows}, {missing[:3]} among them; take one that was made with the same "
            "languages and new tokens, such as the model compression starts from"
        )
    select_tokens(other.model, [[known[token]] for token, _ in wanted])
    return replace(other, tokens=speech.tokens)


def _rows(speech: SpeechModel) -> int:
    return int(speech.model.config.vocab_size)


def _record(speech: SpeechModel, vocabulary: Vocabulary, language: str) -> SlimRecord:
    dense = dense_skeleton(speech.path)
    groups = speech.family.unit_groups(dense)
    whole = PruningPlan({group.key: tuple(range(group.count)) for group in groups}, removed=0.0)
    was_slim = (speech.path / SLIM_FILE).is_file()
    record = (
        read_record(speech.path)
        if was_slim
        else describe_cut(speech.name, groups, count_parameters(dense), whole, language)
    )
    before = record.vocabulary
    facts = VocabularyFacts(
        dense_size=before.dense_size if before else vocabulary.dense_size,
        size=vocabulary.size,
        languages=vocabulary.languages,
        timestamps=vocabulary.timestamps,
        added=len(vocabulary.added) + (before.added if before else 0),
    )
    return replace(record, vocabulary=facts, language=record.language or language)


def _stored_dtype(folder: Path) -> torch.dtype:
    """Float16 stays float16; anything else is written as float32."""
    kinds = set[str]()
    for file in weight_files(folder):
        kinds |= set(read_head(file).formats.values())
    return torch.float16 if "F16" in kinds and "F32" not in kinds else torch.float32
