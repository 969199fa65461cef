"""The stage that checks every recording before any training, and decides what is used for what.

How long a training text may be is found before the model is loaded or trimmed.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.families import Family
from whisperslim.core.families.flavours.ctc import frames_needed
from whisperslim.core.fetch.sources import resolve
from whisperslim.core.heads.ctc import letters_take, takes_ctc_head
from whisperslim.core.heads.options import CTC, LETTERS, HeadOptions
from whisperslim.core.store.checkpoint import empty_model, family_in
from whisperslim.core.tokens.files import read_table
from whisperslim.core.tokens.options import VocabularyOptions
from whisperslim.core.tokens.vocabulary import choose as choose_tokens
from whisperslim.core.trimming import trimmed_tokens
from whisperslim.errors import DataError
from whisperslim.events import Notice
from whisperslim.jobs.recipe.sections import LISTED
from whisperslim.jobs.run.data_record import DATA_FILE
from whisperslim.jobs.scoring.evaluation import choose
from whisperslim.jobs.stages.context import StageContext
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import Item, hold_out, manifest_hash
from whisperslim.speech.corpus.report import (
    KINDS,
    SHARED,
    UNUSABLE,
    DataReport,
    TextLimit,
    examine,
    usable,
)


def text_limit(
    folder: Path,
    language: str,
    vocabulary: VocabularyOptions | None = None,
    head: HeadOptions | None = None,
) -> TextLimit | None:
    """The limit of the model in `folder`, with the tokens kept by `vocabulary`.

    None: texts may have any length.

    A trimmed vocabulary spells what is foreign to its languages byte by byte: at most one token
    for each byte of UTF-8, the space before the text included. Merges are not counted: they are
    learned from the clips within this limit, and they make texts shorter.

    Args:
        folder: A model folder.
        language: Code of the texts' language, for the prompt.
        vocabulary: What a run keeps of the tokens; None or no languages is all.
        head: What a run puts in place of the model's own decoder; None: nothing.

    Raises:
        CheckpointError: for a damaged folder.
        UsageError: when the model does not know a language.
    """
    family, model = family_in(folder), empty_model(folder)
    longest = family.input_spec(model).max_seconds
    if head is not None and head.kind == CTC and head.writes == LETTERS:
        return _frames_limit(family, head, longest, lambda text: letters_take(text, language))
    tokens = family.load_tokens(folder)
    if vocabulary is not None and vocabulary.languages:
        # As stage `vocabulary` will write them, without new ones.
        table = read_table(tokens, int(model.config.vocab_size))
        kept = choose_tokens(table, vocabulary.languages, vocabulary.timestamps)
        tokens = trimmed_tokens(family, folder, tokens, kept)
    if head is not None and head.kind == CTC:
        return _frames_limit(family, head, longest, lambda text: frames_needed(tokens.encode(text)))
    most = family.text_limit(model, longest)
    if most is None:
        return None
    count = partial(family.text_length, tokens, language=language)
    if family.text_limit(model, 1.0) != most:
        return TextLimit(count, most, partial(_room, family, model))
    # The tokens of a decoder are of bytes: a text takes at most one for each, and one for the space
    # before it.
    return TextLimit(count, most, short=most - count("") - 1)


def _room(family: Family, model: PreTrainedModel, seconds: float) -> int:
    limit = family.text_limit(model, seconds)
    return 0 if limit is None else limit


def _frames_limit(
    family: Family, head: HeadOptions, longest: float, count: Callable[[str], int]
) -> TextLimit:
    frames = partial(takes_ctc_head(family).ctc_frames, pool=head.pool)
    return TextLimit(count, frames(longest), frames)


def heard_at_once(folder: Path) -> float:
    """Seconds of sound in one window of the model in `folder`."""
    return family_in(folder).input_spec(empty_model(folder)).max_seconds


_SHOWN_PROBLEMS = 10


def prepare_data(context: StageContext) -> bool:
    """Examine every recording before any training; record what is used for what."""
    named = {source: context.clips(source) for source in context.recipe.data.test}
    together = [item for items in named.values() for item in items]
    folder = _model_folder(context)
    train, dev, report = _training_clips(context, folder, together)
    test = _test_clips(context, folder, named)
    message = f"training on {len(train)} clips, dev set of {len(dev)}, test sets of {len(test)}"
    context.emit(Notice(message=message))
    chosen = {"train": train, "dev": dev, "test": test}
    record = {
        "report": report.to_record(),
        "chosen": {part: [item.key for item in items] for part, items in chosen.items()},
        "train_sha256": manifest_hash(train),
        "test_clips": len(test),
    }
    text = json.dumps(record, ensure_ascii=False, indent=1)
    write_text_atomically(context.run.path / DATA_FILE, text)
    return True


def _training_clips(
    context: StageContext, folder: Path, test: Sequence[Item]
) -> tuple[list[Item], list[Item], DataReport]:
    """What to train on, the dev set, and the report of all training sets."""
    recipe = context.recipe
    data, limit = recipe.data, text_limit(folder, recipe.language, recipe.vocabulary, recipe.head)
    longest = min(data.max_seconds, heard_at_once(folder))
    asked: dict[str, Any] = {"limit": limit, "max_seconds": longest}
    asked["listed"] = data.lengths == LISTED
    train = [item for source in data.train for item in context.clips(source)]
    train, report = _examined(context, "training", train, **asked, against=test, other="test")
    dev: list[Item] = []
    if data.dev:
        dev = [item for source in data.dev for item in context.clips(source)]
        dev, _ = _examined(context, "dev", dev, **asked, against=train, other="training")
    elif data.dev_fraction:
        train, dev = hold_out(train, data.dev_fraction, data.hold_out_by, recipe.runtime.seed)
    if not train:
        raise DataError("no clips are left to train on; the data report says why")
    return train, dev, report


def _model_folder(context: StageContext) -> Path:
    model = context.recipe.model
    return resolve(model, announce=lambda message: context.emit(Notice(message=message))).path


def _test_clips(
    context: StageContext, folder: Path, named: Mapping[str, Sequence[Item]]
) -> list[Item]:
    """The clips that will be scored; without them a run would fail after its training."""
    recipe = context.recipe
    drawn = {
        source: choose(items, recipe.evaluate.limit, recipe.runtime.seed)
        for source, items in named.items()
    }
    together = [item for items in drawn.values() for item in items]
    # Scores must not depend on what is too long to train on, only on what fits one window.
    good, _ = _examined(context, "test", together, max_seconds=heard_at_once(folder))
    kept = {item.key for item in good}
    for source, items in drawn.items():
        if kept.isdisjoint(item.key for item in items):
            raise DataError(
                f"test set {source}: none of its {len(items)} clips can be used; fix it, or name "
                "another in data.test, and start a new run"
            )
    return good


def _examined(
    context: StageContext,
    what: str,
    items: list[Item],
    *,
    max_seconds: float,
    limit: TextLimit | None = None,
    against: Sequence[Item] = (),
    other: str = "",
    listed: bool = False,
) -> tuple[list[Item], DataReport]:
    """The usable ones of the `what` clips, and the report; `against` are the `other` clips.

    With `listed`, clips last as long as their list says, and are not decoded.
    """
    cache = AudioCache(context.audio_cache, context.say_once)
    report = examine(
        items,
        language=context.recipe.language,
        max_seconds=max_seconds,
        against=against,
        limit=limit,
        seconds=partial(cache.seconds, listed=listed),
        progress=context.progress("data", f"{what} clips examined"),
    )
    shared = {kind: report.count(kind) for kind in sorted(SHARED) if report.count(kind)}
    if shared:
        counts = ", ".join(f"{count} clips: {KINDS[kind]}" for kind, count in shared.items())
        context.emit(Notice(message=f"{what} and {other} data overlap ({counts})"))
    good = usable(items, report)
    if len(good) < len(items):
        _report_left_out(context, f"{len(items) - len(good)} of {len(items)} {what} clips", report)
    return good, report


def _report_left_out(context: StageContext, which: str, report: DataReport) -> None:
    """Report which clips are skipped. Raises `DataError` when the recipe says to stop instead."""
    lines = [f"{p.key}: {p.message}" for p in report.problems if p.kind in UNUSABLE]
    message = f"{which} cannot be used:\n" + "\n".join(lines[:_SHOWN_PROBLEMS])
    if context.recipe.data.on_problem == "stop":
        raise DataError(
            f"{message}\nrepair missing or damaged recordings and resume; or correct the list of "
            "clips, or set data.on_problem to skip, and start a new run"
        )
    context.emit(Notice(message=f"skipped: {message}"))
