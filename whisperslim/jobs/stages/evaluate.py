"""The last stage: dense and slim on the test sets, and whether they differ."""

import json
from dataclasses import asdict
from typing import Any

from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.fetch.sources import resolve
from whisperslim.core.loading import SpeechModel
from whisperslim.core.store.checkpoint import family_in
from whisperslim.events import Notice
from whisperslim.jobs.scoring.evaluation import choose
from whisperslim.jobs.scoring.origin import is_untuned
from whisperslim.jobs.scoring.stored import stored_results
from whisperslim.jobs.stages.context import StageContext
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.scoring.significance import compare
from whisperslim.train.evaluate import EvalResult


def evaluate_all(context: StageContext) -> bool:
    """Score the dense and the slim model on every test source; write eval/*.json and *.tsv."""
    recipe = context.recipe
    if not recipe.data.test:
        context.emit(Notice(message="no test data is named: the slim model's WER was not measured"))
        return True
    sets = {
        source: choose(items, recipe.evaluate.limit, recipe.runtime.seed)
        for source, items in context.test_sets().items()
    }
    dense = _score_dense(context, sets)
    slim = _score(context, "slim", context.load(str(context.run.slim_path)), sets)
    differences = {
        source: {
            name: asdict(compare(dense[source].scores[name], slim[source].scores[name]))
            for name in dense[source].scores
        }
        for source in sets
    }
    text = json.dumps(differences, ensure_ascii=False, indent=1)
    write_text_atomically(context.run.path / "eval" / "difference.json", text)
    return True


def _score_dense(context: StageContext, sets: dict[str, list[Item]]) -> dict[str, EvalResult]:
    """The dense model is the same in every run derived from one, so it is scored once.

    Untuned, Whisper also writes Hindi in other scripts: what it recognizes only shows in its own.
    """
    name = context.dense
    found = resolve(name, announce=lambda message: context.emit(Notice(message=message)))
    family, held = family_in(found.path), is_untuned(name)
    decoding = (family.in_own_script() if held else family).describe_decoding()
    stored = stored_results(context, "dense", found.weights_sha256, decoding, sets)
    if stored is None:
        speech = context.load(name)
        return _score(context, "dense", speech.in_own_script() if held else speech, sets)
    context.emit(Notice(message="the dense model's scores are those of an earlier evaluation"))
    for result in stored.values():
        context.emit(result.event("evaluate", "dense"))
    return stored


def _score(
    context: StageContext, label: str, speech: SpeechModel, sets: dict[str, list[Item]]
) -> dict[str, EvalResult]:
    results = {}
    for source, items in sets.items():
        results[source] = context.evaluate("evaluate", label, speech, items, source)
        context.emit(results[source].event("evaluate", label))
        if note := results[source].loss_note:
            context.emit(Notice(message=f"{label} on {source}: {note}"))
    _write(context, label, speech, results)
    return results


def _write(
    context: StageContext, label: str, speech: SpeechModel, results: dict[str, EvalResult]
) -> None:
    record: dict[str, Any] = {
        "model": speech.name,
        "label": label,
        "weights_sha256": speech.info.weights_sha256,
        "tokens": int(speech.model.config.vocab_size),
        "device": context.device,
        "seed": context.recipe.runtime.seed,
        "sets": {source: result.to_record() for source, result in results.items()},
    }
    path = context.run.eval_path(label)
    write_text_atomically(path, json.dumps(record, ensure_ascii=False, indent=1))
    rows = [result.rows() for result in results.values()]
    header = rows[0].split("\n", 1)[0]
    body = "".join(text.split("\n", 1)[1] for text in rows)
    write_text_atomically(path.with_suffix(".tsv"), f"{header}\n{body}")
