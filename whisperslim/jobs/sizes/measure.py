"""One finished run measured: size, operations, error rates with interval, time per clip."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from whisperslim.core.cost.cost import cost_of
from whisperslim.core.cost.flops import WORKLOADS
from whisperslim.core.disk.files import write_text_atomically
from whisperslim.core.families import Family
from whisperslim.engines.timing.latency import LATENCY_NOTE, Latency, measure_latency
from whisperslim.engines.torch_engine import TorchTranscriber
from whisperslim.errors import RunError, UsageError
from whisperslim.jobs.run.environment import describe
from whisperslim.jobs.run.folder import RunDir
from whisperslim.jobs.scoring.evaluation import choose
from whisperslim.jobs.scoring.texts import texts_of
from whisperslim.jobs.sizes.curve import SweepPoint
from whisperslim.jobs.stages.context import StageContext
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.dataset import Item
from whisperslim.speech.scoring.significance import Interval, wer_interval
from whisperslim.speech.scoring.wer import Score, score_all_ways

# Our choice: enough clips that one long transcript does not dominate, few enough for a slow
# machine.
LATENCY_CLIPS = 8
LATENCY_PASSES = 3


@dataclass(frozen=True)
class Measured:
    """The figures of one slim folder; `removed` and `zeroed` are shares of the dense model's
    prunable weights, `machine` says where `latency` was measured."""

    removed: float
    zeroed: float
    parameters: int
    bytes: int
    flops: int
    score: Score
    interval: Interval
    latency: Latency
    machine: Mapping[str, Any]


def measure(context: StageContext) -> Measured:
    """Measure the slim model of a run whose stages are done.

    Error rates are of the test sets together, as stage `evaluate` wrote them; without test sets
    the slim model transcribes the dev set here, once.

    Raises:
        UsageError: the run has neither test nor dev set.
        RunError, CheckpointError: files of the run are missing or damaged.
    """
    cost = cost_of(context.run.slim_path, workloads=WORKLOADS[:1])
    score = _score(context)
    return Measured(
        removed=cost.removed_weights / cost.prunable,
        zeroed=cost.zeroed / cost.prunable,
        parameters=cost.parameters,
        bytes=cost.bytes_on_disk,
        flops=cost.workloads[0].flops,
        score=score,
        interval=wer_interval(score),
        latency=take_time(context),
        machine=machine(context.device),
    )


def point_of(run: RunDir, target: float, figures: Measured) -> SweepPoint:
    """The figures of a run as a point of a curve, where it stands at `target`."""
    return SweepPoint(
        target=target,
        removed=figures.removed,
        zeroed=figures.zeroed,
        parameters=figures.parameters,
        bytes=figures.bytes,
        flops=figures.flops,
        latency_seconds=figures.latency.seconds,
        wer=figures.score.wer,
        wer_low=figures.interval.low,
        wer_high=figures.interval.high,
        cer=figures.score.cer,
        n=figures.score.n,
        run=run.name,
        machine={**figures.machine, "passes": list(figures.latency.passes)},
    )


def conditions(context: StageContext, family: Family) -> dict[str, Any]:
    """How the figures of a run are taken, for a curve's provenance."""
    return {
        "language": context.recipe.language,
        "seed": context.recipe.runtime.seed,
        "export_dtype": context.recipe.export.dtype,
        "decoding": family.describe_decoding(),
        "interval": "95 % percentile bootstrap over clips",
        "flops": WORKLOADS[0].describe(),
        "latency": {
            "engine": "PyTorch, float32",
            "what": LATENCY_NOTE,
            "clips": [item.key for item in latency_clips(context)],
            "passes": LATENCY_PASSES,
            "window": context.window.describe(),
        },
    }


def take_time(context: StageContext) -> Latency:
    """Time per clip of the run's slim model on its fixed clips, in PyTorch."""
    engine = TorchTranscriber(context.load(str(context.run.slim_path)), context.window)
    cache = AudioCache(context.audio_cache)
    recordings = [cache.load(item) for item in latency_clips(context)]
    return measure_latency(engine, recordings, context.recipe.language, LATENCY_PASSES)


def latency_clips(context: StageContext) -> list[Item]:
    """The clips whose transcription is timed: from the dev set, else from other sets."""
    items = context.chosen("dev") or context.chosen("test") or context.chosen("train")
    return choose(items, LATENCY_CLIPS, context.recipe.runtime.seed)


def machine(device: str) -> dict[str, Any]:
    """What a time depends on besides the model."""
    facts = describe()
    names = ("cpu", "cores", "gpu", "platform", "python", "whisperslim", "commit")
    return {
        **{name: facts[name] for name in names},
        "device": device,
        "threads": torch.get_num_threads(),
        "torch": facts["packages"]["torch"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def same_machine(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether times measured there and here are comparable."""
    names = ("cpu", "cores", "gpu", "device", "threads", "torch")
    return all(first.get(name) == second.get(name) for name in names)


def data_name(context: StageContext) -> str:
    """The data set of the error rates, as text. Raises `UsageError` when there is none."""
    recipe = context.recipe
    if recipe.data.test:
        limit = f", at most {recipe.evaluate.limit} clips each" * bool(recipe.evaluate.limit)
        return " + ".join(recipe.data.test) + limit
    if not context.chosen("dev"):
        raise UsageError(
            f"the run {context.run.name} has neither test nor dev set, so no error rate can be "
            "measured; name data.test in a new run"
        )
    return "dev set, which training was steered by; no test set was named"


def _score(context: StageContext) -> Score:
    """Over all clips of all sets together: rates are errors over words, so sets are pooled."""
    path = context.run.eval_path("slim")
    if not context.recipe.data.test:
        path = context.run.eval_path("slim-dev")
        if not path.is_file():
            _evaluate_dev(context, path)
    references, hypotheses = _texts(path.with_suffix(".tsv"))
    scores = score_all_ways(references, hypotheses, context.recipe.language)
    return list(scores.values())[-1]


def _evaluate_dev(context: StageContext, path: Path) -> None:
    speech = context.load(str(context.run.slim_path))
    result = context.evaluate("evaluate", "slim", speech, context.chosen("dev"), "dev")
    context.emit(result.event("evaluate", "slim"))
    record = {"label": "slim", "model": speech.name, "weights_sha256": speech.info.weights_sha256}
    text = json.dumps({**record, "sets": {"dev": result.to_record()}}, ensure_ascii=False, indent=1)
    write_text_atomically(path.with_suffix(".tsv"), result.rows())
    write_text_atomically(path, text)


def _texts(path: Path) -> tuple[list[str], list[str]]:
    try:
        rows = texts_of(path)
        return [reference for _, reference, _ in rows], [hypothesis for _, _, hypothesis in rows]
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} is missing or damaged ({error}); delete stages/evaluate.done of the run and "
            "resume it to score again"
        ) from error
