"""Scores that do not have to be measured again: same weights, same clips, same options."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from whisperslim.core.disk.untrusted import read_json, typed
from whisperslim.jobs.scoring.texts import texts_of
from whisperslim.jobs.stages.context import StageContext
from whisperslim.speech.corpus.dataset import Item, manifest_hash
from whisperslim.train.evaluate import EvalResult, all_scores


def stored_results(
    context: StageContext,
    label: str,
    weights_sha256: str,
    decoding: str,
    sets: Mapping[str, Sequence[Item]],
) -> dict[str, EvalResult] | None:
    """What an earlier attempt, or the run this one was derived from, stored under eval/.

    The stored texts are compared again, so scores are those of the current normalizers. Seconds are
    as measured then. `decoding` is how texts are read off the model now. None when anything that
    the figures depend on differs, or when files are incomplete: then measure again.
    """
    path = context.run.eval_path(label)
    try:
        record: dict[str, Any] = typed(read_json(path), dict)
        texts = texts_of(path.with_suffix(".tsv"))
        return _reused(context, record, texts, weights_sha256, decoding, sets)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _reused(
    context: StageContext,
    record: Mapping[str, Any],
    texts: Sequence[tuple[str, str, str]],
    weights_sha256: str,
    decoding: str,
    sets: Mapping[str, Sequence[Item]],
) -> dict[str, EvalResult] | None:
    same = record["weights_sha256"] == weights_sha256 and record["device"] == context.device
    if not same or list(record["sets"]) != list(sets):
        return None
    stored = record["sets"]
    if not all(_same_way(context, stored[name], decoding, items) for name, items in sets.items()):
        return None
    keys = [" ".join(item.key.split()) for items in sets.values() for item in items]
    if [key for key, _, _ in texts] != keys:
        return None
    heard = iter([hypothesis for _, _, hypothesis in texts])
    return {
        name: _result(context, record["sets"][name], items, [next(heard) for _ in items])
        for name, items in sets.items()
    }


def _same_way(
    context: StageContext, stored: Mapping[str, Any], decoding: str, items: Sequence[Item]
) -> bool:
    return (
        stored["manifest_sha256"] == manifest_hash(items)
        and stored["window"] == context.window.describe()
        and stored["decoding"] == decoding
    )


def _result(
    context: StageContext, stored: Mapping[str, Any], items: Sequence[Item], heard: list[str]
) -> EvalResult:
    references, language = [item.text for item in items], context.recipe.language
    names = ("data", "n", "seconds", "audio_seconds", "window", "decoding",
             "manifest_sha256", "batch_size")  # fmt: skip
    scores, variants = all_scores(items, heard, language)
    return EvalResult(
        **{name: stored[name] for name in names},
        loss=math.nan if stored["loss"] is None else stored["loss"],
        language=language,
        scores=scores,
        variants=variants,
        keys=tuple(item.key for item in items),
        references=tuple(references),
        hypotheses=tuple(heard),
        left_out_of_loss=tuple(stored.get("left_out_of_loss", ())),
    )
