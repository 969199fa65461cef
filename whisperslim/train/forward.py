"""One teacher-forced pass over a batch: features and texts in, loss at the target tokens out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from whisperslim.core.loading import SpeechModel
from whisperslim.core.tokens.codec import TokenCodec
from whisperslim.errors import DataError
from whisperslim.methods.base import StepOutputs
from whisperslim.speech.corpus.batching import Batch

# Decoder inputs are padded to a multiple of this many tokens, as matrix kernels are made, and kept
# in memory, for every length that occurs. The padding is never counted. Our choice.
_LENGTH_STEP = 16


@dataclass(frozen=True)
class Targets:
    """Decoder inputs and what they should predict.

    Attributes:
        inputs: `(batch, length)`; padded with the end token to one of few lengths.
        wanted: `(batch, length)`; the next token at each position.
        counted: `(batch, length)` bool; true where the next token is text or the end.
    """

    inputs: torch.Tensor
    wanted: torch.Tensor
    counted: torch.Tensor


def make_targets(
    tokens: TokenCodec, texts: Sequence[str], keys: Sequence[str], language: str, positions: int
) -> Targets:
    """Prompt + text + end for each clip; the prompt itself is not learnt.

    Raises:
        DataError: for a text longer than the decoder's positions.
    """
    prompt = tokens.prompt(language)
    rows = [[*prompt, *tokens.encode(text), tokens.end] for text in texts]
    for key, row in zip(keys, rows, strict=True):
        if len(row) > positions + 1:
            raise DataError(
                f"clip {key}: its text takes {len(row)} tokens and the model has {positions} "
                "positions; cut the clip into sentences, or leave it out, and start a new run"
            )
    longest = max(len(row) for row in rows)
    # Never beyond the model's positions, but always room for the longest.
    width = min(-(-(longest - 1) // _LENGTH_STEP) * _LENGTH_STEP, positions) + 1
    padded = torch.tensor([row + [tokens.end] * (width - len(row)) for row in rows])
    place = torch.arange(width - 1)
    ends = torch.tensor([len(row) for row in rows])[:, None] - 1
    counted = (place >= len(prompt) - 1) & (place < ends)
    return Targets(padded[:, :-1], padded[:, 1:], counted)


def targets_of(speech: SpeechModel, batch: Batch, language: str) -> Targets:
    """The targets of a batch's texts for a model. Raises as `make_targets`."""
    positions = int(speech.model.config.max_target_positions)
    return make_targets(speech.tokens, batch.texts, batch.keys, language, positions)


def encode_batch(speech: SpeechModel, batch: Batch) -> torch.Tensor:
    """Encoder states of a batch, on the model's device."""
    return speech.family.encode(speech.model, batch.features.to(speech.device))


def decode_targets(
    speech: SpeechModel, states: torch.Tensor, targets: Targets, smoothing: float = 0.0
) -> StepOutputs:
    """Logits and cross entropy at the counted positions only: padding costs no projection."""
    device = states.device
    hidden = speech.model.model.decoder(
        input_ids=targets.inputs.to(device), encoder_hidden_states=states, use_cache=False
    ).last_hidden_state
    counted = targets.counted.to(device)
    logits = speech.model.proj_out(hidden[counted]).float()
    wanted = targets.wanted.to(device)[counted]
    loss = F.cross_entropy(logits, wanted, label_smoothing=smoothing)
    return StepOutputs(loss, logits, wanted)
