"""Where Whisper's decoder is, and what it must not write."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import WhisperForConditionalGeneration

from whisperslim.core.families.flavours.attention_decoder import AttentionDecoder, Suppression
from whisperslim.core.families.hearing import Tokens
from whisperslim.core.families.whisper.timing import crossings, timing_heads
from whisperslim.core.families.whisper.tokens import whisper_tokens
from whisperslim.errors import ExportError, UsageError


def as_whisper(model: nn.Module) -> WhisperForConditionalGeneration:
    """The same model. Raises `UsageError` unless it is a Whisper."""
    if not isinstance(model, WhisperForConditionalGeneration):
        raise UsageError(f"this takes a Whisper and not a {type(model).__name__}")
    return model


def positions(model: nn.Module) -> int:
    """Learned position embeddings of the decoder."""
    return int(as_whisper(model).config.max_target_positions)


def suppression(model: nn.Module, tokens: Tokens) -> Suppression:
    """Every control token but the end, and the lists of the model's generation settings."""
    whisper, end = as_whisper(model), whisper_tokens(tokens).end
    settings: Any = whisper.generation_config
    control = range(end + 1, whisper.config.vocab_size)
    always = {*control, *(settings.suppress_tokens or ())} - {end}
    at_start = settings.begin_suppress_tokens or (end,)
    return Suppression(tuple(sorted(always)), tuple(sorted(at_start)))


def check_ends(model: nn.Module, tokens: Tokens, folder: Path) -> None:
    """Raise `ExportError` unless tokenizer and model of `folder` mean the same by start and end.

    That no id is too large is seen when a model is loaded.
    """
    config, codec = as_whisper(model).config, whisper_tokens(tokens)
    pairs = (("start", codec.start, config.decoder_start_token_id),
             ("end", codec.end, config.eos_token_id))  # fmt: skip
    for name, has, wanted in pairs:
        if isinstance(wanted, int) and has != wanted:
            raise ExportError(
                f"the tokenizer in {folder} has {has} for the {name} of a text and the model "
                f"{wanted}: it belongs to another model; copy the right one there"
            )


class WhisperDecoder(AttentionDecoder):
    """The part of Whisper's family that writes."""

    def no_sound(self, model: nn.Module, frames: int) -> torch.Tensor:
        """Log-mel features `(1, bands, frames)`."""
        weight = next(model.parameters())
        return weight.new_zeros(1, int(cast(Any, model).config.num_mel_bins), frames)

    def run_decoder(
        self, model: nn.Module, ids: torch.Tensor, states: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        """The decoder's last states."""
        decoder: Any = as_whisper(model).model.decoder
        found: torch.Tensor = decoder(
            input_ids=ids, encoder_hidden_states=states, **options
        ).last_hidden_state
        return found

    def project(self, model: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Products with the token embedding."""
        logits: torch.Tensor = as_whisper(model).proj_out(states)
        return logits

    def attention(
        self, model: nn.Module, ids: torch.Tensor, states: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """As `AttentionDecoder.attention`, whatever kernel attention is computed with."""
        where = timing_heads(as_whisper(model))
        if where is None:
            return None
        crossing = crossings(model)
        seen: dict[tuple[int, str], torch.Tensor] = {}
        layers = {layer for layer, _ in where.heads}

        def see(layer: int, which: str) -> Callable[[nn.Module, Any, torch.Tensor], None]:
            def keep(module: nn.Module, given: Any, made: torch.Tensor) -> None:
                seen[layer, which] = made[0].unflatten(-1, (crossing[layer].num_heads, -1))

            return keep

        hooks = [
            getattr(crossing[layer], which).register_forward_hook(see(layer, which))
            for layer in layers
            for which in ("q_proj", "k_proj")
        ]
        try:
            hidden = self.run_decoder(model, ids, states, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        weights = [
            (
                seen[layer, "q_proj"][:, head] @ seen[layer, "k_proj"][:, head].T * where.scale
            ).softmax(-1)
            for layer, head in where.heads
        ]
        return hidden, torch.stack(weights)

    def positions(self, model: nn.Module) -> int:
        """As the function of this name."""
        return positions(model)

    def width(self, model: nn.Module) -> int:
        """The same in both stacks."""
        return int(as_whisper(model).config.d_model)

    def export_facts(self, model: nn.Module, tokens: Tokens, folder: Path) -> Mapping[str, Any]:
        """The values of `DecoderRules`. Raises as `check_ends`."""
        check_ends(model, tokens, folder)
        rules = suppression(model, tokens)
        return {
            "positions": positions(model),
            "suppress": list(rules.always),
            "suppress_at_start": list(rules.at_start),
        }

    def suppression(self, model: nn.Module, tokens: Tokens) -> Suppression:
        """As the function of this name."""
        return suppression(model, tokens)
