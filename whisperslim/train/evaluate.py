"""Loss and word error rate of a model on a set, with everything that qualifies the figures."""

import math
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from whisperslim.core.loading import SpeechModel
from whisperslim.events import Evaluated
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.audio_cache import AudioCache
from whisperslim.speech.corpus.batching import Batch, evaluation_batches, make_batch
from whisperslim.speech.corpus.dataset import Item, manifest_hash
from whisperslim.speech.scoring.significance import bootstrap_interval, wer_interval
from whisperslim.speech.scoring.variants import (
    COLUMN,
    Places,
    VariantScore,
    read_variants,
    variant_score,
)
from whisperslim.speech.scoring.verdict import SetJudgement, judge_set
from whisperslim.speech.scoring.wer import Score, all_ways, score
from whisperslim.train.forward import decode_targets, encode_batch, targets_of


@dataclass(frozen=True)
class Heard:
    """What a model wrote of clips, before any of it is scored.

    Attributes:
        texts: Of each clip, in order.
        lost: Cross entropy, teacher-forced, summed over `tokens` target tokens, in nats.
        tokens: 0 where there is no loss.
        seconds, audio_seconds, left_out_of_loss: See `EvalResult`.
        decoding: How the texts are read off the model.
        batch_size: Clips decoded together.
    """

    texts: tuple[str, ...]
    lost: float
    tokens: int
    seconds: float
    audio_seconds: float
    decoding: str
    batch_size: int
    left_out_of_loss: tuple[str, ...] = ()

    @property
    def loss(self) -> float:
        """Per target token; NaN when there is none."""
        return self.lost / self.tokens if self.tokens else math.nan


