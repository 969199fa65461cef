"""Learning from a teacher: its output distribution, and its hidden states layer by layer.

The distribution after Hinton et al., arXiv 1503.02531; the layers in `layer_distill`.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional as F

from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.loading import SpeechModel
from whisperslim.core.trimming import with_vocabulary_of
from whisperslim.errors import UsageError
from whisperslim.methods.base import LossTerms
from whisperslim.speech.corpus.batching import Batch
from whisperslim.train.forward import decode_targets, encode_batch
from whisperslim.train.layer_distill import (
    LayerWatch,
    SharedMap,
    evenly_spaced,
    hidden_loss,
    match_layers,
)
from whisperslim.train.options import DistillOptions


class Guidance(Protocol):
    """What the loop asks of a teacher, or of its absence."""

    def param_groups(self) -> list[dict[str, Any]]:
        """Optimizer groups for what is trained besides the student."""
        ...

    def parts(self) -> Mapping[str, Any]:
        """Name -> object with `state_dict` that a checkpoint must hold."""
        ...

    def watching(self) -> AbstractContextManager[None]:
        """To be open around the student's forward pass."""
        ...

    def terms(
        self, batch: Batch, targets: Any, states: torch.Tensor, outputs: StepOutputs
    ) -> LossTerms:
        """Loss terms after that pass; `states` are the student's encoder states."""
        ...


class NoTeacher:
    """Nothing to learn from but the data."""

    def param_groups(self) -> list[dict[str, Any]]:
        return []

    def parts(self) -> Mapping[str, Any]:
        return {}

    def watching(self) -> AbstractContextManager[None]:
        return nullcontext()

    def terms(
        self, batch: Batch, targets: Any, states: torch.Tensor, outputs: StepOutputs
    ) -> LossTerms:
        return {}


