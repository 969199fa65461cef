"""Training jobs on the tiny model, for the tests of methods, loop and checkpoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from transformers import WhisperForConditionalGeneration

from tests.support.models.inputs import WHISPERS
from tests.support.tiny import tiny_corpus, tiny_model_folder
from whisperslim import methods
from whisperslim.core.families import family_of
from whisperslim.core.families.flavours.attention_decoder import make_targets
from whisperslim.core.families.whisper.tokens import load_tokens
from whisperslim.core.loading import SpeechModel
from whisperslim.core.plan.plan import PruningPlan, ZeroRule
from whisperslim.core.store.checkpoint import SlimRecord, count_parameters, describe_cut, load_dense
from whisperslim.core.surgery.shrink import cut
from whisperslim.events import Event, StepDone
from whisperslim.inputs import InputSpec
from whisperslim.methods.base import CompressionMethod, Target
from whisperslim.methods.plain import Plain, PlainOptions
from whisperslim.speech.audio.augment import AugmentOptions
from whisperslim.speech.audio.window import WindowPolicy
from whisperslim.speech.corpus.batching import Batch
from whisperslim.speech.corpus.dataset import load_items
from whisperslim.train.batches import BatchSource
from whisperslim.train.forward import decode_targets, encode_batch
from whisperslim.train.loop import Job, fit
from whisperslim.train.options import TrainOptions

TARGET = Target(removed=0.4, zeroed=0.2)


def supply(
    folder: Path, spec: InputSpec, batch_size: int = 4, augment: AugmentOptions | None = None
) -> BatchSource:
    """The clips of `corpus` in a folder, as a model that takes `spec` is given them."""
    return BatchSource(
        load_items(str(folder / "corpus")), folder / "cache", WindowPolicy(), batch_size=batch_size,
        augment=augment or AugmentOptions(), seed=7, input_spec=spec,
    )  # fmt: skip


@dataclass(frozen=True)
class Workshop:
    """A folder with a tiny model, a tiny corpus and the corpus's decoded clips."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def student(self) -> SpeechModel:
        """The tiny model, loaded afresh."""
        model = load_dense(self.model)
        info = cast(Any, None)
        return SpeechModel(
            "tiny", self.model, model, load_tokens(self.model), family_of(model), info
        )

    def batches(self, batch_size: int = 4, augment: AugmentOptions | None = None) -> BatchSource:
        return supply(self.folder, WHISPERS, batch_size, augment)

    def job(self, checkpoints: Path, method: CompressionMethod, **changes: Any) -> Job:
        """A job with a fresh student and supply; `changes` are fields of `Job` or its options."""
        own = {name: changes.pop(name) for name in tuple(changes) if name in Job.__annotations__}
        return Job(
            **{
                "stage": "tune",
                "student": self.student(),
                "method": method,
                "batches": self.batches(),
                "options": quick(**changes),
                "checkpoints": checkpoints,
                "language": "hi",
                **own,
            }
        )


def make_workshop(folder: Path) -> Workshop:
    tiny_model_folder(folder / "model")
    tiny_corpus(folder / "corpus", clips=8)
    return Workshop(folder)


def quick(**changes: Any) -> TrainOptions:
    """Ten steps at a rate that moves random weights; nothing evaluated, stored at the end."""
    usual: dict[str, Any] = {
        "steps": 10, "batch_size": 4, "learning_rate": 3e-3, "warmup_steps": 0,
        "schedule": "constant", "evaluate_every": 0, "checkpoint_every": 1000, "report_every": 1,
    }  # fmt: skip
    return TrainOptions(**{**usual, **changes})


def build(name: str, options: Any, target: Target = TARGET) -> CompressionMethod:
    return methods.get(name).build(options, target)


def run(job: Job) -> list[Event]:
    """All events of a job, with dropout as its options say."""
    torch.manual_seed(11)
    job.student.family.set_dropout(job.student.model, job.options.dropout)
    return list(fit(job))


def stop_before(step: int) -> Callable[[], bool]:
    """A stop request that comes when `step` steps are done: the loop asks once before each."""
    asked = iter(range(step + 1))
    return lambda: next(asked) == step


def one_batch(shop: Workshop, size: int = 4) -> Batch:
    return shop.batches(size).draw()


def cross_entropy(speech: SpeechModel, batch: Batch) -> torch.Tensor:
    """Teacher-forced loss of a batch, with gradient."""
    targets = make_targets(speech.tokens, batch.texts, batch.keys, "hi", 128)
    return decode_targets(speech, encode_batch(speech, batch), targets).cross_entropy


def logits(speech: SpeechModel, batch: Batch) -> torch.Tensor:
    """Teacher-forced logits at the target tokens, `(tokens, vocabulary)`."""
    targets = make_targets(speech.tokens, batch.texts, batch.keys, "hi", 128)
    with torch.no_grad():
        return decode_targets(speech, encode_batch(speech, batch), targets).logits


def weights(speech: SpeechModel) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in speech.model.named_parameters()}


def same(first: Any, second: Any) -> bool:
    """Equal to the bit, through dicts, lists and tensors."""
    if isinstance(first, torch.Tensor):
        return (
            isinstance(second, torch.Tensor)
            and first.dtype == second.dtype
            and torch.equal(first, second)
        )
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def drop_some(speech: SpeechModel, share: float = 0.5, seed: int = 3) -> PruningPlan:
    """A random plan that leaves every group another number of units."""
    generator = torch.Generator().manual_seed(seed)
    keep = {}
    for index, group in enumerate(speech.groups()):
        stay = max(1, min(group.count, round(group.count * (1 - share)) + index % 3 - 1))
        keep[group.key] = tuple(
            sorted(torch.randperm(group.count, generator=generator)[:stay].tolist())
        )
    return PruningPlan(keep)


def plain() -> Plain:
    """Plain tuning, which presses nothing."""
    return Plain(PlainOptions(), Target(0.0, 0.0))


def steps_of(seen: Sequence[Event]) -> list[StepDone]:
    """The reported steps among `seen`."""
    return [event for event in seen if isinstance(event, StepDone)]


def slimmed(shop: Workshop) -> tuple[SpeechModel, SlimRecord]:
    """A cut model with zeros, and its record."""
    speech = shop.student()
    groups, dense = speech.groups(), count_parameters(speech.model)
    plan = drop_some(speech)
    plan = replace(
        plan, zero={"model.encoder.layers.0.fc2.weight": ZeroRule(0.0, 0.1)}, removed=0.5
    )
    record = describe_cut("base", groups, dense, plan, "hi")
    cut(speech.model, groups, plan)
    return speech, record


def parameters(model: WhisperForConditionalGeneration) -> dict[str, torch.Tensor]:
    """Every parameter by name, without its gradient."""
    return {name: p.detach() for name, p in model.named_parameters()}