@dataclass(frozen=True)
class EvalResult:
    """One model on one set.

    Attributes:
        data: Name of the set.
        n: Clips scored.
        scores: Normalizer name -> score.
        variants: Normalizer name -> score over accepted forms, where the data has them.
        loss: Cross entropy per target token, teacher-forced, nats; NaN when there is none.
        seconds: Wall time of all of it, features and loss included; no latency.
        audio_seconds: Length of the recordings.
        window, decoding, language, manifest_sha256: What the figures depend on.
        keys, references, hypotheses: Row by row.
        left_out_of_loss: Keys of clips whose text takes more positions than the model has: they
            count in every score but the loss.
    """

    data: str
    n: int
    scores: dict[str, Score]
    loss: float
    seconds: float
    audio_seconds: float
    window: str
    decoding: str
    language: str
    manifest_sha256: str
    batch_size: int
    keys: tuple[str, ...] = field(repr=False)
    references: tuple[str, ...] = field(repr=False)
    hypotheses: tuple[str, ...] = field(repr=False)
    left_out_of_loss: tuple[str, ...] = ()
    variants: dict[str, VariantScore] = field(default_factory=dict)

    @property
    def headline(self) -> Score:
        """The score in the language's own normalizer, which comes last."""
        return list(self.scores.values())[-1]

    @cached_property
    def judged(self) -> SetJudgement:
        """Scripts and loops of the texts, and their score after transliteration."""
        return judge_set(self.references, self.hypotheses, self.language)

    @property
    def loss_note(self) -> str:
        """What the loss is without, as a sentence; empty when it is of every clip."""
        left_out = len(self.left_out_of_loss)
        return loss_note(left_out, self.n) if left_out else ""

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON, rows left out, an interval with every WER.

        `loss` is None when there is none. `left_out_of_loss` is there when it names a clip.
        """
        scores = {}
        for name, each in self.scores.items():
            interval = wer_interval(each)
            scores[name] = {
                **each.to_record(),
                "wer_interval_95": [interval.low, interval.high],
            }
            if name in self.variants:
                scores[name]["oiwer"] = _variants_record(self.variants[name])
        names = ("data", "n", "seconds", "audio_seconds", "window", "decoding", "language",
                 "manifest_sha256", "batch_size")  # fmt: skip
        record = {**{name: getattr(self, name) for name in names}, "loss": self._finite_loss()}
        if self.left_out_of_loss:
            record["left_out_of_loss"] = list(self.left_out_of_loss)
        return {**record, "scores": scores, "judged": self.judged.to_record()}

    def event(self, stage: str, label: str, step: int = 0) -> Evaluated:
        """The headline's figures for a run's log."""
        score = self.headline
        return Evaluated(
            stage=stage, label=label, data=self.data, step=step, n=self.n,
            loss=self._finite_loss(), wer=score.wer, cer=score.cer, normalizer=score.normalizer,
            window=self.window,
        )  # fmt: skip

    def rows(self) -> str:
        """Tab-separated key, reference, hypothesis, with a header."""
        lines = ["key\treference\thypothesis"]
        for row in zip(self.keys, self.references, self.hypotheses, strict=True):
            lines.append("\t".join(" ".join(cell.split()) for cell in row))
        return "\n".join(lines) + "\n"

    def _finite_loss(self) -> float | None:
        # A model whose logits are NaN has no loss, and JSON has no NaN.
        return self.loss if math.isfinite(self.loss) else None


def loss_note(left_out: int, n: int) -> str:
    """That the loss is without so many of `n` clips, as a sentence."""
    return (
        f"the loss is without {left_out} of {n} clips, whose texts take more tokens than the model "
        "has positions for; error rates are over all clips"
    )


def _variants_record(score: VariantScore) -> dict[str, Any]:
    errors, words = zip(*score.utterances, strict=True)
    interval = bootstrap_interval(errors, words)
    return {**score.to_record(), "wer_interval_95": [interval.low, interval.high]}


def accepted_forms(items: Sequence[Item]) -> list[Places | None]:
    """Of each clip, from the column `variations`; None where it has none.

    Raises `DataError` when that column is not as it should be.
    """
    return [read_variants(dict(item.columns).get(COLUMN, ""), item.key) for item in items]


def all_scores(
    items: Sequence[Item], texts: Sequence[str], language: str, more: Sequence[str] = ()
) -> tuple[dict[str, Score], dict[str, VariantScore]]:
    """Scores of a set under each of `all_ways`, and those over accepted forms.

    The second are there when a clip has the column `variations`. Raises `DataError` when no clip
    has a word in its reference, or when that column is not as it should be.
    """
    ways, references = all_ways(language, more), [item.text for item in items]
    scores = {each.name: score(references, texts, each) for each in ways}
    forms = accepted_forms(items)
    if all(places is None for places in forms):
        return scores, {}
    return scores, {each.name: variant_score(references, forms, texts, each) for each in ways}


def evaluate(
    speech: SpeechModel,
    items: Sequence[Item],
    *,
    data: str,
    language: str,
    policy: WindowPolicy,
    cache_folder: Path,
    batch_size: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
    announce: Callable[[str], None] = lambda message: None,
) -> EvalResult:
    """Transcribe and score `items`; see `hear` and `scored`."""
    heard = hear(
        speech, items, language=language, policy=policy, cache_folder=cache_folder,
        batch_size=batch_size, progress=progress, announce=announce,
    )  # fmt: skip
    return scored(heard, items, data=data, language=language, policy=policy)


def scored(
    heard: Heard,
    items: Sequence[Item],
    *,
    data: str,
    language: str,
    policy: WindowPolicy,
    normalizers: Sequence[str] = (),
) -> EvalResult:
    """Score what was heard of `items`, also by the named normalizers. Raises as `all_scores`."""
    scores, variants = all_scores(items, heard.texts, language, normalizers)
    return EvalResult(
        data=data,
        n=len(items),
        scores=scores,
        loss=heard.loss,
        seconds=heard.seconds,
        audio_seconds=heard.audio_seconds,
        window=policy.describe(),
        decoding=heard.decoding,
        language=language,
        manifest_sha256=manifest_hash(items),
        batch_size=heard.batch_size,
        keys=tuple(item.key for item in items),
        references=tuple(item.text for item in items),
        hypotheses=heard.texts,
        left_out_of_loss=heard.left_out_of_loss,
        variants=variants,
    )


def hear(
    speech: SpeechModel,
    items: Sequence[Item],
    *,
    language: str,
    policy: WindowPolicy,
    cache_folder: Path,
    batch_size: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
    announce: Callable[[str], None] = lambda message: None,
) -> Heard:
    """Transcribe `items`. A clip's text does not depend on the others or the batch.

    A text that the model has too few positions for is left out of the loss.
    """
    cache = AudioCache(cache_folder, announce)
    durations = cache.durations(items)
    texts: dict[str, str] = {}
    left_out = _too_long(speech, items, durations, language)
    lost, counted, started = 0.0, 0, time.perf_counter()
    spec = speech.input_spec
    for indices in evaluation_batches(items, durations, policy, batch_size, spec.max_frames):
        chosen = [items[i] for i in indices]
        audios = [cache.load(item) for item in chosen]
        batch = make_batch(chosen, audios, policy, input_spec=spec)
        hypotheses, loss, tokens = _one_batch(speech, batch, language, set(left_out))
        texts.update(zip(batch.keys, hypotheses, strict=True))
        lost, counted = lost + loss, counted + tokens
        progress(len(texts), len(items))
    seconds = time.perf_counter() - started
    return Heard(
        texts=tuple(texts[item.key] for item in items),
        lost=lost,
        tokens=counted,
        seconds=seconds,
        audio_seconds=sum(durations),
        decoding=speech.family.describe_decoding(),
        batch_size=batch_size,
        left_out_of_loss=left_out,
    )


def _too_long(
    speech: SpeechModel, items: Sequence[Item], durations: Sequence[float], language: str
) -> tuple[str, ...]:
    """Keys of the clips whose texts are longer than the model can be trained on."""
    family = speech.family
    limits = [family.text_limit(speech.model, seconds) for seconds in durations]
    return tuple(
        item.key
        for item, most in zip(items, limits, strict=True)
        if most is not None and family.text_length(speech.tokens, item.text, language) > most
    )


@torch.no_grad()
def _one_batch(
    speech: SpeechModel, batch: Batch, language: str, left_out: Set[str]
) -> tuple[list[str], float, int]:
    """What was heard, the loss summed over target tokens, and how many these are."""
    states = encode_batch(speech, batch)
    loss, tokens = _summed_loss(speech, batch, states, language, left_out)
    written = speech.family.decode(speech.model, speech.tokens, states, batch.seconds, language)
    return [speech.tokens.decode(row.ids) for row in written], loss, tokens


def _summed_loss(
    speech: SpeechModel, batch: Batch, states: torch.Tensor, language: str, left_out: Set[str]
) -> tuple[float, int]:
    places = [place for place, key in enumerate(batch.keys) if key not in left_out]
    if not places:
        return 0.0, 0
    part = replace(
        batch,
        texts=tuple(batch.texts[place] for place in places),
        keys=tuple(batch.keys[place] for place in places),
        seconds=tuple(batch.seconds[place] for place in places),
    )  # the states are given, so its features are not used
    targets = targets_of(speech, part, language)
    outputs = decode_targets(speech, states[places], targets)
    return float(outputs.cross_entropy) * len(outputs.targets), len(outputs.targets)