class Teacher:
    """A frozen dense model whose distribution, and hidden states if asked, the student should keep.

    A teacher with more tokens than the student loses the others' rows: its logits over the tokens
    both have stay what they were, and its distribution is over those alone. Our choice: what it
    gave to tokens the student cannot write is distributed in proportion.

    Raises:
        UsageError: when the teacher lacks a token of the student's, is of another family, or its
            width is another.
    """

    def __init__(self, teacher: SpeechModel, student: SpeechModel, options: DistillOptions) -> None:
        _check_alike(teacher, student)
        teacher = with_vocabulary_of(teacher, student)
        self._teacher, self._student, self._options = teacher, student, options
        teacher.model.requires_grad_(False)
        teacher.model.eval()
        # Found at the first batch: by then the student has its checkpoint's weights.
        self._same: bool | None = None
        self._hidden = options.hidden_weight > 0
        self._ours, self._theirs = _watched(student, options), _watched(teacher, options)
        self._map: SharedMap | None = None
        if self._hidden and options.hidden_map:
            self._map = SharedMap(student.family.width(student.model), student.device)

    def param_groups(self) -> list[dict[str, Any]]:
        """The shared map, at the weights' own rate, when there is one."""
        if self._map is None:
            return []
        return [{"params": list(self._map.parameters()), "weight_decay": 0.0}]

    def parts(self) -> Mapping[str, Any]:
        """The shared map, when there is one."""
        return {} if self._map is None else {"hidden_map": self._map}

    def watching(self) -> AbstractContextManager[None]:
        """Keeps the student's hidden states, when they count."""
        return self._ours.watching() if self._hidden else nullcontext()

    def terms(
        self, batch: Batch, targets: Any, states: torch.Tensor, outputs: StepOutputs
    ) -> LossTerms:
        """`distillation`, and `hidden_encoder` and `hidden_decoder` when hidden states count.

        There is no `hidden_encoder` when the encoder is shared: nothing differs there.
        """
        with self._theirs.watching() if self._hidden else nullcontext():
            logits = self.logits(batch, targets, states.detach())
        terms = {"distillation": self.loss(outputs, logits)}
        if self._hidden:
            for stack, kept in self._theirs.layers.outputs.items():
                if kept:
                    terms[f"hidden_{stack}"] = self._hidden_term(stack, targets)
            self._ours.forget()
            self._theirs.forget()
        return terms

    @torch.no_grad()
    def logits(self, batch: Batch, targets: Any, student_states: torch.Tensor) -> torch.Tensor:
        """The teacher's logits at the places that count, `(places, vocabulary)`."""
        states = student_states if self._shared() else encode_batch(self._teacher, batch)
        return decode_targets(self._teacher, states, targets).logits

    def _shared(self) -> bool:
        """As `shares_encoder`, with the weights compared once: no method writes to frozen ones."""
        if not _computes_plainly(self._student):
            return False
        if self._same is None:
            self._same = _same_weights(self._teacher, self._student)
        return self._same

    def loss(self, outputs: StepOutputs, logits: torch.Tensor) -> torch.Tensor:
        """`weight * T^2 * KL(teacher || student)`, mean over the logits, both softened by T."""
        temperature = self._options.temperature
        wanted = F.log_softmax(logits / temperature, -1)
        found = F.log_softmax(outputs.logits / temperature, -1)
        divergence = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
        return self._options.weight * temperature**2 * divergence

    def _hidden_term(self, stack: str, targets: Any) -> torch.Tensor:
        """`hidden_weight` times the mean over pairs of layers, the last norms being one more pair.

        0 when no layer is left and no norm is compared.
        """
        wanted, found = self._theirs.layers.outputs[stack], self._ours.layers.outputs[stack]
        chosen = evenly_spaced(len(wanted), self._options.hidden_layers)
        surviving = self._ours.layers.surviving(stack)
        matches = match_layers(chosen, len(wanted), len(found), surviving)
        pairs = [(found[own], wanted[layer]) for layer, own in matches]
        if stack in self._theirs.norms.outputs:
            pairs.append((self._ours.norms.outputs[stack][0], self._theirs.norms.outputs[stack][0]))
        losses = [self._distance(stack, targets, *pair) for pair in pairs]
        if not losses:
            return torch.zeros((), device=self._student.device)
        return self._options.hidden_weight * torch.stack(losses).mean()

    def _distance(
        self, stack: str, targets: Any, found: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        counted = self._student.family.counted_states
        own = counted(stack, found, targets)
        mapped = own if self._map is None else self._map(own)
        return hidden_loss(self._options.hidden_loss, mapped, counted(stack, wanted, targets))


@dataclass(frozen=True)
class _Watched:
    """A model's layers, and the norms behind them where these count."""

    layers: LayerWatch
    norms: LayerWatch

    @contextmanager
    def watching(self) -> Iterator[None]:
        with self.layers.watching(), self.norms.watching():
            yield

    def forget(self) -> None:
        self.layers.forget()
        self.norms.forget()


def _watched(speech: SpeechModel, options: DistillOptions) -> _Watched:
    model, family = speech.model, speech.family
    norms = family.final_norms(model) if options.hidden_final else {}
    return _Watched(
        LayerWatch(family.layers(model)),
        LayerWatch({stack: (norm,) for stack, norm in norms.items()}),
    )


def shares_encoder(teacher: SpeechModel, student: SpeechModel) -> bool:
    """Whether the student's encoder states are the teacher's at this moment.

    They are when its encoder is frozen, holds the same weights, drops nothing at random and has no
    hook in it. A hook may do nothing, but that shows only when it is called.
    """
    return _computes_plainly(student) and _same_weights(teacher, student)


def _computes_plainly(student: SpeechModel) -> bool:
    encoder = student.family.encoder(student.model)
    return not any(parameter.requires_grad for parameter in encoder.parameters()) and not any(
        _is_random(module) or _is_hooked(module) for module in encoder.modules()
    )


def _same_weights(teacher: SpeechModel, student: SpeechModel) -> bool:
    mine = dict(student.family.encoder(student.model).named_parameters())
    dense = dict(teacher.family.encoder(teacher.model).named_parameters())
    return mine.keys() == dense.keys() and all(
        parameter.shape == dense[name].shape and torch.equal(parameter, dense[name])
        for name, parameter in mine.items()
    )


def _is_random(module: nn.Module) -> bool:
    rates = [value for name, value in vars(module).items() if "drop" in name]
    if isinstance(module, nn.Dropout):
        rates.append(module.p)
    return module.training and any(isinstance(rate, float) and rate > 0 for rate in rates)


def _is_hooked(module: nn.Module) -> bool:
    return bool(module._forward_pre_hooks or module._forward_hooks)


def _check_alike(teacher: SpeechModel, student: SpeechModel) -> None:
    kinds = [each.family.model_type for each in (student, teacher)]
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"the teacher {teacher.name} is a {kinds[1]} and the student a {kinds[0]}; their "
            "scores cannot be compared: choose a teacher of the student's kind, or none"
        )
    ours, theirs = (each.family.width(each.model) for each in (student, teacher))
    if ours != theirs:
        raise UsageError(
            f"the teacher {teacher.name} is {theirs} wide and the student {ours}; "
            "choose a teacher of the student's width, such as the dense model it is made from"
        )
