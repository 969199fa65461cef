"""One pass over a batch, as the model's family does it: sounds and texts in, loss out."""

from typing import Any

import torch

from whisperslim.core.families.hearing import StepOutputs
from whisperslim.core.loading import SpeechModel
from whisperslim.speech.corpus.batching import Batch


def targets_of(speech: SpeechModel, batch: Batch, language: str) -> Any:
    """What a model is to make of a batch, for `decode_targets`. Raises as `Hearing.targets`."""
    return speech.family.targets(
        speech.model, speech.tokens, batch.texts, batch.keys, batch.seconds, language
    )


def encode_batch(speech: SpeechModel, batch: Batch) -> torch.Tensor:
    """Encoder states of a batch, on the model's device."""
    return speech.family.encode(speech.model, batch.features.to(speech.device))


def decode_targets(
    speech: SpeechModel, states: torch.Tensor, targets: Any, smoothing: float = 0.0
) -> StepOutputs:
    """Logits and loss of encoder states."""
    return speech.family.outputs(speech.model, states, targets, smoothing)
