"""Greedy decoding of features by Whisper's family, in one call."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from whisperslim.core.families.hearing import Tokens
from whisperslim.core.families.whisper.model import WhisperFamily
from whisperslim.core.loading import SpeechModel
from whisperslim.exported.bounds import DecodingOptions


def greedy(
    model: PreTrainedModel,
    tokens: Tokens,
    features: torch.Tensor,
    seconds: Sequence[float],
    language: str,
    options: DecodingOptions | None = None,
) -> list[list[int]]:
    """Text token ids of each clip."""
    with torch.no_grad():
        states = WhisperFamily().encode(model, features)
    return greedy_from_states(model, tokens, states, seconds, language, options)


def greedy_from_states(
    model: PreTrainedModel,
    tokens: Tokens,
    states: torch.Tensor,
    seconds: Sequence[float],
    language: str,
    options: DecodingOptions | None = None,
) -> list[list[int]]:
    """`greedy` after the encoder."""
    family = WhisperFamily(options)
    return [list(w.ids) for w in family.decode(model, tokens, states, seconds, language)]


def bounded(speech: SpeechModel, options: DecodingOptions) -> SpeechModel:
    """The same model with other bounds on its texts."""
    return replace(speech, family=WhisperFamily(options))
