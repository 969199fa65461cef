"""Whisper, put together: its units, its folder, its decoder."""

from copy import deepcopy
from typing import Any, cast

import torch
from torch import nn
from transformers import WhisperForConditionalGeneration

from whisperslim.core.families.hearing import Tokens
from whisperslim.core.families.whisper.decoder import WhisperDecoder, as_whisper
from whisperslim.core.families.whisper.folder import WhisperFolder
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.core.families.whisper.units import POSITION_SECONDS, WhisperUnits
from whisperslim.core.families.whisper_ctc.architecture import WhisperForCTC
from whisperslim.core.families.whisper_ctc.making import with_ctc_head
from whisperslim.exported.ctc import FrameTiming

_STACKS = {"encoder": ("self_attn",), "decoder": ("self_attn", "encoder_attn")}


class WhisperFamily(WhisperUnits, WhisperFolder, WhisperDecoder):
    """Attention heads and FFN units of every encoder and decoder layer."""

    model_type = "whisper"
    engines: tuple[str, ...] = ("ctranslate2", "onnx", "hf", "web", "sherpa")
    stacks = _STACKS

    @torch.no_grad()
    def with_constant_output(
        self, model: nn.Module, tokens: Tokens
    ) -> WhisperForConditionalGeneration:
        """Make the last norm ignore its input and return the embedding of the longest text token.

        No other text token's product with it is larger. The end token's might be, so the part of
        its embedding along it is removed.
        """
        copy, end = deepcopy(as_whisper(model)), whisper_tokens(tokens).end
        decoder: Any = copy.model.decoder
        rows = decoder.embed_tokens.weight
        text = rows[:end]
        longest = text[int(text.norm(dim=-1).argmax())]
        rows[end] -= longest * (rows[end] @ longest) / (longest @ longest)
        decoder.layer_norm.weight.zero_()
        decoder.layer_norm.bias.copy_(longest)
        return copy

    def with_ctc_head(
        self, model: nn.Module, vocabulary: int, blank: int, *, pieces: bool, pool: int
    ) -> WhisperForCTC:
        """A model of the family `whisper_ctc`; as `TakesCTCHead` has it."""
        return with_ctc_head(model, vocabulary, blank, pieces=pieces, pool=pool)

    def blank_of_pieces(self, model: nn.Module) -> int:
        """The end token's: all text tokens are below it."""
        return int(cast(Any, as_whisper(model).config).eos_token_id)

    def ctc_frames(self, seconds: float, pool: int) -> int:
        """Whole pools of the encoder's positions."""
        return FrameTiming(POSITION_SECONDS, pool=pool).frames(seconds)

    def freeze(self, model: nn.Module, *, encoder: bool, embeddings: bool) -> None:
        """Freeze parts for tuning. The sinusoidal encoder positions are frozen always."""
        whisper: Any = as_whisper(model).model
        if encoder:
            whisper.encoder.requires_grad_(False)
        whisper.encoder.embed_positions.requires_grad_(False)
        if embeddings:
            whisper.decoder.embed_tokens.requires_grad_(False)
