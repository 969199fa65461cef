"""Learning from a teacher's output distribution (Hinton et al., arXiv 1503.02531)."""

import torch
from torch.nn import functional as F

from whisperslim.core.loading import SpeechModel
from whisperslim.errors import UsageError
from whisperslim.methods.base import StepOutputs
from whisperslim.speech.batching import Batch
from whisperslim.train.forward import Targets, decode_targets, encode_batch
from whisperslim.train.options import DistillOptions


class Teacher:
    """A frozen dense model whose distribution the student should keep.

    Raises:
        UsageError: when the teacher's vocabulary differs from the student's.
    """

    def __init__(self, teacher: SpeechModel, student: SpeechModel, options: DistillOptions) -> None:
        ours, theirs = student.model.config.vocab_size, teacher.model.config.vocab_size
        if ours != theirs:
            raise UsageError(
                f"the teacher {teacher.name} writes {theirs} tokens and the student {ours}; "
                "choose a teacher with the student's vocabulary"
            )
        self._teacher, self._options = teacher, options
        teacher.model.requires_grad_(False)
        teacher.model.eval()
        self._shares_encoder = _same_frozen_encoder(teacher, student)

    @torch.no_grad()
    def logits(self, batch: Batch, targets: Targets, student_states: torch.Tensor) -> torch.Tensor:
        """The teacher's logits at the target tokens, `(tokens, vocabulary)`."""
        states = student_states if self._shares_encoder else encode_batch(self._teacher, batch)
        return decode_targets(self._teacher, states, targets).logits

    def loss(self, outputs: StepOutputs, logits: torch.Tensor) -> torch.Tensor:
        """`weight * T^2 * KL(teacher || student)`, mean over target tokens, both softened by T."""
        temperature = self._options.temperature
        wanted = F.log_softmax(logits / temperature, -1)
        found = F.log_softmax(outputs.logits / temperature, -1)
        divergence = F.kl_div(found, wanted, reduction="batchmean", log_target=True)
        return self._options.weight * temperature**2 * divergence


def _same_frozen_encoder(teacher: SpeechModel, student: SpeechModel) -> bool:
    ours = dict(student.model.model.encoder.named_parameters())
    theirs = dict(teacher.model.model.encoder.named_parameters())
    return all(
        not parameter.requires_grad
        and parameter.shape == theirs[name].shape
        and torch.equal(parameter, theirs[name])
        for name, parameter in ours.items()
    )
