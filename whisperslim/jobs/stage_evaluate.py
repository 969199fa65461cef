"""The last stage: dense and slim on the test sets, and whether they differ."""

import json
from dataclasses import asdict
from typing import Any

from whisperslim.core.files import write_text_atomically
from whisperslim.core.loading import SpeechModel
from whisperslim.events import Notice
from whisperslim.jobs.evaluation import choose
from whisperslim.jobs.stage_context import StageContext, load_all
from whisperslim.speech.significance import compare
from whisperslim.train.evaluate import EvalResult


def evaluate_all(context: StageContext) -> bool:
    """Score the dense and the slim model on every test source; write eval/*.json and *.tsv."""
    sources = context.recipe.data.test
    if not sources:
        context.emit(Notice(message="no test data named: the slim model's WER was not measured"))
        return True
    dense = _score(context, "dense", context.load(context.recipe.model), sources)
    slim = _score(context, "slim", context.load(str(context.run.slim_path)), sources)
    differences = {
        source: {
            name: asdict(compare(dense[source].scores[name], slim[source].scores[name]))
            for name in dense[source].scores
        }
        for source in sources
    }
    text = json.dumps(differences, ensure_ascii=False, indent=1)
    write_text_atomically(context.run.path / "eval" / "difference.json", text)
    return True


def _score(
    context: StageContext, label: str, speech: SpeechModel, sources: tuple[str, ...]
) -> dict[str, EvalResult]:
    recipe, results = context.recipe, {}
    for source in sources:
        items = choose(load_all(source), recipe.evaluate.limit, recipe.runtime.seed)
        results[source] = context.evaluate("evaluate", label, speech, items, source)
        context.emit(results[source].event("evaluate", label))
    _write(context, label, speech, results)
    return results


def _write(
    context: StageContext, label: str, speech: SpeechModel, results: dict[str, EvalResult]
) -> None:
    record: dict[str, Any] = {
        "model": speech.name,
        "label": label,
        "weights_sha256": speech.info.weights_sha256,
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
